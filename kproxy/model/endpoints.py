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

    While slices are rebalanced an endpoint may stand in two of them; it counts once, and the
    copy that is local wins, then the one that is ready, then the one in the first slice by name.
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
        best_first = sorted(backends, key=_trust, reverse=True)
        by_target = {backend.target: backend for backend in reversed(best_first)}
    return tuple(sorted(by_target.values(), key=attrgetter("target")))


def _trust(backend: Backend) -> tuple[bool, bool]:
    return backend.is_local, backend.ready
