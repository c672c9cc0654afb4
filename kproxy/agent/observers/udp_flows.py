"""Removes UDP flows that a change made stale, in a thread of its own, so that no sync waits for it."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from kproxy.agent.observers.observer import Observer, SyncOutcome
from kproxy.errors import KproxyError
from kproxy.kernel.netlink.conntrack import UdpFlows
from kproxy.model.node import NodePortDispatch
from kproxy.model.udp import Frontend, Target, Targets, UdpFrontends, is_stale
from kproxy.state.store import Store
from kproxy.threads import KeptThread, Need, log_defect
from kproxy.values import Address, Family, NamespacedName, contains

_log = logging.getLogger(__name__)

_RETRY_S = 5.0
_MOST_TRIES = 12


@dataclass(slots=True)
class _Work:
    """The frontends whose flows have to be checked in one family; newer changes replace older ones."""

    changes: dict[Frontend, Targets] = field(default_factory=dict)
    node_ports: NodePortDispatch | None = None
    tries: int = 0


class FlowCleaner(Observer):
    """Checks the flows of a change once its rules are in force: before, old rules would create the flows again.

    The first sync checks every frontend: its endpoints may have changed while no agent ran. `reconciled` gets the
    family, the seconds of the work, and the number of flows that were removed.
    """

    def __init__(
        self,
        reconciled: Callable[[Family, float, int], None],
        local_addresses: Callable[[], tuple[Address, ...]],
    ) -> None:
        self._reconciled = reconciled
        self._local_addresses = local_addresses
        self._frontends = {family: UdpFrontends(family) for family in Family}
        self._dirty: dict[Family, set[NamespacedName]] = {family: set() for family in Family}
        self._work: dict[Family, _Work] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = KeptThread("conntrack", self._run, Need.NODE)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.end()

    def synced(
        self, store: Store, dirty: AbstractSet[NamespacedName], outcomes: Mapping[Family, SyncOutcome]
    ) -> None:
        for family, outcome in outcomes.items():
            waiting = self._dirty[family]
            waiting |= dirty
            if outcome.succeeded and waiting:
                external = outcome.node.serves_external_ips
                changes = self._frontends[family].update(store, waiting, serves_external_ips=external)
                waiting.clear()
                if changes:
                    self._hand_over(family, _Work(dict(changes), outcome.node.node_ports))

    def _hand_over(self, family: Family, work: _Work) -> None:
        with self._changed:
            older = self._work.get(family, _Work())
            self._work[family] = _Work(older.changes | work.changes, work.node_ports)
            self._changed.notify_all()

    @property
    def has_work(self) -> bool:
        return bool(self._work)

    def work(self) -> None:
        """Check the flows of one family; without work, wait for work or for `stop`."""
        taken = self._take()
        if taken is None:
            return
        family, work = taken
        began_at = time.monotonic()
        try:
            removed = self._reconcile(family, work)
        except (OSError, KproxyError) as failed:
            self._put_back(family, work, failed)
        except Exception as defect:  # noqa: BLE001 # these flows would stay stale
            log_defect(_log, "%s: a defect in kproxy: stale UDP flows are looked for again", family)
            self._put_back(family, work, defect)
        else:
            self._reconciled(family, time.monotonic() - began_at, removed)
            if removed:
                _log.info("%s: removed %d stale UDP flows from conntrack", family, removed)

    def _run(self) -> None:
        while not self._stopping:
            self.work()

    def _take(self) -> tuple[Family, _Work] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._work)
            return None if self._stopping else self._work.popitem()

    def _put_back(self, family: Family, work: _Work, failed: Exception) -> None:
        """Newer changes of the same frontends stay; after a minute of failures the flows are left alone."""
        if work.tries >= _MOST_TRIES:
            _log.warning("%s: stale UDP flows stay in conntrack until they time out: %s", family, failed)
            return
        _log.debug("%s: conntrack is asked again: %s", family, failed)
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, _RETRY_S)
            newer = self._work.get(family, _Work(node_ports=work.node_ports))
            self._work[family] = _Work(work.changes | newer.changes, newer.node_ports, work.tries + 1)

    def _reconcile(self, family: Family, work: _Work) -> int:
        answers = self._answering(work)
        removed = 0
        with UdpFlows(family) as flows:
            for flow in flows.to(work.changes):
                exact = Frontend(*flow.destination)
                node_port = Frontend(None, flow.destination.port)
                if exact in work.changes:
                    stale = is_stale(flow.destination, flow.source, work.changes[exact])
                elif node_port in work.changes and answers(flow.destination):
                    stale = is_stale(flow.destination, flow.source, work.changes[node_port])
                else:
                    stale = False
                removed += stale and flows.remove(flow)
        return removed

    def _answering(self, work: _Work) -> Callable[[Target], bool]:
        """Tells whether an address of this node answers on node ports: flows to another node's ports are not ours."""
        node_ports = work.node_ports
        if node_ports is None or all(frontend.address for frontend in work.changes):
            return lambda _: False
        if not node_ports.every_local_address:
            return lambda target: target.address in node_ports.addresses
        local = frozenset(self._local_addresses())
        outside = node_ports.except_network
        return lambda target: target.address in local and not (outside and contains(outside, target.address))
