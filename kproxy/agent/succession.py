"""A change of mode or backend: the new rules first, then what the other one left behind goes away."""

import logging
import threading
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from kproxy.agent.family import Proxy, SyncReport
from kproxy.errors import KproxyError
from kproxy.ruleset.desired import Circumstances
from kproxy.state.store import Store
from kproxy.values import Family, NamespacedName

_log = logging.getLogger(__name__)


class Successor:
    """A proxy whose first success ends the rules of its predecessors: `remove` is then called once, in the background.

    It takes seconds where there were thousands of Services, and changes shall not wait for that.
    """

    def __init__(self, proxy: Proxy, remove: Callable[[Family], object]) -> None:
        self.family = proxy.family
        self._proxy = proxy
        self._remove = remove
        self._has_succeeded = False

    def sync(
        self, store: Store, dirty: AbstractSet[NamespacedName], circumstances: Circumstances, *, verify: bool
    ) -> SyncReport:
        report = self._proxy.sync(store, dirty, circumstances, verify=verify)
        if report.error is None and not self._has_succeeded:
            self._has_succeeded = True
            threading.Thread(target=self._end_predecessors, daemon=True).start()
        return report

    def record(self) -> None:
        self._proxy.record()

    def _end_predecessors(self) -> None:
        try:
            self._remove(self.family)
        except KproxyError as failed:
            _log.warning(
                "%s: rules of another mode or backend stay beside ours, which work; they may be removed by hand: %s",
                self.family,
                failed,
            )
