"""A change of mode or variant: the new rules come first, then those of the other mode or variant are removed."""

import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from kproxy.agent.proxy import Proxy, SyncReport
from kproxy.errors import EnvironmentLacking, KproxyError
from kproxy.ruleset.inputs import Circumstances
from kproxy.state.store import Store
from kproxy.threads import KeptThread, Need
from kproxy.values import Family, NamespacedName

_log = logging.getLogger(__name__)


class ModeChange:
    """A proxy that removes the rules of other modes: its first success calls `remove` in the background.

    The removal of thousands of Services takes seconds, and changes should not wait for it. If it fails, each sync that
    verifies tries it again.
    """

    def __init__(self, proxy: Proxy, remove: Callable[[Family], object]) -> None:
        self.family = proxy.family
        self._proxy = proxy
        self._remove = remove
        self._removal: KeptThread | None = None
        self._has_removed = False
        self._told = ""

    def sync(
        self, store: Store, dirty: AbstractSet[NamespacedName], circumstances: Circumstances, *, verify: bool
    ) -> SyncReport:
        report = self._proxy.sync(store, dirty, circumstances, verify=verify)
        if report.error is None and self._is_due(verify=verify):
            self._remove_in_background()
        return report

    def record(self) -> None:
        self._proxy.record()

    def _is_due(self, *, verify: bool) -> bool:
        if self._removal is None:
            return True
        return verify and not self._has_removed and not self._removal.is_alive()

    def _remove_in_background(self) -> None:
        removal = KeptThread(f"end-other-mode-{self.family}", self._remove_others, Need.REPORTS)
        try:
            removal.start()
        except EnvironmentLacking as lacking:
            removal.end()
            self._tell(str(lacking), is_defect=False)
            return
        self._removal = removal

    def _remove_others(self) -> None:
        try:
            self._remove(self.family)
        except KproxyError as failed:
            self._tell(str(failed), is_defect=False)
        except Exception as defect:  # noqa: BLE001 # a thread that died without a word would leave those rules for ever
            self._tell(f"a defect in kproxy: {defect!r}", is_defect=True)
        else:
            self._has_removed = True

    def _tell(self, reason: str, *, is_defect: bool) -> None:
        """Log the reason, unless it was the last one too."""
        if reason != self._told:
            self._told = reason
            _log.warning(
                "%s: rules of another mode or variant stay beside ours, which work; their removal is tried again: %s",
                self.family,
                reason,
                exc_info=is_defect,
            )
