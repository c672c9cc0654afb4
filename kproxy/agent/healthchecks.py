"""The health-check node ports, by which load balancers learn whether a Service has endpoints on this node."""

import json
import logging
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from http import HTTPStatus

from kproxy.agent.follower import Follower, Outcome
from kproxy.agent.web import Listener, Page, WebServer
from kproxy.model.health import HealthCheck, health_check
from kproxy.model.node import NodeView
from kproxy.state.store import Store
from kproxy.values import Address, Family, NamespacedName, family_of

_log = logging.getLogger(__name__)

_EVERY_ADDRESS = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}  # noqa: S104 # node ports are open to all


class HealthCheckPorts(Follower):
    """Listens on the port of each Service that has one, on the addresses that answer on node ports.

    An address that cannot be had is told to `complain`, and tried again at each sync.
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
        self._refused: dict[NamespacedName, str] = {}

    def synced(
        self, store: Store, dirty: AbstractSet[NamespacedName], outcomes: Mapping[Family, Outcome]
    ) -> None:
        """Count again, open and close; nothing of it before any family's rules are in force."""
        self._pending |= dirty
        if not any(outcome.succeeded for outcome in outcomes.values()):
            return
        nodes = [outcome.node for outcome in outcomes.values()]
        self._move_to(tuple(address for node in nodes for address in _addresses(node)))
        for key in self._pending:
            self._update(key, store, nodes[0].name)
        self._pending.clear()
        for key in self._checks.keys() - self._listeners.keys():
            self._open(self._checks[key])

    def _move_to(self, addresses: tuple[str, ...]) -> None:
        if addresses != self._addresses:
            self._addresses = addresses
            for key in list(self._listeners):
                self._close(key)

    def _update(self, key: NamespacedName, store: Store, node: str) -> None:
        service = store.services.get(key)
        newest = health_check(service, store.slices_of(key), node) if service else None
        known = self._checks.get(key)
        if known and (newest is None or newest.port != known.port):
            self._close(key)
        if newest:
            self._checks[key] = newest
        else:
            self._checks.pop(key, None)
            self._refused.pop(key, None)

    def _open(self, check: HealthCheck) -> None:
        opened: list[Listener] = []
        try:
            opened.extend(
                self._web.listen(address, check.port, partial(self._page, check.service, address))
                for address in self._addresses
            )
        except OSError as refused:
            for listener in opened:
                self._web.close(listener)
            told = f"cannot listen on health-check node port {check.port}: {refused.strerror}"
            is_news = self._refused.get(check.service) != told
            level = logging.ERROR if is_news else logging.DEBUG
            _log.log(level, "Service %s: %s; it is tried again with each sync", check.service, told)
            self._refused[check.service] = told
            self._complain(check.service, told)
            return
        self._listeners[check.service] = tuple(opened)
        self._refused.pop(check.service, None)

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
