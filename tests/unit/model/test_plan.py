"""Traffic policies: which chains' worth of backends a service port uses, and what refuses."""

import pytest

from facts import NODE, a_plan, a_service, a_slice, a_view, an_endpoint, targets
from kproxy.model.plan import Unserved, plan_service
from kproxy.state.objects import Service, ServicePort, ServiceType
from kproxy.values import Address, Family, Network, Protocol

HERE, THERE = "10.128.1.5", "10.128.2.6"
LOCAL, REMOTE = an_endpoint(HERE), an_endpoint(THERE, "node-2")
NODE_PORT = (ServicePort("", Protocol.TCP, 80, 30080),)
VIP = (Address("192.0.2.10"),)


@pytest.mark.parametrize(
    ("service", "proxied"),
    [
        pytest.param(a_service(), True, id="cluster ip"),
        pytest.param(a_service(cluster_ips=()), False, id="headless"),
        pytest.param(a_service(type=ServiceType.EXTERNAL_NAME), False, id="external name"),
        pytest.param(
            a_service(opt_out_label="service.kubernetes.io/service-proxy-name"), False, id="other proxy"
        ),
        pytest.param(a_service(cluster_ips=(Address("fd00:10:96::10"),)), False, id="other family"),
    ],
)
def test_service_is_planned_only_if_it_asks_for_us(service: Service, proxied: bool) -> None:
    assert proxied == bool(plan_service(service, [a_slice(LOCAL)], a_view()))


def test_local_external_policy_keeps_all_backends_for_the_short_circuit() -> None:
    plan = a_plan(
        a_service(ports=NODE_PORT, internal_policy_local=True, external_policy_local=True), LOCAL, REMOTE
    )
    assert [f"{HERE}:8080", f"{THERE}:8080"] == targets(plan.usable.cluster)


def test_local_external_policy_of_a_service_without_external_addresses_uses_no_local_chain() -> None:
    plan = a_plan(a_service(external_policy_local=True), LOCAL, REMOTE)
    assert () == plan.usable.local
    assert [f"{HERE}:8080", f"{THERE}:8080"] == targets(plan.usable.reachable)


def test_external_ips_that_are_switched_off_have_no_rules_and_need_no_local_endpoints() -> None:
    service = a_service(external_ips=(Address("192.0.2.9"),), external_policy_local=True)
    served, switched_off = (
        a_plan(service, LOCAL, REMOTE, view=a_view(external_ips=allowed)) for allowed in (True, False)
    )
    assert (("192.0.2.9",), True) == (served.external_ips, served.is_externally_accessible)
    assert ((), False) == (switched_off.external_ips, switched_off.is_externally_accessible)
    assert () == switched_off.usable.local


def test_local_internal_policy_alone_has_no_use_for_remote_backends() -> None:
    plan = a_plan(a_service(internal_policy_local=True), LOCAL, REMOTE)
    assert [f"{HERE}:8080"] == targets(plan.usable.reachable)


@pytest.mark.parametrize(
    ("service", "endpoints", "internal", "external"),
    [
        pytest.param(a_service(), [], Unserved.NO_ENDPOINTS, Unserved.NO_ENDPOINTS, id="none at all"),
        pytest.param(a_service(), [REMOTE], None, None, id="cluster policy, remote"),
        pytest.param(
            a_service(internal_policy_local=True),
            [REMOTE],
            Unserved.NO_LOCAL_ENDPOINTS,
            None,
            id="internal local, remote only",
        ),
        pytest.param(
            a_service(ports=NODE_PORT, external_policy_local=True),
            [REMOTE],
            None,
            Unserved.NO_LOCAL_ENDPOINTS,
            id="external local, remote only",
        ),
    ],
)
def test_traffic_is_refused_without_endpoints_and_dropped_without_local_ones(
    service: Service, endpoints: list[object], internal: Unserved | None, external: Unserved | None
) -> None:
    plan = a_plan(service, *endpoints)  # type: ignore[arg-type] # the table mixes empty and filled lists
    assert (internal, external) == (plan.internal_unserved, plan.external_unserved)
    assert Unserved.NO_ENDPOINTS.is_refused
    assert not Unserved.NO_LOCAL_ENDPOINTS.is_refused


@pytest.mark.parametrize(
    ("ranges", "kept", "node_may"),
    [
        pytest.param((), (), False, id="none"),
        pytest.param(("198.51.100.0/24",), ("198.51.100.0/24",), False, id="outside only"),
        pytest.param(("10.199.0.0/24",), ("10.199.0.0/24",), True, id="the node's own network"),
        pytest.param(("198.51.100.0/24", "0.0.0.0/0"), (), False, id="the whole space restricts nothing"),
        pytest.param(("fd00::/8",), (), False, id="other family"),
    ],
)
def test_source_ranges_guard_vips(ranges: tuple[str, ...], kept: tuple[str, ...], node_may: bool) -> None:
    service = a_service(load_balancer_vips=VIP, source_ranges=tuple(map(Network, ranges)))
    plan = a_plan(service, LOCAL)
    assert kept == plan.source_ranges
    assert node_may == plan.allow_node_to_vip
    assert bool(kept) == plan.is_firewalled


def test_source_ranges_without_a_vip_guard_nothing() -> None:
    plan = a_plan(a_service(ports=NODE_PORT, source_ranges=(Network("198.51.100.0/24"),)), LOCAL)
    assert not plan.is_firewalled


def test_dual_stack_service_has_a_plan_in_each_family_with_its_own_addresses() -> None:
    service = a_service(
        cluster_ips=(Address("10.96.0.10"), Address("fd00:10:96::10")),
        external_ips=(Address("203.0.113.5"), Address("2001:db8::5")),
    )
    (four,) = plan_service(service, [a_slice(LOCAL)], a_view(Family.IPV4))
    (six,) = plan_service(service, [a_slice(LOCAL)], a_view(Family.IPV6))
    assert ("10.96.0.10", ("203.0.113.5",)) == (four.cluster_ip, four.external_ips)
    assert ("fd00:10:96::10", ("2001:db8::5",)) == (six.cluster_ip, six.external_ips)
    assert Unserved.NO_ENDPOINTS is six.internal_unserved


def test_every_port_has_its_own_plan() -> None:
    ports = (ServicePort("http", Protocol.TCP, 80), ServicePort("dns", Protocol.UDP, 53))
    plans = plan_service(a_service(ports=ports), [], a_view())
    assert [("http", "TCP", 80), ("dns", "UDP", 53)] == [
        (p.name.port, p.name.protocol, p.port) for p in plans
    ]
    assert NODE == a_view().name
