"""Bounds on the rules that one Service may ask for, so that the Service of one tenant cannot fill every node."""

from collections.abc import Iterable

from kproxy.errors import InvalidField
from kproxy.state.objects import EndpointSlice, Service
from kproxy.values import Family, family_of

MOST_FRONTENDS = 10_000
"""Addresses times ports of one Service in one family. Each makes some rules: 10,000 take a second and some 30 MB, and
nobody was seen to use as many as 1,000 ports on ten addresses. The API bounds neither ports nor external IPs."""

MOST_BACKENDS = 100_000
"""Ports times endpoints of one Service in one family, each at least three rules. Kubernetes is made for clusters of
150,000 pods, and 1,000 ports of 100 pods are as many."""

MOST_WAYS = 300_000
"""Addresses times backends of one Service in one family: in nftables mode each makes an element. 300,000 are three
addresses of a Service with the most backends, and 14 MB of text. The two bounds above alone would allow a billion."""

MOST_RANGES = 100_000
"""Ports times loadBalancerSourceRanges of one Service in one family: each port has a rule for each range. 1,000 ports
with 100 ranges make 100,000. The API bounds neither."""


def require_bounded(service: Service, slices: Iterable[EndpointSlice], family: Family) -> None:
    """Raise InvalidField if the Service asks for more rules than a node should have to hold.

    Only sums and products are computed, so the cost of this check does not grow with the product.
    """
    addresses = sum(
        family_of(address) is family
        for addresses in (service.cluster_ips, service.external_ips, service.load_balancer_vips)
        for address in addresses
    )
    _require_bounded_places(service, addresses, family)
    backends = _backends(service, slices, family)
    if backends > MOST_BACKENDS:
        raise InvalidField(
            "spec.ports",
            f"its ports have {backends} {family} endpoints in all; allowed are {MOST_BACKENDS}: "
            "use fewer ports, or several Services",
        )
    if addresses * backends > MOST_WAYS:
        raise InvalidField(
            "spec.externalIPs",
            f"{addresses} {family} addresses for {backends} endpoints are {addresses * backends} ways; "
            f"allowed are {MOST_WAYS}: use fewer externalIPs, or several Services",
        )


def _require_bounded_places(service: Service, addresses: int, family: Family) -> None:
    ports = len(service.ports)
    frontends = addresses * ports + sum(bool(port.node_port) for port in service.ports)
    if frontends > MOST_FRONTENDS:
        raise InvalidField(
            "spec.ports",
            f"{ports} ports on {addresses} {family} addresses are {frontends} places to answer at; "
            f"allowed are {MOST_FRONTENDS}: use fewer ports or externalIPs, or several Services",
        )
    ranges = ports * sum(family_of(each) is family for each in service.source_ranges)
    if service.load_balancer_vips and ranges > MOST_RANGES:
        raise InvalidField(
            "spec.loadBalancerSourceRanges",
            f"the {family} ranges for {ports} ports are {ranges} rules; "
            f"allowed are {MOST_RANGES}: use fewer ranges or ports, or several Services",
        )


def _backends(service: Service, slices: Iterable[EndpointSlice], family: Family) -> int:
    ports = {(port.name, port.protocol) for port in service.ports}
    return sum(
        sum((port.name, port.protocol) in ports for port in piece.ports) * len(piece.endpoints)
        for piece in slices
        if piece.family is family
    )


def is_bounded(service: Service, slices: Iterable[EndpointSlice], family: Family) -> bool:
    """Whether the Service asks for no more rules than a node should have to hold."""
    try:
        require_bounded(service, slices, family)
    except InvalidField:
        return False
    return True
