"""The rules of an EndpointSlice, and of an old Endpoints object, which becomes slices."""

from collections.abc import Iterable, Iterator
from functools import lru_cache, partial

from kproxy.errors import InvalidField
from kproxy.state import validate, wire
from kproxy.state.metadata import HEADLESS_LABEL, PROXY_NAME_LABEL, key_of, opt_out_label
from kproxy.state.objects import Endpoint, EndpointPort, Endpoints, EndpointSlice
from kproxy.values import Family, NamespacedName, family_of

SERVICE_NAME_LABEL = "kubernetes.io/service-name"

_NO_CONDITIONS = wire.Conditions()

_MOST_NODES = 16_384


def endpoint_slice_fact(shape: wire.EndpointSlice) -> EndpointSlice:
    """InvalidField where the slice names no Service, or no rule could carry what it lists."""
    key = key_of(shape.metadata, validate.dns_subdomain)
    owner = (shape.metadata.labels or {}).get(SERVICE_NAME_LABEL)
    if owner is None:
        raise InvalidField(
            "metadata.labels", f"the label {SERVICE_NAME_LABEL}, which names the Service, is missing"
        )
    service = NamespacedName(
        key.namespace, validate.dns_label(owner, f"metadata.labels[{SERVICE_NAME_LABEL}]")
    )
    if shape.address_type == "FQDN":
        raise InvalidField(
            "addressType", "'FQDN' endpoints have no address for a rule; allowed are IPv4, IPv6"
        )
    family = validate.choice(Family, shape.address_type, "addressType")
    endpoints = validate.each(shape.endpoints, "endpoints", partial(_endpoint, family))
    annotations = shape.metadata.annotations
    return EndpointSlice(
        key=key,
        service=service,
        family=family,
        resource_version=shape.metadata.resource_version or "",
        ports=_usable_ports(shape.ports, "ports"),
        endpoints=tuple([endpoint for endpoint in endpoints if endpoint is not None]),
        opt_out_label=opt_out_label(shape.metadata, PROXY_NAME_LABEL, HEADLESS_LABEL),
        changed_at=(annotations.last_change if annotations else None) or "",
    )


def _usable_ports(shapes: Iterable[wire.EndpointPort] | None, field: str) -> tuple[EndpointPort, ...]:
    return tuple(port for port in validate.each(shapes, field, _port) if port is not None)


def _port(shape: wire.EndpointPort) -> EndpointPort | None:
    """None without a name or number, which kube-proxy passes over; an empty name is a name."""
    if shape.name is None or not shape.port:
        return None
    return EndpointPort(
        validate.dns_label(shape.name, "name") if shape.name else "",
        validate.protocol(shape.protocol, "protocol"),
        validate.port(shape.port, "port"),
    )


def _endpoint(family: Family, shape: wire.Endpoint) -> Endpoint | None:
    """None without an address. Of several addresses only the first counts: they are interchangeable."""
    if not shape.addresses:
        return None
    conditions = shape.conditions or _NO_CONDITIONS
    hints = shape.hints
    return Endpoint(
        address=validate.address_of(family, shape.addresses[0], "addresses[0]"),
        ready=conditions.ready is not False,
        serving=conditions.serving is not False,
        terminating=conditions.terminating is True,
        node=_node_name(shape.node_name),
        zone_hints=validate.each(hints.for_zones, "hints.forZones", _zone_hint) if hints else (),
        node_hints=validate.each(hints.for_nodes, "hints.forNodes", _node_hint) if hints else (),
    )


def _zone_hint(hint: wire.Named) -> str:
    return validate.label_value(hint.name, "name")


def _node_hint(hint: wire.Named) -> str:
    return validate.dns_subdomain(hint.name, "name")


@lru_cache(maxsize=_MOST_NODES)
def _node_name(name: str | None) -> str:
    """The same text object for all endpoints of a node."""
    return validate.dns_subdomain(name, "nodeName") if name else ""


def endpoints_fact(shape: wire.Endpoints) -> Endpoints:
    """Each subset as one slice for each family of its addresses."""
    key = key_of(shape.metadata, validate.dns_label)
    subsets = validate.each(shape.subsets, "subsets", _subset)
    return Endpoints(
        key=key,
        resource_version=shape.metadata.resource_version or "",
        slices=tuple(
            piece
            for number, (ports, endpoints) in enumerate(subsets)
            for piece in _slices(key, number, ports, endpoints)
        ),
    )


_Subset = tuple[tuple[EndpointPort, ...], tuple[Endpoint, ...]]


def _subset(shape: wire.Subset) -> _Subset:
    for port in shape.ports or ():
        port.name = port.name or ""  # here, unlike in a slice, an absent name is the empty name
    ready = validate.each(shape.addresses, "addresses", partial(_subset_endpoint, True))
    not_ready = validate.each(
        shape.not_ready_addresses, "notReadyAddresses", partial(_subset_endpoint, False)
    )
    return _usable_ports(shape.ports, "ports"), (*ready, *not_ready)


def _subset_endpoint(ready: bool, shape: wire.EndpointAddress) -> Endpoint:  # partial applies it
    return Endpoint(
        address=validate.address(shape.ip, "ip"),
        ready=ready,
        serving=ready,
        node=_node_name(shape.node_name),
    )


def _slices(
    service: NamespacedName, number: int, ports: tuple[EndpointPort, ...], endpoints: tuple[Endpoint, ...]
) -> Iterator[EndpointSlice]:
    for family in Family:
        members = tuple(endpoint for endpoint in endpoints if family_of(endpoint.address) is family)
        if members:
            yield EndpointSlice(
                key=NamespacedName(service.namespace, f"{service.name}-subset-{number}-{family.lower()}"),
                service=service,
                family=family,
                ports=ports,
                endpoints=members,
            )
