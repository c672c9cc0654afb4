"""A change of mode: the new rules first, then what the other mode left behind goes away."""

import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from kproxy.agent.family import Proxy, SyncReport
from kproxy.errors import EnvironmentLacking, KproxyError
from kproxy.ruleset.desired import Circumstances
from kproxy.state.store import Store
from kproxy.threads import KeptThread, Need
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
            self._end_in_background()
        return report

    def record(self) -> None:
        self._proxy.record()

    def _end_in_background(self) -> None:
        thread = KeptThread(f"end-other-mode-{self.family}", self._end_predecessors, Need.REPORTS)
        try:
            thread.start()
        except EnvironmentLacking as lacking:
            thread.end()
            _log.warning("%s: rules of another mode stay until the next sync: %s", self.family, lacking)
            return
        self._has_succeeded = True

    def _end_predecessors(self) -> None:
        try:
            self._remove(self.family)
        except KproxyError as failed:
            _log.warning(
                "%s: rules of another mode stay beside ours, which work; they may be removed by hand: %s",
                self.family,
                failed,
            )
