"""How much one Service may ask of every node: a tenant's Service must not fill it."""

from collections.abc import Iterable

from kproxy.errors import InvalidField
from kproxy.state.objects import EndpointSlice, Service
from kproxy.values import Family, family_of

MOST_FRONTENDS = 10_000
"""Addresses times ports of one Service in one family. Each is some rules: 10,000 take a second and some 30 MB, and
1,000 ports on ten addresses is more than anybody was seen to use. The API bounds neither ports nor external IPs."""

MOST_BACKENDS = 100_000
"""Ports times endpoints of one Service in one family, each at least three rules. Kubernetes is made for clusters of
150,000 pods, and 1,000 ports of 100 pods are as many."""


def require_bounded(service: Service, slices: Iterable[EndpointSlice], family: Family) -> None:
    """InvalidField where the rules of the Service would be more than a node can be asked to hold.

    Only sums and products are taken: asking costs nothing that grows with the product.
    """
    addresses = sum(
        family_of(address) is family
        for addresses in (service.cluster_ips, service.external_ips, service.load_balancer_vips)
        for address in addresses
    )
    node_ports = sum(bool(port.node_port) for port in service.ports)
    frontends = addresses * len(service.ports) + node_ports
    if frontends > MOST_FRONTENDS:
        raise InvalidField(
            "spec.ports",
            f"{len(service.ports)} ports on {addresses} {family} addresses are {frontends} places to answer at; "
            f"allowed are {MOST_FRONTENDS}: use fewer ports or externalIPs, or several Services",
        )
    ports = {(port.name, port.protocol) for port in service.ports}
    backends = sum(
        sum((port.name, port.protocol) in ports for port in piece.ports) * len(piece.endpoints)
        for piece in slices
        if piece.family is family
    )
    if backends > MOST_BACKENDS:
        raise InvalidField(
            "spec.ports",
            f"its ports have {backends} {family} endpoints in all; allowed are {MOST_BACKENDS}: "
            "use fewer ports, or several Services",
        )


def is_bounded(service: Service, slices: Iterable[EndpointSlice], family: Family) -> bool:
    """Whether the rules of the Service are no more than a node can be asked to hold."""
    try:
        require_bounded(service, slices, family)
    except InvalidField:
        return False
    return True
