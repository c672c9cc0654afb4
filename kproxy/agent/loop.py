"""The agent's one loop: events in, syncs out."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from kproxy.agent.observers.observer import Observer, SyncOutcome, tell_all
from kproxy.agent.proxy import Proxy, SyncReport
from kproxy.agent.schedule import Schedule
from kproxy.errors import KproxyError
from kproxy.kernel.node import memory
from kproxy.model.node import view_node
from kproxy.model.settings import Settings
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.layout import Layout
from kproxy.state.events import Event
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.threads import Need, SupervisedThread, log_defect
from kproxy.values import Address, Family, NamespacedName

_log = logging.getLogger(__name__)

_WAKE = None

_MOST_ATTEMPTS = 3
"""The number of times that an event is tried: an event that meets a defect each time must not hold up all later
ones."""

_RECORDED_AT_ONCE = 1000
"""The number of chains that are read back in some milliseconds; more would hold up the other family."""


class Agent:
    """Takes events from any thread and keeps every family's rules at the newest state.

    Nothing is written before the complete list of each of `kinds` has arrived. `read_addresses`
    gives the addresses on this node's interfaces; it is asked only if node ports depend on them.
    """

    def __init__(
        self,
        families: Sequence[Proxy],
        schedule: Schedule,
        settings: Settings,
        *,
        node_name: str,
        kinds: Collection[Kind],
        layout: Layout,
        read_addresses: Callable[[], tuple[Address, ...]],
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._families = families
        self._schedule = schedule
        self._settings = settings
        self._node_name = node_name
        self._kinds = kinds
        self._layout = layout
        self._read_addresses = read_addresses
        self._observers = observers
        self._clock = clock
        self._store = Store()
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._in_hand: Event | None = _WAKE
        self._attempts = 0
        self._dirty: set[NamespacedName] = set()
        self._stopping = threading.Event()
        self._main = SupervisedThread("the main loop", self._loop, Need.RULES)
        self._addresses: tuple[Address, ...] = ()
        self._verified_at = float("-inf")
        self._synced: set[Family] = set()

    def emit(self, event: Event) -> None:
        """Hand in one event; returns at once, from any thread."""
        self._events.put(event)

    def stop(self) -> None:
        """End `run` soon, from any thread; the rules stay."""
        self._stopping.set()
        self._main.end()
        self._events.put(_WAKE)

    def run(self) -> None:
        """Sync until `stop` is called; KproxyError where a defect does not let it go on."""
        self._main.run_here()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self._take_events()
            if self._stopping.is_set():
                return
            ready = self._store.has_listed(self._kinds)
            if ready and self._schedule.wait_s(self._clock()) == 0.0:
                self.sync()

    def sync(self) -> None:
        """Bring every family to the newest state, one after the other, until `stop` is called."""
        failed = True
        try:
            failed = self._sync()
        finally:
            self._schedule.ended(self._clock(), failed=failed)

    def _sync(self) -> bool:
        """Whether any family failed. Services stay dirty until every family and observer has seen them."""
        now = self._clock()
        verify = now - self._verified_at >= self._schedule.max_interval_s
        if verify:
            self._verified_at = now
        if verify and self._settings.node_port_networks:
            self._look_at_addresses()
        self._schedule.began()
        tell_all(self._observers, lambda observer: observer.syncing())
        self._dirty |= self._store.take_dirty()
        dirty = set(self._dirty)
        outcomes = {}
        for proxy in self._families:
            if self._stopping.is_set():
                break
            circumstances = self._circumstances(proxy.family)
            report = self._sync_family(proxy, dirty, circumstances, verify=verify)
            outcomes[proxy.family] = SyncOutcome(circumstances.node, report, verify)
            if report and report.chains_written <= _RECORDED_AT_ONCE:
                self._record(proxy)
        tell_all(self._observers, lambda observer: observer.synced(self._store, dirty, outcomes))
        self._dirty.clear()
        failed = not all(outcome.succeeded for outcome in outcomes.values())
        for proxy in self._families:
            self._record(proxy)
        if verify:
            memory.give_back_what_is_free()
        return failed

    def _sync_family(
        self, proxy: Proxy, dirty: set[NamespacedName], circumstances: Circumstances, *, verify: bool
    ) -> SyncReport | None:
        """Sync one family; an error is logged, None is returned, and the other family goes on."""
        try:
            with memory.without_collection():
                report = proxy.sync(self._store, dirty, circumstances, verify=verify)
        except KproxyError as failed:
            _log.error("%s: rules not applied, everything is tried again: %s", proxy.family, failed)
            return None
        except Exception:  # noqa: BLE001 # an agent that died would leave the rules stale for ever
            log_defect(
                _log, "%s: a defect in kproxy; the old rules stay and everything is tried again", proxy.family
            )
            return None
        self._tell(proxy.family, report)
        return report

    @staticmethod
    def _record(proxy: Proxy) -> None:
        try:
            proxy.record()
        except KproxyError as failed:
            _log.warning("%s: what was applied is not recorded: %s", proxy.family, failed)
        except Exception:  # noqa: BLE001 # the record only spares the next agent work
            log_defect(_log, "%s: a defect in kproxy: what was applied is not recorded", proxy.family)

    def _tell(self, family: Family, report: SyncReport) -> None:
        if report.error is not None:
            _log.error(
                "%s: rules not applied, the old ones stay and everything is tried again: %s",
                family,
                report.error,
            )
            return
        is_news = report.rules_written or report.chains_deleted or family not in self._synced
        self._synced.add(family)
        level = logging.INFO if is_news else logging.DEBUG
        _log.log(
            level,
            "%s: synced %d service ports: %d chains and %d rules written, %d chains deleted; %s",
            family,
            report.services,
            report.chains_written,
            report.rules_written,
            report.chains_deleted,
            ", ".join(
                f"{stage.replace('_', ' ')} {took_s * 1000:.1f} ms"
                for stage, took_s in report.stages_s.items()
            ),
        )

    def _look_at_addresses(self) -> None:
        try:
            self._addresses = self._read_addresses()
        except KproxyError as failed:
            _log.error("node ports stay on the addresses known so far (%d): %s", len(self._addresses), failed)
        except Exception:  # noqa: BLE001 # rules that need no addresses must follow all the same
            log_defect(
                _log,
                "a defect in kproxy: node ports stay on the addresses known so far (%d)",
                len(self._addresses),
            )

    def _circumstances(self, family: Family) -> Circumstances:
        node = self._store.node(self._node_name)
        view = view_node(self._node_name, node, self._addresses, self._settings, family)
        networks = self._store.service_networks(family) if self._settings.is_nftables else ()
        return Circumstances(view, self._settings, self._layout, networks)

    def _take_events(self) -> None:
        """Wait for the first event no longer than the next sync may; then take all that are there."""
        waiting_for_lists = not self._store.has_listed(self._kinds)
        timeout_s = None if waiting_for_lists else self._schedule.wait_s(self._clock())
        with suppress(queue.Empty):
            if self._in_hand is _WAKE:
                self._in_hand = self._events.get(timeout=timeout_s)
            while True:
                self._take(self._in_hand)
                self._in_hand, self._attempts = _WAKE, 0
                self._in_hand = self._events.get_nowait()

    def _take(self, event: Event | None) -> None:
        if event is _WAKE:
            return
        self._attempts += 1
        if self._attempts > _MOST_ATTEMPTS:
            _log.error(
                "a defect in kproxy: an event (%s) cannot be applied; restart the agent, which lists everything again",
                type(event).__name__,
            )
            tell_all(self._observers, lambda observer: observer.lost(event))
            return
        self._store.apply(event)
        tell_all(self._observers, lambda observer: observer.stored(event))
        self._schedule.request()
