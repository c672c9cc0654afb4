"""Which UDP flows may go on: each frontend of a Service with the endpoints that still serve it.

A UDP flow stays with its endpoint for as long as packets keep its conntrack entry alive, so an entry has to be
removed when its endpoint goes (as kube-proxy 1.36 does). Policies, topology and termination are not asked: like
a TCP connection, a flow may go on with any endpoint that serves.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kproxy.model.bounds import is_bounded
from kproxy.model.endpoints import Backend, backends_by_port
from kproxy.model.plan import is_proxied
from kproxy.state.objects import EndpointSlice, Service
from kproxy.state.store import Store
from kproxy.values import Address, Family, NamespacedName, Protocol, ServicePortName, family_of


class Target(NamedTuple):
    address: Address
    port: int


class Frontend(NamedTuple):
    """Where clients send to; without an address it is a node port, at every address that answers on those."""

    address: Address | None
    port: int


Targets = frozenset[Target]
Changes = Mapping[Frontend, Targets | None]
"""Each frontend that changed, with the targets that serve it now, or None where it is gone."""


def is_stale(frontend: Target, target: Target, serving: Targets | None) -> bool:
    """Whether a flow to `frontend` that is answered by `target` has to end.

    Where nobody serves, a flow may wait for its endpoint to come back, as kube-proxy lets it. Where the frontend is
    gone, only what was once rewritten is stale: the rest goes to a host of that address.
    """
    if serving is None:
        return target != frontend
    return bool(serving) and target not in serving


class UdpFrontends:
    """The frontends of one family, kept up to date Service by Service."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._by_service: dict[NamespacedName, dict[Frontend, Targets]] = {}
        self._holders: dict[Frontend, dict[NamespacedName, Targets]] = {}

    def update(self, store: Store, dirty: Iterable[NamespacedName]) -> Changes:
        """Take in what changed of these Services; where two claim one address, the targets of both may serve."""
        touched: dict[Frontend, Targets | None] = {}
        for key in dirty:
            service = store.services.get(key)
            newest = _frontends(service, store.slices_of(key), self._family) if service else {}
            known = self._by_service.pop(key, {})
            if newest:
                self._by_service[key] = newest
            for frontend in known.keys() | newest.keys():
                if known.get(frontend) != newest.get(frontend):
                    self._hold(frontend, key, newest.get(frontend))
                    touched[frontend] = None
        return {frontend: self._targets(frontend) for frontend in touched}

    def _hold(self, frontend: Frontend, key: NamespacedName, targets: Targets | None) -> None:
        holders = self._holders.setdefault(frontend, {})
        if targets is None:
            holders.pop(key, None)
        else:
            holders[key] = targets
        if not holders:
            del self._holders[frontend]

    def _targets(self, frontend: Frontend) -> Targets | None:
        holders = self._holders.get(frontend)
        return None if holders is None else frozenset().union(*holders.values())


def _frontends(service: Service, slices: Iterable[EndpointSlice], family: Family) -> dict[Frontend, Targets]:
    ports = [port for port in service.ports if port.protocol is Protocol.UDP]
    slices = tuple(slices)
    if not ports or not is_proxied(service) or not is_bounded(service, slices, family):
        return {}
    addresses = [
        address
        for address in (*service.cluster_ips, *service.load_balancer_vips, *service.external_ips)
        if family_of(address) is family
    ]
    if not addresses:
        return {}
    backends = backends_by_port(service.key, slices, "", family)
    found: dict[Frontend, Targets] = {}
    for port in ports:
        targets = _serving(backends.get(ServicePortName(service.key, port.name, port.protocol), ()))
        found.update((Frontend(address, port.port), targets) for address in addresses)
        if port.node_port:
            found[Frontend(None, port.node_port)] = targets
    return found


def _serving(backends: Iterable[Backend]) -> Targets:
    return frozenset(
        Target(backend.address, backend.port) for backend in backends if backend.ready or backend.serving
    )
