"""From EndpointSlices to the endpoints of each service port."""

from collections.abc import Iterable
from operator import attrgetter

from msgspec import Struct

from kproxy.state.objects import EndpointSlice
from kproxy.values import Address, Family, NamespacedName, ServicePortName


class Backend(Struct, frozen=True, gc=False):
    """An endpoint at one port: where a connection can end. `target` is `address:port` as Go joins it."""

    address: Address
    port: int
    target: str
    is_local: bool
    ready: bool
    serving: bool
    terminating: bool
    zone_hints: tuple[str, ...]
    node_hints: tuple[str, ...]

    @property
    def is_serving_terminating(self) -> bool:
        """On its way out, yet still answering (KEP-1669)."""
        return self.serving and self.terminating


def backends_by_port(
    service: NamespacedName, slices: Iterable[EndpointSlice], node: str, family: Family
) -> dict[ServicePortName, tuple[Backend, ...]]:
    """The backends of each service port that the slices name, sorted by target as text; `node` is this node.

    An address may be listed several times: while an endpoint moves to another slice, or when a pod got the address
    of one that has not ended yet (kubernetes#135266). It counts once, as kube-proxy 1.36 has it: of the copies that
    are not terminating the last one decides, and if all are terminating, the first. Neither the node nor readiness
    is asked. kube-proxy reads the slices in an order left to chance; here they are read as `slices` has them.
    """
    found: dict[ServicePortName, list[Backend]] = {}
    for piece in slices:
        if piece.family is not family or piece.opt_out_label:
            continue
        for port in piece.ports:
            name = ServicePortName(service, port.name, port.protocol)
            found.setdefault(name, []).extend(_backends(piece, port.port, node))
    return {name: _one_a_target(backends) for name, backends in found.items()}


def _backends(piece: EndpointSlice, port: int, node: str) -> list[Backend]:
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


def _one_a_target(backends: list[Backend]) -> tuple[Backend, ...]:
    by_target = {backend.target: backend for backend in backends}
    if len(by_target) < len(backends):
        firsts = {backend.target: backend for backend in reversed(backends)}
        by_target = firsts | {backend.target: backend for backend in backends if not backend.terminating}
    return tuple(sorted(by_target.values(), key=attrgetter("target")))
