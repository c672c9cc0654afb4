"""The subject of a measurement: one way to program a kernel, and its rivals."""

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
    """Another way to make the change that kproxy just made. `afterwards` cleans up, and is not timed."""

    name: str
    work: Callable[[], object]
    afterwards: Callable[[], object] = lambda: None
    note: str = ""


Change = tuple[Entry | None, Entry | None]
"""A Service before and after a change; None if it does not exist."""


class Baselines(Protocol):
    """Rivals for each kind of work, in this thread's network namespace."""

    def of_change(self, changes: Sequence[Change], beside: Sequence[Entry] = ()) -> list[Rival]:
        """`beside` are further Services of the cluster, which do not change."""
        ...

    def of_first_sync(self) -> list[Rival]:
        """Each of them needs a namespace without rules; the fastest one counts."""
        ...

    def of_restart(self) -> list[Rival]: ...


class Subject(Protocol):
    @property
    def mode(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def starts_afresh(self) -> bool:
        """Whether an agent that starts again writes all rules again."""
        ...

    @property
    def shares_by_count(self) -> bool:
        """Whether Services with the same number of endpoints share rules; these go with the last Service."""
        ...

    @property
    def circumstances(self) -> Circumstances: ...
    @property
    def agent_flags(self) -> Sequence[str]: ...
    def proxy(self, state: Path, stages: Stages) -> tuple[Proxy, Callable[[], None]]:
        """A proxy that knows only the contents of the directory `state`, and a function that closes it."""
        ...

    def baselines(self, size: Size) -> Baselines: ...
    def watch_kernel(self) -> Callable[[], bool] | None:
        """Tells whether rules changed since this call; None where the kernel cannot be asked cheaply."""
        ...
