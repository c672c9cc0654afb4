"""Which backends each traffic policy may use on this node.

A connection is sent by "Cluster" or by "Local" policy. For each of the two, on its own:

1. Ready backends are used. "Cluster" narrows them by hints: to those hinted for this node, if
   every ready backend has a node hint and one names this node; else to those hinted for this zone,
   if every ready backend has a zone hint and one names this zone; else not at all. The fallback
   lies in choosing the hints, so narrowing never empties the list. "Local" keeps this node's own.
2. Where no ready one is left, those that are terminating but still serve are used (KEP-1669), so
   that a connection made while the last pods leave is still answered.

"Local" falls back although ready backends may exist on other nodes; "Cluster" only when there is
none anywhere. Hints: KEP-2433 (zones) and KEP-3015 (nodes), as kube-proxy 1.36 reads them.
"""

from collections.abc import Callable, Collection, Sequence
from operator import attrgetter

from msgspec import Struct

from kproxy.model.endpoints import Backend

Backends = tuple[Backend, ...]


class UsableBackends(Struct, frozen=True):
    """What this node may send to.

    `cluster` and `local` are empty when the policy is not used. `reachable` is their union in
    target order. `exist_anywhere` is true if some node has a usable backend, even if this one has none.
    """

    cluster: Backends
    local: Backends
    reachable: Backends
    exist_anywhere: bool


def usable_backends(
    backends: Backends, *, uses_cluster: bool, uses_local: bool, node: str, zone: str
) -> UsableBackends:
    """Sort a service port's backends by the policies that it uses."""
    cluster = cluster_backends(backends, node, zone) if uses_cluster else ()
    local = local_backends(backends) if uses_local else ()
    exist_anywhere = bool(cluster) or (
        uses_local and any(backend.ready or backend.is_serving_terminating for backend in backends)
    )
    return UsableBackends(cluster, local, _union(cluster, local), exist_anywhere)


def _union(cluster: Backends, local: Backends) -> Backends:
    if not (cluster and local):
        return cluster or local
    by_target = {backend.target: backend for backend in (*cluster, *local)}
    return tuple(by_target[target] for target in sorted(by_target))


def cluster_backends(backends: Backends, node: str, zone: str) -> Backends:
    """The backends for "Cluster" policy: ready ones near enough, else serving-terminating ones."""
    ready = tuple([backend for backend in backends if backend.ready])
    if not ready:
        return tuple(backend for backend in backends if backend.is_serving_terminating)
    return (
        _hinted_for(ready, node, attrgetter("node_hints"))
        or _hinted_for(ready, zone, attrgetter("zone_hints"))
        or ready
    )


def local_backends(backends: Backends) -> Backends:
    """The backends for "Local" policy: this node's ready ones, else its serving-terminating ones."""
    local = tuple(backend for backend in backends if backend.is_local)
    return tuple(backend for backend in local if backend.ready) or tuple(
        backend for backend in local if backend.is_serving_terminating
    )


def _hinted_for(
    ready: Sequence[Backend], place: str, hints: Callable[[Backend], Collection[str]]
) -> Backends:
    if not all(map(hints, ready)):
        return ()
    return tuple(backend for backend in ready if place in hints(backend))
