"""The one list of objects that are in quarantine: logged, counted, told in Events, and shown on a page."""

import json
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet

from kproxy.agent.http.page import Page
from kproxy.agent.metrics.series import QUARANTINED_KINDS, UNKNOWN_KIND
from kproxy.agent.observers.observer import Observer, SyncOutcome
from kproxy.errors import InvalidField
from kproxy.sources.recorder import ClusterEvent
from kproxy.state.events import Rejection
from kproxy.state.store import Store
from kproxy.state.validate import dns_label, dns_subdomain
from kproxy.values import Family, NamespacedName

_log = logging.getLogger(__name__)

PAGE = "/debug/quarantine"

_MOST_LINES = 20
"""One sync logs no more objects one by one: thousands of lines help no reader, and fill the disk."""

_MOST_SHOWN = 1_000
"""The page shows no more objects: it is for people, and is made while the agent works."""

_MOST_EVENTS_AN_HOUR = 100
"""Every node of a cluster finds the same objects, and each of its Events costs the API server a write."""

_HOUR_S = 3600.0

_Object = tuple[str, NamespacedName]


class Quarantine(Observer):
    """Knows every object of which all, a field or the newest change is left out, at any stage from decoder to kernel.

    Each object and reason is one line of the log when it is new, and one when it is gone; each object that the API
    server has is one Event. `record` posts an Event, or answers False if it cannot now; `count` gets the number of
    objects of each kind.
    """

    def __init__(
        self,
        record: Callable[[ClusterEvent], bool],
        count: Callable[[Mapping[str, int]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record = record
        self._count = count
        self._clock = clock
        self._seen = 0
        self._refused: dict[Family, tuple[Rejection, ...]] = {}
        self._rejections: dict[Rejection, None] = {}
        self._first: dict[_Object, Rejection] = {}
        self._untold: dict[_Object, Rejection] = {}
        self._posted_at: deque[float] = deque()

    def synced(
        self, store: Store, dirty: AbstractSet[NamespacedName], outcomes: Mapping[Family, SyncOutcome]
    ) -> None:
        """List the objects that the decoder refuses, and those that templates and the kernel refused in this sync."""
        del dirty
        refused = self._refused | {
            family: outcome.report.quarantined for family, outcome in outcomes.items() if outcome.report
        }
        if (store.rejection_changes, refused) != (self._seen, self._refused):
            self._seen, self._refused = store.rejection_changes, refused
            self._take_in((*store.rejections, *(each for some in refused.values() for each in some)))
        self._post()

    def page(self) -> Page:
        """The whole list as JSON; may be asked from any thread."""
        rejections = list(self._rejections)
        shown = [
            {
                "kind": each.kind,
                "namespace": each.key.namespace if each.key else "",
                "name": each.key.name if each.key else each.name,
                "place": each.place,
                "field": each.field,
                "reason": each.reason,
                "effect": str(each.cost),
            }
            for each in rejections[:_MOST_SHOWN]
        ]
        return Page(json.dumps({"total": len(rejections), "objects": shown}, indent=2) + "\n")

    def _take_in(self, rejections: Iterable[Rejection]) -> None:
        newest = dict.fromkeys(rejections)
        known, self._rejections = self._rejections, newest
        self._log_all(logging.WARNING, "%s", [each for each in newest if each not in known], "in quarantine")
        gone = [each for each in known if each not in newest]
        self._log_all(logging.INFO, "no longer in quarantine: %s", gone, "no longer in quarantine")
        kinds = (kind for kind, _ in {_identity(each) for each in newest})
        self._count(Counter(kind if kind in QUARANTINED_KINDS else UNKNOWN_KIND for kind in kinds))
        self._note(newest)

    def _note(self, rejections: Iterable[Rejection]) -> None:
        """One Event for each object and reason; the first of its reasons stands for all."""
        known, self._first = self._first, {}
        for rejection in rejections:
            if rejection.key:
                self._first.setdefault((rejection.kind, rejection.key), rejection)
        untold = self._untold
        self._untold = {
            what: first
            for what, first in self._first.items()
            if what in untold or what not in known or known[what].explanation != first.explanation
        }

    @staticmethod
    def _log_all(level: int, line: str, rejections: list[Rejection], state: str) -> None:
        for rejection in rejections[:_MOST_LINES]:
            _log.log(level, line, rejection)
        if len(rejections) > _MOST_LINES:
            more = len(rejections) - _MOST_LINES
            _log.log(level, "%d more objects are %s; %s on the metrics server lists them", more, state, PAGE)

    def _post(self) -> None:
        """Post as many Events as may be posted now; the others wait for the next sync."""
        now = self._clock()
        while self._posted_at and now - self._posted_at[0] >= _HOUR_S:
            self._posted_at.popleft()
        while self._untold and len(self._posted_at) < _MOST_EVENTS_AN_HOUR:
            (kind, key), rejection = next(iter(self._untold.items()))
            if _can_be_named(kind, key):
                event = ClusterEvent(
                    "Quarantined", "Program", f"this {kind} {rejection.explanation}", key, kind=kind
                )
                if not self._record(event):
                    return
                self._posted_at.append(now)
            del self._untold[kind, key]


def _identity(rejection: Rejection) -> tuple[str, object]:
    return rejection.kind, rejection.key or (rejection.place, rejection.reason)


def _can_be_named(kind: str, key: NamespacedName) -> bool:
    """Whether the API server can have an object of this name, so that an Event about it can be made."""
    try:
        dns_subdomain(key.name)
        if key.namespace:
            dns_label(key.namespace)
    except InvalidField:
        return False
    return bool(kind)
