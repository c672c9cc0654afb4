"""The health-check node ports, by which load balancers learn whether a Service has endpoints on this node."""

import errno
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from kproxy.agent.http.page import Page
from kproxy.agent.http.port_conflict import taken
from kproxy.agent.http.web import WebServer
from kproxy.agent.observers.observer import Observer, SyncOutcome
from kproxy.model.health import HealthCheck, health_check
from kproxy.model.node import NodeView
from kproxy.state.store import Store
from kproxy.values import Address, Family, NamespacedName, family_of

if TYPE_CHECKING:
    from kproxy.agent.http.listening import Listener

_log = logging.getLogger(__name__)

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_MAKE_ROOM = "raise the hard limit of open files, or let nodePortAddresses choose fewer addresses"
_MOST_LOOKS = 5
"""The number of searches in one sync for a program that holds a port; each takes up to 0.2 s."""

_EVERY_ADDRESS = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}  # noqa: S104 # node ports are open to all


class HealthCheckPorts(Observer):
    """Listens on the port of each Service that has one, on the addresses that answer on node ports.

    `complain` is told of a port that cannot be opened, once for each reason; each sync tries the port again.
    """

    def __init__(
        self,
        web: WebServer,
        is_healthy: Callable[[], bool],
        complain: Callable[[NamespacedName, str], object],
    ) -> None:
        self._web = web
        self._is_healthy = is_healthy
        self._complain = complain
        self._pending: set[NamespacedName] = set()
        self._addresses: tuple[str, ...] = ()
        self._checks: dict[NamespacedName, HealthCheck] = {}
        self._listeners: dict[NamespacedName, tuple[Listener, ...]] = {}
        self._refused: dict[NamespacedName, tuple[int, int | None]] = {}

    def synced(
        self, store: Store, dirty: AbstractSet[NamespacedName], outcomes: Mapping[Family, SyncOutcome]
    ) -> None:
        """Count endpoints again, open and close ports; not before the rules of some family are in force."""
        self._pending |= dirty
        if not any(outcome.succeeded for outcome in outcomes.values()):
            return
        nodes = [outcome.node for outcome in outcomes.values()]
        self._move_to(tuple(address for node in nodes for address in _addresses(node)))
        for key in self._pending:
            self._update(key, store, nodes[0].name)
        self._pending.clear()
        self._open_all(sorted(self._checks.keys() - self._listeners.keys()))

    def _open_all(self, keys: Sequence[NamespacedName]) -> None:
        """Open the ports of these Services. Once the process may open no more, the others wait for the next sync."""
        no_room: OSError | None = None
        looks = _MOST_LOOKS
        for key in keys:
            check = self._checks[key]
            refused = no_room or self._refusal(check)
            if refused:
                no_room = refused if refused.errno in _NO_ROOM else None
                looks -= self._tell(check, refused, looks=looks > 0)

    def _refusal(self, check: HealthCheck) -> OSError | None:
        """Open the port; the reason if that fails, None if it is open."""
        try:
            self._open(check)
        except OSError as refused:
            return refused
        return None

    def _move_to(self, addresses: tuple[str, ...]) -> None:
        if addresses != self._addresses:
            self._addresses = addresses
            for key in list(self._listeners):
                self._close(key)

    def _update(self, key: NamespacedName, store: Store, node: str) -> None:
        service = store.services.get(key)
        known = self._checks.get(key)
        newest = health_check(service, store.slices_of(key), node, known) if service else None
        if known and (newest is None or newest.port != known.port):
            self._close(key)
        if newest:
            self._checks[key] = newest
        else:
            self._checks.pop(key, None)
            self._refused.pop(key, None)

    def _open(self, check: HealthCheck) -> None:
        """Open the port on all addresses; OSError if one of them is not free, and then none is open."""
        opened: list[Listener] = []
        try:
            opened.extend(
                self._web.listen(address, check.port, partial(self._page, check.service, address))
                for address in self._addresses
            )
        except BaseException:
            for listener in opened:
                self._web.close(listener)
            raise
        self._listeners[check.service] = tuple(opened)
        self._refused.pop(check.service, None)

    def _tell(self, check: HealthCheck, refused: OSError, *, looks: bool) -> bool:
        """Log the refusal if it is new; whether it was new. Only then kproxy looks for the holder of the port."""
        refusal = check.port, refused.errno
        if self._refused.get(check.service) == refusal:
            return False
        self._refused[check.service] = refusal
        has_room = refused.errno not in _NO_ROOM
        reason = taken(check.port, refused, looks=looks) if has_room else f"{refused.strerror}; {_MAKE_ROOM}"
        told = f"cannot listen on health-check node port {check.port}: {reason}"
        _log.error("Service %s: %s; it is tried again with each sync", check.service, told)
        self._complain(check.service, told)
        return True

    def _close(self, key: NamespacedName) -> None:
        for listener in self._listeners.pop(key, ()):
            self._web.close(listener)

    def _page(self, service: NamespacedName, address: str, _path: str) -> Page:
        check = self._checks.get(service)
        local_endpoints = (
            check.count_for(family_of(Address(address))) if check else 0
        )  # the Service went just now
        healthy = self._is_healthy()
        content = {
            "service": {"namespace": service.namespace, "name": service.name},
            "localEndpoints": local_endpoints,
            "serviceProxyHealthy": healthy,
        }
        good = healthy and local_endpoints > 0
        return Page(
            json.dumps(content, indent="\t"),
            HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE,
            headers=(("X-Load-Balancing-Endpoint-Weight", str(local_endpoints)),),
        )


def _addresses(node: NodeView) -> tuple[str, ...]:
    every = node.node_ports.every_local_address
    return (_EVERY_ADDRESS[node.family],) if every else node.node_ports.addresses
