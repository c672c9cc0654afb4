"""From EndpointSlices to the endpoints of each service port."""

from collections.abc import Iterable, Sequence
from operator import attrgetter

from msgspec import Struct

from kproxy.model.reasons import Reason
from kproxy.state.objects import EndpointSlice
from kproxy.values import Address, Family, NamespacedName, ServicePortName

_TARGET = attrgetter("target")


class Backend(Struct, frozen=True, gc=False):
    """An endpoint as one port of a Service uses it. `target` is `address:port`, as kube-proxy writes it."""

    address: Address
    port: int
    target: str
    is_local: bool
    ready: bool
    serving: bool
    terminating: bool
    zone_hints: tuple[str, ...]
    node_hints: tuple[str, ...]


def backends_by_port(
    service: NamespacedName, slices: Iterable[EndpointSlice], node: str, family: Family
) -> dict[ServicePortName, tuple[Backend, ...]]:
    """The backends of each service port that the slices name, sorted by target as text; `node` is this node.

    Slices are read in the order given. An address and port that is listed several times counts once
    (`one_for_each_target`).
    """
    listed: dict[ServicePortName, list[Backend]] = {}
    for piece in slices:
        if reason_to_skip(piece, family):
            continue
        for port in piece.ports:
            name = ServicePortName(service, port.name, port.protocol)
            listed.setdefault(name, []).extend(backends_at(piece, port.port, node))
    return {name: one_for_each_target(backends) for name, backends in listed.items()}


def reason_to_skip(piece: EndpointSlice, family: Family) -> Reason | None:
    """The reason why no rule of the family uses any endpoint of the slice; None if rules may use them."""
    if piece.family is not family:
        return Reason.OTHER_FAMILY
    return Reason.SLICE_OPTED_OUT if piece.opt_out_label else None


def backends_at(piece: EndpointSlice, port: int, node: str) -> list[Backend]:
    """The endpoints of a slice at one of its ports, in the order of the slice; `node` is this node."""
    bracketed = piece.family is Family.IPV6
    return [
        Backend(
            address := endpoint.address,
            port,
            f"[{address}]:{port}" if bracketed else f"{address}:{port}",
            endpoint.node == node,
            endpoint.ready,
            endpoint.serving,
            endpoint.terminating,
            endpoint.zone_hints,
            endpoint.node_hints,
        )
        for endpoint in piece.endpoints
    ]


def one_for_each_target(listed: Sequence[Backend]) -> tuple[Backend, ...]:
    """The copies that count, sorted by target as text; each is one of the objects in `listed`.

    An address may be listed several times: while an endpoint moves to another slice, or when a pod got the address
    of another pod that has not ended yet (kubernetes#135266). kube-proxy 1.36 takes the last copy that is not
    terminating, and if all copies are terminating, the first. Neither node nor readiness matters. kube-proxy reads
    slices in random order; here the order of `listed` decides.
    """
    by_target = {backend.target: backend for backend in listed}
    if len(by_target) < len(listed):
        firsts = {backend.target: backend for backend in reversed(listed)}
        by_target = firsts | {backend.target: backend for backend in listed if not backend.terminating}
    return tuple(sorted(by_target.values(), key=_TARGET))
