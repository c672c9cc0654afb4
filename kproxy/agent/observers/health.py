"""The health of this proxy and the eligibility of its node, from which the probes are answered."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime

from kproxy.agent.observers.observer import Observer, SyncOutcome
from kproxy.state.events import Changed, Deleted, Event, Listed
from kproxy.state.objects import KIND_OF, Kind, Node
from kproxy.state.store import Store
from kproxy.values import Family, NamespacedName

TO_BE_DELETED_TAINT = "ToBeDeletedByClusterAutoscaler"
"""The cluster autoscaler's taint on a node that it is about to remove."""


_LONGEST_EXCUSE = 200
"""The number of characters of a program's error that the page shows: people read it in `kubectl describe`."""


@dataclass(frozen=True, slots=True)
class FamilyHealth:
    """`updated_at` is the time when the rules last became those of the newest state."""

    updated_at: datetime
    healthy: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition at `now`. `families` holds those that were synced once; `unready` says what is missing.

    A proxy that never synced counts as healthy, as kube-proxy does; it is not ready.
    """

    now: datetime
    families: Mapping[Family, FamilyHealth]
    node_eligible: bool
    stuck: tuple[str, ...]
    unready: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        return not self.stuck and all(family.healthy for family in self.families.values())

    @property
    def updated_at(self) -> datetime | None:
        """The last time at which any family was updated."""
        return max((family.updated_at for family in self.families.values()), default=None)


class Health(Observer):
    """Knows since when changes are queued, and when each family was synced; may be told and asked from any thread.

    `timeout_s` is the age from which a change that is not in the kernel makes the proxy unhealthy. `stuck` names parts
    that stopped without a reason from outside. `outdated` names what is missing but no reason to restart: a kind of
    which no list came, a Node that does not exist.
    """

    def __init__(
        self,
        families: Collection[Family],
        node_name: str,
        timeout_s: float,
        *,
        stuck: Callable[[], tuple[str, ...]] = tuple,
        outdated: Callable[[], tuple[str, ...]] = tuple,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._families = tuple(families)
        self._node_key = NamespacedName("", node_name)
        self._timeout_s = timeout_s
        self._stuck = stuck
        self._outdated = outdated
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._node: Node | None = None
        self._queued_at: dict[Family, float] = {}
        self._updated_at: dict[Family, datetime] = {}
        self._failures: dict[Family, str] = {}
        self._missed: set[Kind] = set()

    def received(self, event: Event) -> None:
        """An event was stored, and waits to be programmed."""
        with self._lock:
            self._note_node(event)
        self._queue()

    def syncing(self) -> None:
        """A sync that no change asked for must end in time too."""
        self._queue()

    def synced(
        self, store: Store, dirty: AbstractSet[NamespacedName], outcomes: Mapping[Family, SyncOutcome]
    ) -> None:
        """A family that failed stays queued, and one that succeeded is up to date."""
        del store, dirty
        now = self._now()
        with self._lock:
            for family, outcome in outcomes.items():
                if outcome.succeeded:
                    self._queued_at.pop(family, None)
                    self._failures.pop(family, None)
                    self._updated_at[family] = now
                else:
                    self._failures[family] = _failure(outcome)

    def stored(self, event: Event) -> None:
        match event:
            case Listed(kind=kind):
                with self._lock:
                    self._missed.discard(kind)
            case _:
                pass

    def lost(self, event: Event) -> None:
        """Until the next complete list of that kind the rules may lack something."""
        with self._lock:
            self._missed.add(_kind(event))

    def condition(self) -> Condition:
        stuck, outdated = self._stuck(), self._outdated()
        with self._lock:
            late = self._late()
            return Condition(
                now=self._now(),
                families={
                    family: FamilyHealth(updated_at, family not in late)
                    for family, updated_at in self._updated_at.items()
                },
                node_eligible=_is_eligible(self._node),
                stuck=stuck,
                unready=(
                    *(
                        f"{family} is not programmed yet: {self._failures.get(family, 'no sync has ended')}"
                        for family in self._families
                        if family not in self._updated_at
                    ),
                    *(
                        f"{family} is not what is wanted: {failure}"
                        for family, failure in self._failures.items()
                        if family in self._updated_at
                    ),
                    *(f"{family} has not been up to date for {self._timeout_s:g} s" for family in late),
                    *(
                        f"a change of {kind} could not be taken in, a defect in kproxy: restart the agent"
                        for kind in sorted(self._missed)
                    ),
                    *stuck,
                    *outdated,
                ),
            )

    def _queue(self) -> None:
        now = self._clock()
        with self._lock:
            for family in self._families:
                self._queued_at.setdefault(family, now)

    def _late(self) -> tuple[Family, ...]:
        now = self._clock()
        return tuple(family for family, at in self._queued_at.items() if now - at >= self._timeout_s)

    def _note_node(self, event: Event) -> None:
        """Note the newest Node; a Node that cannot be decoded still exists, so its last known state stays."""
        match event:
            case Changed(object=Node() as node) if node.key == self._node_key:
                self._node = node
            case Deleted(kind=Kind.NODE, key=self._node_key):
                self._node = None
            case Listed(kind=Kind.NODE, objects=nodes, rejections=refused):
                known = self._node if any(each.key == self._node_key for each in refused) else None
                self._node = next(
                    (node for node in nodes if isinstance(node, Node) and node.key == self._node_key), known
                )


def _kind(event: Event) -> Kind:
    return KIND_OF[type(event.object)] if isinstance(event, Changed) else event.kind


def _failure(outcome: SyncOutcome) -> str:
    """The reason in one line: the log has the whole text."""
    report = outcome.report
    if report is None or report.error is None:
        return "its last sync failed and is tried again; the log says why"
    drift = f", {report.drifted} changes by others are not put right yet" if report.drifted else ""
    said = " ".join(str(report.error).partition("\n")[0].split())
    return f"its last sync failed and is tried again{drift}: {said[:_LONGEST_EXCUSE]}"


def _is_eligible(node: Node | None) -> bool:
    """Whether load balancers should send new connections to the node."""
    return node is not None and not node.being_deleted and TO_BE_DELETED_TAINT not in node.taints
