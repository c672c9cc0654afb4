"""Each endpoint of a Service with the reason why this node uses it or not: for explanations, not for rules.

The reasons come from the functions that choose the usable backends of a plan. They are computed again when somebody
asks, so that plans, of which a node holds thousands, need not keep them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from kproxy.model.endpoints import Backend, backends_at, one_for_each_target, reason_to_skip
from kproxy.model.node import NodeView
from kproxy.model.plan import ServicePortPlan, plan_service
from kproxy.model.reasons import Reason
from kproxy.model.topology import cluster_reasons, local_reasons
from kproxy.state.objects import Endpoint, EndpointSlice, Service
from kproxy.values import NamespacedName, ServicePortName


class EndpointReasons(Struct, frozen=True):
    """One endpoint of one slice, as one service port sees it, with a reason for each policy.

    `port` is the port of the endpoint, 0 if the slice has none for the service port.
    """

    slice: NamespacedName
    endpoint: Endpoint
    port: int
    cluster: Reason
    local: Reason

    @property
    def reachable(self) -> Reason:
        """The reason why this node sends to the endpoint at all, by either policy, or by none."""
        if self.cluster.is_used:
            return self.cluster
        if self.local.is_used or self.cluster is Reason.POLICY_NOT_FOLLOWED:
            return self.local
        return self.cluster


def endpoint_reasons(
    service: Service, slices: Iterable[EndpointSlice], node: NodeView
) -> dict[ServicePortName, tuple[EndpointReasons, ...]]:
    """The endpoints of each service port of the node view's family, in the order of the slices, copies among them.

    Empty where `plan_service` answers with no plan. InvalidField for a Service that asks for too many rules.
    """
    slices = tuple(slices)
    return {
        plan.name: tuple(_reasons_for_port(plan, slices, node))
        for plan in plan_service(service, slices, node)
    }


def _reasons_for_port(
    plan: ServicePortPlan, slices: Sequence[EndpointSlice], node: NodeView
) -> Iterator[EndpointReasons]:
    listed = [each for piece in slices for each in _listed(plan.name, piece, node)]
    counted = one_for_each_target([found for *_, found in listed if isinstance(found, Backend)])
    decisions = _decisions(plan, counted, node)
    for piece, endpoint, found in listed:
        if isinstance(found, Reason):
            yield EndpointReasons(piece.key, endpoint, 0, found, found)
            continue
        decision = decisions[found.target]
        is_copy = found is not decision.backend
        yield EndpointReasons(
            piece.key,
            endpoint,
            found.port,
            Reason.DUPLICATE if is_copy else decision.cluster,
            Reason.DUPLICATE if is_copy else decision.local,
        )


class _Decision(NamedTuple):
    backend: Backend
    cluster: Reason
    local: Reason


def _decisions(plan: ServicePortPlan, counted: tuple[Backend, ...], node: NodeView) -> dict[str, _Decision]:
    """The decisions on the copies that count, by target."""
    unasked = [Reason.POLICY_NOT_FOLLOWED] * len(counted)
    by_cluster = cluster_reasons(counted, node.name, node.zone) if plan.policies.cluster else unasked
    by_local = local_reasons(counted) if plan.policies.local else unasked
    return {
        backend.target: _Decision(backend, cluster, local)
        for backend, cluster, local in zip(counted, by_cluster, by_local, strict=True)
    }


def _listed(
    name: ServicePortName, piece: EndpointSlice, node: NodeView
) -> Iterator[tuple[EndpointSlice, Endpoint, Backend | Reason]]:
    """Each endpoint of the slice with its backend at each port for the service port, or with the reason for none."""
    ports = [port.port for port in piece.ports if (port.name, port.protocol) == (name.port, name.protocol)]
    reason = reason_to_skip(piece, node.family) or (None if ports else Reason.PORT_NOT_LISTED)
    if reason:
        yield from ((piece, endpoint, reason) for endpoint in piece.endpoints)
        return
    for port in ports:
        for endpoint, backend in zip(piece.endpoints, backends_at(piece, port, node.name), strict=True):
            yield piece, endpoint, backend
