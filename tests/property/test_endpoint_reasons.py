"""Reasons, plans and the oracle agree on each endpoint of an arbitrary Service, and each reason tells the truth."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facts import NODE, a_node, a_service, a_slice, an_endpoint
from kproxy.model.endpoint_reasons import EndpointReasons, endpoint_reasons
from kproxy.model.endpoints import Backend
from kproxy.model.node import view_node
from kproxy.model.packet import Host
from kproxy.model.plan import plan_service
from kproxy.model.reasons import Reason
from kproxy.model.settings import Settings
from kproxy.oracle.endpoints import Place, endpoints_of, usable_anywhere, usable_here
from kproxy.oracle.here import Here
from kproxy.state.events import Changed
from kproxy.state.objects import Endpoint, EndpointPort, EndpointSlice, Node, Object, Service, ServicePort
from kproxy.state.store import Store
from kproxy.values import Address, Family, Protocol

CONDITIONS = [
    *[{"ready": True, "serving": True, "terminating": False}] * 2,
    *[{"ready": False, "serving": True, "terminating": True}] * 2,
    {"ready": False, "serving": False, "terminating": True},
    {"ready": False, "serving": False, "terminating": False},
    {"ready": False, "serving": True, "terminating": False},
    {"ready": True, "serving": True, "terminating": True},
]
ZONES, NODES = ("zone-a", "zone-b"), (NODE, "node-2")
PORTS = [EndpointPort(name, protocol, 8080) for name in ("", "web") for protocol in (Protocol.TCP, Protocol.UDP)]  # fmt: skip
ADDRESSES = {
    Family.IPV4: [f"10.128.1.{number}" for number in range(1, 6)],
    Family.IPV6: [f"fd00::{number}" for number in range(1, 6)],
}


class Cluster(NamedTuple):
    service: Service
    slices: tuple[EndpointSlice, ...]
    node: Node


@st.composite
def slices(draw: st.DrawFn, number: int, is_hinted: bool, is_ready: bool) -> EndpointSlice:
    family = draw(st.sampled_from([Family.IPV4, Family.IPV4, Family.IPV6]))
    some_zones = st.lists(st.sampled_from(ZONES), min_size=is_hinted, unique=True).map(tuple)
    some_nodes = st.lists(st.sampled_from(NODES), min_size=is_hinted, unique=True).map(tuple)
    endpoints = [
        an_endpoint(
            draw(st.sampled_from(ADDRESSES[family])),
            draw(st.sampled_from([*NODES, ""])),
            zone_hints=draw(some_zones),
            node_hints=draw(some_nodes if draw(st.booleans()) else st.just(())),
            **draw(st.sampled_from(CONDITIONS if is_ready else CONDITIONS[2:-1])),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]
    return a_slice(
        *endpoints,
        name=f"web-{number}",
        family=family,
        ports=draw(st.lists(st.sampled_from(PORTS), min_size=1, max_size=3, unique=True).map(tuple)),
        opt_out_label=draw(st.sampled_from([*[""] * 5, "service.kubernetes.io/headless"])),
    )


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    is_hinted, is_ready = draw(st.booleans()), draw(st.sampled_from([True, True, False]))
    service = a_service(
        cluster_ips=(Address("10.96.0.10"), Address("fd00:10:96::10")),
        ports=(ServicePort("", Protocol.TCP, 80), ServicePort("web", Protocol.UDP, 81)),
        external_ips=draw(st.sampled_from([(), (Address("192.0.2.9"), Address("2001:db8::9"))])),
        internal_policy_local=draw(st.booleans()),
        external_policy_local=draw(st.booleans()),
    )
    pieces = [draw(slices(number, is_hinted, is_ready)) for number in range(draw(st.integers(0, 3)))]
    return Cluster(service, tuple(pieces), a_node(zone=draw(st.sampled_from([*ZONES, ""]))))


def reasons_of(cluster: Cluster, family: Family) -> Mapping[str, tuple[EndpointReasons, ...]]:
    view = view_node(NODE, cluster.node, (), Settings(), family)
    found = endpoint_reasons(cluster.service, cluster.slices, view)
    return {name.port: reasons for name, reasons in found.items()}


def used(reasons: tuple[EndpointReasons, ...], reason: Callable[[EndpointReasons], Reason]) -> list[Place]:
    return sorted((each.endpoint.address, each.port) for each in reasons if reason(each).is_used)


def places(backends: tuple[Backend, ...]) -> list[Place]:
    return sorted((backend.address, backend.port) for backend in backends)


@settings(max_examples=300)
@given(cluster=clusters(), family=st.sampled_from(Family))
def test_usable_backends_are_the_endpoints_whose_reason_says_so(cluster: Cluster, family: Family) -> None:
    view = view_node(NODE, cluster.node, (), Settings(), family)
    reasons = reasons_of(cluster, family)
    for plan in plan_service(cluster.service, cluster.slices, view):
        found = reasons[plan.name.port]
        assert places(plan.usable.cluster) == used(found, lambda each: each.cluster)
        assert places(plan.usable.local) == used(found, lambda each: each.local)
        assert places(plan.usable.reachable) == used(found, lambda each: each.reachable)


@settings(max_examples=300)
@given(cluster=clusters(), family=st.sampled_from(Family))
def test_oracle_uses_the_endpoints_whose_reason_says_so(cluster: Cluster, family: Family) -> None:
    store = Store()
    things: list[Object] = [cluster.service, *cluster.slices, cluster.node]
    for thing in things:
        store.apply(Changed(thing))
    here = Here(store, Settings(), NODE, Host(frozenset()), family)
    reasons = reasons_of(cluster, family)
    for port in cluster.service.ports:
        endpoints = endpoints_of(cluster.service, port, here)
        found = reasons[port.name]
        by_cluster = usable_anywhere(endpoints, here) if follows(cluster.service, is_local=False) else []
        by_local = usable_here(endpoints, here) if follows(cluster.service, is_local=True) else []
        assert sorted(by_cluster) == used(found, lambda each: each.cluster)
        assert sorted(by_local) == used(found, lambda each: each.local)


def follows(service: Service, *, is_local: bool) -> bool:
    """Whether some traffic follows this policy: the table of "Service" in the Kubernetes documentation, row by row."""
    match service.internal_policy_local, bool(service.external_ips), service.external_policy_local:
        case False, False, _:
            return not is_local
        case True, False, _:
            return is_local
        case True, True, _:
            return True
        case _, _, external_local:
            return external_local or not is_local


Claim = Callable[[Endpoint, Cluster], bool]

CLAIMS: dict[Reason, Claim] = {
    Reason.READY: lambda each, _: each.ready,
    Reason.HINTED_FOR_NODE: lambda each, _: each.ready and NODE in each.node_hints,
    Reason.HINTED_FOR_ZONE: lambda each, cluster: each.ready and cluster.node.zone in each.zone_hints,
    Reason.TERMINATING_BUT_NEEDED: lambda each, _: not each.ready and each.serving and each.terminating,
    Reason.NOT_READY: lambda each, _: not each.ready and not each.terminating,
    Reason.TERMINATING: lambda each, _: not each.ready and each.terminating and not each.serving,
    Reason.TERMINATING_AND_REPLACEABLE: lambda each, cluster: (
        not each.ready and each.terminating and each.serving and any(other.ready for other in all_of(cluster))
    ),
    Reason.HINTED_FOR_OTHER_NODE: lambda each, cluster: (
        each.ready
        and bool(each.node_hints)
        and NODE not in each.node_hints
        and any(other.ready and NODE in other.node_hints for other in all_of(cluster))
    ),
    Reason.HINTED_FOR_OTHER_ZONE: lambda each, cluster: (
        each.ready
        and bool(each.zone_hints)
        and cluster.node.zone not in each.zone_hints
        and any(other.ready and cluster.node.zone in other.zone_hints for other in all_of(cluster))
    ),
    Reason.NOT_ON_THIS_NODE: lambda each, _: each.node != NODE,
    Reason.POLICY_NOT_FOLLOWED: lambda _, cluster: (
        not all(follows(cluster.service, is_local=is_local) for is_local in (False, True))
    ),
    Reason.DUPLICATE: lambda each, cluster: (
        sum(other.address == each.address for other in all_of(cluster)) > 1
    ),
}
"""What each reason says of an endpoint, asked of the facts themselves."""

ABOUT_SLICES = {Reason.OTHER_FAMILY, Reason.SLICE_OPTED_OUT, Reason.PORT_NOT_LISTED}


def all_of(cluster: Cluster) -> list[Endpoint]:
    return [endpoint for piece in cluster.slices for endpoint in piece.endpoints]


@settings(max_examples=300)
@given(cluster=clusters(), family=st.sampled_from(Family))
def test_each_reason_tells_the_truth(cluster: Cluster, family: Family) -> None:
    pieces = {piece.key: piece for piece in cluster.slices}
    for name, reasons in reasons_of(cluster, family).items():
        for each in reasons:
            for reason in (each.cluster, each.local):
                if reason in ABOUT_SLICES:
                    assert reason is reason_of_slice(pieces[each.slice], name, family)
                else:
                    assert reason_of_slice(pieces[each.slice], name, family) is None
                    assert CLAIMS[reason](each.endpoint, cluster), reason


def reason_of_slice(piece: EndpointSlice, port: str, family: Family) -> Reason | None:
    protocol = {"": Protocol.TCP, "web": Protocol.UDP}[port]
    if piece.family is not family:
        return Reason.OTHER_FAMILY
    if piece.opt_out_label:
        return Reason.SLICE_OPTED_OUT
    if EndpointPort(port, protocol, 8080) not in piece.ports:
        return Reason.PORT_NOT_LISTED
    return None


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_has_a_claim_that_the_facts_can_refute(reason: Reason) -> None:
    assert (reason in CLAIMS) is not (reason in ABOUT_SLICES)


@settings(max_examples=300)
@given(cluster=clusters(), family=st.sampled_from(Family))
def test_each_endpoint_has_a_reason_at_each_service_port(cluster: Cluster, family: Family) -> None:
    for reasons in reasons_of(cluster, family).values():
        assert all_of(cluster) == [each.endpoint for each in reasons]
