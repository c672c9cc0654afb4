"""The UDP flows that may go on: each frontend of a Service with the endpoints that still serve it.

A UDP flow stays with its endpoint for as long as packets keep its conntrack entry alive, so an entry has to be
removed when its endpoint goes (as kube-proxy 1.36 does), also if that was the last endpoint (as 1.37 does). Policies,
topology and termination decide nothing: like a TCP connection, a flow may go on with any endpoint that serves.
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
    """An address and port to which clients send; without an address it is a node port."""

    address: Address | None
    port: int


Targets = frozenset[Target]
Changes = Mapping[Frontend, Targets]
"""Each frontend that changed, with the targets that serve it now; no targets if the frontend itself is gone."""


def is_stale(frontend: Target, target: Target, serving: Targets) -> bool:
    """Whether a flow to `frontend` that `target` answers has to end.

    If no target serves, only a flow that was rewritten is stale: its endpoint is gone, and its packets would go there
    for as long as the client sends. A flow that was not rewritten goes to a host with the frontend's own address.
    """
    return target not in serving if serving else target != frontend


class UdpFrontends:
    """The frontends of one family, kept up to date Service by Service."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._by_service: dict[NamespacedName, dict[Frontend, Targets]] = {}
        self._holders: dict[Frontend, dict[NamespacedName, Targets]] = {}

    def update(
        self, store: Store, dirty: Iterable[NamespacedName], *, serves_external_ips: bool = True
    ) -> Changes:
        """Read these Services again; if two Services have one frontend, the targets of both may serve it."""
        touched: set[Frontend] = set()
        for key in dirty:
            service = store.services.get(key)
            external_ips = service.external_ips if service and serves_external_ips else ()
            newest = _frontends(service, external_ips, store.slices_of(key), self._family) if service else {}
            known = self._by_service.pop(key, {})
            if newest:
                self._by_service[key] = newest
            for frontend in known.keys() | newest.keys():
                if known.get(frontend) != newest.get(frontend):
                    self._hold(frontend, key, newest.get(frontend))
                    touched.add(frontend)
        return {frontend: self._targets(frontend) for frontend in touched}

    def _hold(self, frontend: Frontend, key: NamespacedName, targets: Targets | None) -> None:
        holders = self._holders.setdefault(frontend, {})
        if targets is None:
            holders.pop(key, None)
        else:
            holders[key] = targets
        if not holders:
            del self._holders[frontend]

    def _targets(self, frontend: Frontend) -> Targets:
        return frozenset().union(*self._holders.get(frontend, {}).values())


def _frontends(
    service: Service, external_ips: tuple[Address, ...], slices: Iterable[EndpointSlice], family: Family
) -> dict[Frontend, Targets]:
    ports = [port for port in service.ports if port.protocol is Protocol.UDP]
    slices = tuple(slices)
    if not ports or not is_proxied(service) or not is_bounded(service, slices, family):
        return {}
    addresses = [
        address
        for address in (*service.cluster_ips, *service.load_balancer_vips, *external_ips)
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
