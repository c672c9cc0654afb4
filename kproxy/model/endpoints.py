"""From EndpointSlices to the endpoints of each service port."""

from collections.abc import Iterable

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
    found: dict[ServicePortName, dict[str, Backend]] = {}
    for piece in slices:
        if piece.family is not family or piece.opt_out_label:
            continue
        for port in piece.ports:
            known = found.setdefault(ServicePortName(service, port.name, port.protocol), {})
            for backend in _backends(piece, port.port, node):
                twin = known.get(backend.target)
                if twin is None or _trust(backend) > _trust(twin):
                    known[backend.target] = backend
    return {name: tuple(known[target] for target in sorted(known)) for name, known in found.items()}


def _backends(piece: EndpointSlice, port: int, node: str) -> Iterable[Backend]:
    bracketed = piece.family is Family.IPV6
    for endpoint in piece.endpoints:
        address = endpoint.address
        yield Backend(
            address,
            port,
            f"[{address}]:{port}" if bracketed else f"{address}:{port}",
            endpoint.node == node,
            endpoint.ready,
            endpoint.serving,
            endpoint.terminating,
            endpoint.zone_hints,
            endpoint.node_hints,
        )


def _trust(backend: Backend) -> tuple[bool, bool]:
    return backend.is_local, backend.ready
