"""The interface of an observer: what it is told about events and syncs."""

import logging
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeVar

from kproxy.agent.proxy import SyncReport
from kproxy.model.node import NodeView
from kproxy.state.events import Event
from kproxy.state.store import Store
from kproxy.threads import log_defect
from kproxy.values import Family, NamespacedName

_log = logging.getLogger(__name__)

_Observer = TypeVar("_Observer", bound="Observer")


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """The end of one family's sync; `report` is None if it ended with an error that is no OperationFailed."""

    node: NodeView
    report: SyncReport | None
    verified: bool

    @property
    def succeeded(self) -> bool:
        return self.report is not None and self.report.error is None


class Observer:
    """Is told of events and syncs, in the agent's thread; must return at once.

    A method that is left out does nothing.
    """

    def stored(self, event: Event) -> None:
        """The store has applied this event."""

    def lost(self, event: Event) -> None:
        """The store could not apply this event after all tries of the loop: a defect in kproxy."""

    def syncing(self) -> None:
        """A sync of every family begins."""

    def synced(
        self, store: Store, dirty: AbstractSet[NamespacedName], outcomes: Mapping[Family, SyncOutcome]
    ) -> None:
        """The sync is over; `dirty` are the Services that changed since the sync before."""


def tell_all(observers: Iterable[_Observer], tell: Callable[[_Observer], None]) -> None:
    """Tell each observer; a defect in one of them must not leave the rules stale."""
    for observer in observers:
        try:
            tell(observer)
        except Exception:  # noqa: BLE001 # whatever it is, the loop must go on
            log_defect(_log, "a defect in kproxy; the rules are kept up to date all the same")
