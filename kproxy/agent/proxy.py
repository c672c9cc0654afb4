"""The interface of both modes: a proxy keeps the rules of one family up to date, and reports each sync."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Protocol

from kproxy.errors import OperationFailed
from kproxy.ruleset.inputs import Circumstances
from kproxy.state.events import Rejection
from kproxy.state.store import Store
from kproxy.values import Family, NamespacedName


@dataclass(frozen=True, slots=True)
class SyncReport:
    """The report of one sync of one family. Times are seconds; `error` is None if it took effect.

    `drifted` counts chains and jumps of ours that somebody else had changed. `observe_s` and `lock_wait_s` are parts
    of `apply_s`, and `render_s` of `compute_s`; `rules_by_table` is `rules_written` by table. `left_something` says
    that chains which nothing leads to any more could not be removed. `quarantined` has every Service whose newest
    rules cannot be rendered or are refused by the kernel, whether this sync found it or an earlier one.
    """

    services: int
    chains_written: int
    chains_deleted: int
    rules_written: int
    compute_s: float
    apply_s: float
    error: OperationFailed | None = None
    drifted: int = 0
    render_s: float = 0.0
    observe_s: float = 0.0
    lock_wait_s: float = 0.0
    rules_by_table: Mapping[str, int] = field(default_factory=dict)
    left_something: bool = False
    quarantined: tuple[Rejection, ...] = ()

    @property
    def took_s(self) -> float:
        return self.compute_s + self.apply_s

    @property
    def stages_s(self) -> Mapping[str, float]:
        """The seconds of each stage: `observe` reads the kernel, `apply` writes to it, both without `lock_wait`."""
        return {
            "compute": self.compute_s - self.render_s,
            "render": self.render_s,
            "observe": self.observe_s,
            "lock_wait": self.lock_wait_s,
            "apply": self.apply_s - self.observe_s - self.lock_wait_s,
        }


class Proxy(Protocol):
    """Keeps one family's rules up to date, in any mode."""

    @property
    def family(self) -> Family: ...
    def sync(
        self, store: Store, dirty: AbstractSet[NamespacedName], circumstances: Circumstances, *, verify: bool
    ) -> SyncReport: ...
    def record(self) -> None: ...
