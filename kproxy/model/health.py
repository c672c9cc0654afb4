"""What the health-check node ports answer: how many local endpoints each Service has here."""

from collections.abc import Iterable
from dataclasses import dataclass

from kproxy.model.plan import is_proxied
from kproxy.state.objects import EndpointSlice, Service
from kproxy.values import NamespacedName


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """`port` is the Service's health-check node port; the answer is 200 if `local_endpoints` is not 0."""

    service: NamespacedName
    port: int
    local_endpoints: int


def health_check(service: Service, slices: Iterable[EndpointSlice], node: str) -> HealthCheck | None:
    """The Service's health check on this node, or None if it has no health-check node port or another proxy.

    Counts each local ready address once, whatever the number of ports, over both families.
    Terminating endpoints are not ready, so a draining node leaves the load balancer in time.
    """
    if not service.health_check_node_port or not is_proxied(service):
        return None
    local = {
        endpoint.address
        for piece in slices
        for endpoint in piece.endpoints
        if endpoint.ready and endpoint.node == node
    }
    return HealthCheck(service.key, service.health_check_node_port, len(local))
