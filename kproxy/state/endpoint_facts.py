"""The rules of an EndpointSlice, and of an old Endpoints object, which becomes slices."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import cast

from kproxy.errors import InvalidField, Irrelevant
from kproxy.state import validate, wire
from kproxy.state.metadata import HEADLESS_LABEL, PROXY_NAME_LABEL, key_of, opt_out_label
from kproxy.state.objects import Endpoint, EndpointPort, Endpoints, EndpointSlice
from kproxy.state.validate import Flaws
from kproxy.values import Family, NamespacedName, family_of

SERVICE_NAME_LABEL = "kubernetes.io/service-name"

_NO_CONDITIONS = wire.Conditions()

_KNOWN = {Endpoint}

_MOST_NODES = 16_384


def endpoint_slice_fact(shape: wire.EndpointSlice, flaws: Flaws) -> EndpointSlice:
    """The fact of a slice. `flaws` gains each part that is left out while the rest is used.

    InvalidField if no rule could use any part of the slice. Irrelevant if the slice names no possible Service, or has
    no addresses.
    """
    key = key_of(shape.metadata, validate.dns_subdomain)
    service = NamespacedName(key.namespace, _owner(shape.metadata.labels or {}))
    if shape.address_type == "FQDN":
        raise Irrelevant("addressType", "'FQDN' endpoints have no address for a rule; allowed are IPv4, IPv6")
    family = validate.choice(Family, shape.address_type, "addressType")
    endpoints = _usable_endpoints(family, shape.endpoints, flaws)
    annotations = shape.metadata.annotations
    return EndpointSlice(
        key=key,
        service=service,
        family=family,
        resource_version=shape.metadata.resource_version or "",
        ports=_usable_ports(shape.ports, "ports", flaws),
        endpoints=tuple(filter(None, endpoints)),
        opt_out_label=opt_out_label(shape.metadata, PROXY_NAME_LABEL, HEADLESS_LABEL),
        changed_at=(annotations.last_change if annotations else None) or "",
    )


def _owner(labels: Mapping[str, str | None]) -> str:
    """The name of the Service to which a slice belongs."""
    owner = labels.get(SERVICE_NAME_LABEL)
    if owner is None:
        raise Irrelevant(
            "metadata.labels", f"the label {SERVICE_NAME_LABEL}, which names the Service, is missing"
        )
    try:
        return validate.dns_label(owner, f"metadata.labels[{SERVICE_NAME_LABEL}]")
    except InvalidField as wrong:
        raise Irrelevant(wrong.field, wrong.reason) from None


def _usable_endpoints(
    family: Family, shapes: Sequence[wire.Endpoint | Endpoint | None] | None, flaws: Flaws
) -> tuple[Endpoint | None, ...]:
    if family is Family.IPV4 and set(map(type, shapes or ())) == _KNOWN:
        return tuple(cast("Sequence[Endpoint]", shapes))  # the reader has already made facts of all endpoints
    return validate.usable(shapes, "endpoints", partial(endpoint_fact, family), flaws)


def _usable_ports(
    shapes: Iterable[wire.EndpointPort | None] | None, field: str, flaws: Flaws
) -> tuple[EndpointPort, ...]:
    return tuple(filter(None, validate.usable(shapes, field, _port, flaws)))


def _port(shape: wire.EndpointPort) -> EndpointPort | None:
    """A port; None without a name or number, which kube-proxy ignores. An empty name is a name."""
    if shape.name is None or not shape.port:
        return None
    return EndpointPort(
        validate.dns_label(shape.name, "name") if shape.name else "",
        validate.protocol(shape.protocol, "protocol"),
        validate.port(shape.port, "port"),
    )


def endpoint_fact(family: Family, shape: wire.Endpoint | Endpoint) -> Endpoint | None:
    """An endpoint; None without an address. Only the first address is used, because all are equivalent.

    A reader that has already made the fact, with an IPv4 address, passes the fact itself.
    """
    if isinstance(shape, Endpoint):
        if family is not Family.IPV4:
            validate.address_of(family, shape.address, "addresses[0]")
        return shape
    if not shape.addresses:
        return None
    conditions = shape.conditions or _NO_CONDITIONS
    hints = shape.hints
    return Endpoint(
        address=validate.address_of(family, shape.addresses[0] or "", "addresses[0]"),
        ready=conditions.ready is not False,
        serving=conditions.serving is not False,
        terminating=conditions.terminating is True,
        node=_node_name(shape.node_name),
        zone_hints=_names(hints.for_zones) if hints else (),
        node_hints=_names(hints.for_nodes) if hints else (),
    )


def _names(hints: list[wire.Named | None] | None) -> tuple[str, ...]:
    """The names in hints. Any text is allowed: hints are compared with this node and its zone, and never printed."""
    return tuple([_interned(hint.name) for hint in hints if hint and hint.name]) if hints else ()


@lru_cache(maxsize=_MOST_NODES)
def _node_name(name: str | None) -> str:
    """One text object for all endpoints of a node; empty for a name that no node can have."""
    try:
        return validate.dns_subdomain(name) if name else ""
    except InvalidField:
        return ""


@lru_cache(maxsize=_MOST_NODES)
def _interned(name: str) -> str:
    """One text object for all endpoints with a hint."""
    return name


def endpoints_fact(shape: wire.Endpoints, flaws: Flaws) -> Endpoints:
    """Each subset as one slice per family of its addresses; `flaws` gains each part that is left out."""
    key = key_of(shape.metadata, validate.dns_label)
    subsets = [_subset(f"subsets[{at}]", subset, flaws) for at, subset in enumerate(shape.subsets or ())]
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


def _subset(field: str, shape: wire.Subset, flaws: Flaws) -> _Subset:
    for port in filter(None, shape.ports or ()):
        port.name = port.name or ""  # an absent name is the empty name here, unlike in a slice
    ready = validate.usable(shape.addresses, f"{field}.addresses", partial(_subset_endpoint, True), flaws)
    not_ready = validate.usable(
        shape.not_ready_addresses, f"{field}.notReadyAddresses", partial(_subset_endpoint, False), flaws
    )
    return _usable_ports(shape.ports, f"{field}.ports", flaws), (*ready, *not_ready)


def _subset_endpoint(ready: bool, shape: wire.EndpointAddress) -> Endpoint:  # `partial` applies it
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
