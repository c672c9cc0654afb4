"""The backends that each traffic policy may use on this node, and the reason for each backend.

A connection is sent by "Cluster" or by "Local" policy. For each of the two, on its own:

1. Ready backends are used. "Cluster" narrows them by hints: to those hinted for this node, if
   every ready backend has a node hint and one names this node; else to those hinted for this zone,
   if every ready backend has a zone hint and one names this zone; else not at all. The fallback
   lies in choosing the hints, so narrowing never empties the list. "Local" keeps this node's own.
2. If no ready backend is left, those that are terminating but still serve are used (KEP-1669), so
   that a connection made while the last pods leave is still answered.

"Local" falls back although ready backends may exist on other nodes; "Cluster" only when there is
none anywhere. Hints: KEP-2433 (zones) and KEP-3015 (nodes), as kube-proxy 1.36 reads them. The field
`trafficDistribution` (KEP-4444) decides nothing here: the control plane turns it into hints.
"""

from collections.abc import Callable, Collection, Iterable
from itertools import compress
from operator import attrgetter

from msgspec import Struct

from kproxy.model.endpoints import Backend
from kproxy.model.reasons import Reason
from kproxy.state.objects import Endpoint

Backends = tuple[Backend, ...]

_IS_USED, _NODE_HINTS, _ZONE_HINTS = map(attrgetter, ("is_used", "node_hints", "zone_hints"))


class UsableBackends(Struct, frozen=True):
    """The backends to which this node may send.

    `cluster` and `local` are empty when the policy is not followed. `reachable` is their union in
    target order. `exist_anywhere` is true if some node has a usable backend, even if this one has none.
    """

    cluster: Backends
    local: Backends
    reachable: Backends
    exist_anywhere: bool


def usable_backends(
    backends: Backends, *, uses_cluster: bool, uses_local: bool, node: str, zone: str
) -> UsableBackends:
    """The backends of a service port that each policy may use; the policies that it does not follow use none."""
    by_cluster = _used(backends, cluster_reasons(backends, node, zone))
    cluster = by_cluster if uses_cluster else ()
    local = _used(backends, local_reasons(backends)) if uses_local else ()
    return UsableBackends(cluster, local, _union(cluster, local), exist_anywhere=bool(by_cluster))


def cluster_reasons(backends: Backends, node: str, zone: str) -> list[Reason]:
    """The reason for each backend, in order, why "Cluster" policy uses it or not."""
    ready = [backend for backend in backends if backend.ready]
    by_hints = _reasons_by_hints(ready, node, zone)
    if len(ready) == len(backends):
        return by_hints
    reasons_of_ready = iter(by_hints)
    return [
        next(reasons_of_ready)
        if backend.ready
        else reason_by_condition(backend, another_is_ready=bool(ready))
        for backend in backends
    ]


def local_reasons(backends: Backends) -> list[Reason]:
    """The reason for each backend, in order, why "Local" policy uses it or not."""
    one_is_ready = any(backend.ready and backend.is_local for backend in backends)
    return [
        reason_by_condition(backend, another_is_ready=one_is_ready)
        if backend.is_local
        else Reason.NOT_ON_THIS_NODE
        for backend in backends
    ]


def reason_by_condition(endpoint: Backend | Endpoint, *, another_is_ready: bool) -> Reason:
    """The reason that the endpoint's conditions give; `another_is_ready` is whether a ready one may be used instead.

    Here, and nowhere else, it is decided that a terminating endpoint is used (KEP-1669).
    """
    if endpoint.ready:
        return Reason.READY
    if not endpoint.terminating:
        return Reason.NOT_READY
    if not endpoint.serving:
        return Reason.TERMINATING
    return Reason.TERMINATING_AND_REPLACEABLE if another_is_ready else Reason.TERMINATING_BUT_NEEDED


def _reasons_by_hints(ready: list[Backend], node: str, zone: str) -> list[Reason]:
    """The reason for each ready backend: node hints before zone hints, if either can be followed."""
    if _can_follow(_NODE_HINTS, ready, node):
        return [
            Reason.HINTED_FOR_NODE if node in backend.node_hints else Reason.HINTED_FOR_OTHER_NODE
            for backend in ready
        ]
    if _can_follow(_ZONE_HINTS, ready, zone):
        return [
            Reason.HINTED_FOR_ZONE if zone in backend.zone_hints else Reason.HINTED_FOR_OTHER_ZONE
            for backend in ready
        ]
    return [Reason.READY] * len(ready)


def _can_follow(hints: Callable[[Backend], Collection[str]], ready: list[Backend], place: str) -> bool:
    """Whether every ready backend has hints of this kind, and some of these name the place."""
    return all(map(hints, ready)) and any(place in hints(backend) for backend in ready)


def _used(backends: Backends, reasons: Iterable[Reason]) -> Backends:
    return tuple(compress(backends, map(_IS_USED, reasons)))


def _union(cluster: Backends, local: Backends) -> Backends:
    if not (cluster and local):
        return cluster or local
    by_target = {backend.target: backend for backend in (*cluster, *local)}
    return tuple(by_target[target] for target in sorted(by_target))
