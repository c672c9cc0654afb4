"""What is measured: one way of programming a kernel, and what it is held against."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.cluster import Entry, Size
from benchmarks.stages import Stages
from kproxy.agent.proxy import Proxy
from kproxy.ruleset.inputs import Circumstances


@dataclass(frozen=True, slots=True, eq=False)
class Rival:
    """Another way to do what ours just did. `afterwards` cleans up, and is not timed."""

    name: str
    work: Callable[[], object]
    afterwards: Callable[[], object] = lambda: None
    note: str = ""


Change = tuple[Entry | None, Entry | None]
"""A Service before and after; None where it does not exist."""


class Baselines(Protocol):
    """Rivals for each kind of work, in this thread's network namespace."""

    def of_change(self, changes: Sequence[Change], beside: Sequence[Entry] = ()) -> list[Rival]:
        """`beside` are Services that the cluster was given besides, and that stay as they are."""
        ...

    def of_first_sync(self) -> list[Rival]:
        """Each of them wants a namespace without rules; the fastest counts."""
        ...

    def of_restart(self) -> list[Rival]: ...


class Subject(Protocol):
    @property
    def mode(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def starts_afresh(self) -> bool:
        """Whether an agent that starts again writes all rules anew."""
        ...

    @property
    def shares_by_count(self) -> bool:
        """Whether Services that have as many endpoints share rules, which the first brings and the last takes away."""
        ...

    @property
    def circumstances(self) -> Circumstances: ...
    @property
    def agent_flags(self) -> Sequence[str]: ...
    def proxy(self, state: Path, stages: Stages) -> tuple[Proxy, Callable[[], None]]:
        """A proxy that knows no more than what is kept in the directory `state`, and how to close it."""
        ...

    def baselines(self, size: Size) -> Baselines: ...
    def watch_kernel(self) -> Callable[[], bool] | None:
        """Tells whether rules changed since this call; None where the kernel cannot be asked cheaply."""
        ...
