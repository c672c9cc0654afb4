"""The answers of health-check node ports: how many endpoints of each Service are on this node."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kproxy.model.bounds import is_bounded
from kproxy.model.endpoints import backends_by_port
from kproxy.model.plan import is_proxied
from kproxy.state.objects import EndpointSlice, Service
from kproxy.values import Family, NamespacedName, family_of


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """`port` is the Service's health-check node port; `local_endpoints` has each family of its cluster IPs."""

    service: NamespacedName
    port: int
    local_endpoints: Mapping[Family, int]

    def count_for(self, family: Family) -> int:
        """The number of local endpoints to tell a load balancer that asks by this family; with 0 it goes elsewhere.

        Endpoints of the other family cannot serve its packets, unless the Service has only the other family.
        """
        return self.local_endpoints.get(family, max(self.local_endpoints.values()))


def health_check(
    service: Service, slices: Iterable[EndpointSlice], node: str, before: HealthCheck | None = None
) -> HealthCheck | None:
    """The Service's health check on this node, or None if it has no health-check node port or another proxy.

    Counts each local ready address once, whatever the number of ports, in each family on its own, as kube-proxy 1.36.
    Terminating endpoints are not ready, so a draining node leaves the load balancer in time. If the Service asks for
    too many rules in a family, that family keeps its last rules, and so its count of `before`.
    """
    if not service.health_check_node_port or not is_proxied(service):
        return None
    known = tuple(slices)
    counts = {
        family: _local_ready(service, known, node, family)
        if is_bounded(service, known, family)
        else _count_before(before, family)
        for family in map(family_of, service.cluster_ips)
    }
    return HealthCheck(service.key, service.health_check_node_port, counts)


def _count_before(before: HealthCheck | None, family: Family) -> int:
    return before.local_endpoints.get(family, 0) if before else 0


def _local_ready(service: Service, slices: Iterable[EndpointSlice], node: str, family: Family) -> int:
    by_port = backends_by_port(service.key, slices, node, family)
    return len(
        {
            backend.address
            for backends in by_port.values()
            for backend in backends
            if backend.ready and backend.is_local
        }
    )
