"""The endpoints of a service port, and those of them that traffic may use.

Sources: "EndpointSlices" in the Kubernetes documentation, and kubernetes#135593 for copies of one address; KEP-1669 for
terminating endpoints; KEP-2433 for zone hints and KEP-3015 for node hints; "Service Internal Traffic Policy" for what
is on this node.
"""

from kproxy.oracle.here import Here
from kproxy.state.objects import Endpoint, Service, ServicePort
from kproxy.values import Address

Place = tuple[Address, int]
"""An address and a port, where a connection can end."""

Endpoints = dict[Place, Endpoint]


def endpoints_of(service: Service, port: ServicePort, here: Here) -> Endpoints:
    """The endpoints of the service port in this family, each address and port once."""
    copies: dict[Place, list[Endpoint]] = {}
    for piece in here.store.slices_of(service.key):
        if piece.family is not here.family or piece.opt_out_label:
            continue
        numbers = [
            each.port for each in piece.ports if (each.name, each.protocol) == (port.name, port.protocol)
        ]
        for number in numbers:
            for endpoint in piece.endpoints:
                copies.setdefault((endpoint.address, number), []).append(endpoint)
    return {place: _believed(listed) for place, listed in copies.items()}


def _believed(copies: list[Endpoint]) -> Endpoint:
    """The copy that counts if one address is listed several times, slices in the order of their names.

    A pod that runs is believed before a pod that ends and had the address earlier: the last copy that is not
    terminating, and the first if all are (kubernetes#135593).
    """
    running = [each for each in copies if not each.terminating]
    return running[-1] if running else copies[0]


def usable(endpoints: Endpoints) -> list[Place]:
    """The ready endpoints; without any, the terminating endpoints that still serve (KEP-1669)."""
    return [place for place, each in endpoints.items() if each.ready] or [
        place for place, each in endpoints.items() if each.serving and each.terminating
    ]


def usable_here(endpoints: Endpoints, here: Here) -> list[Place]:
    """The places to which policy Local may send from this node."""
    return usable({place: each for place, each in endpoints.items() if each.node == here.name})


def usable_anywhere(endpoints: Endpoints, here: Here) -> list[Place]:
    """The places to which policy Cluster may send from this node: by node hints, by zone hints, or all."""
    found = usable(endpoints)
    if not any(endpoints[place].ready for place in found):
        return found
    for here_or_zone, hints in (
        (here.name, {place: endpoints[place].node_hints for place in found}),
        (here.zone, {place: endpoints[place].zone_hints for place in found}),
    ):
        near = [place for place in found if here_or_zone in hints[place]]
        if near and all(hints.values()):
            return near
    return found
