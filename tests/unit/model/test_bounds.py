"""No Service asks more of a node than a named bound, and what it asks is told without making it."""

import pytest

from facts import a_service, a_slice, a_view, an_endpoint
from kproxy.errors import InvalidField
from kproxy.model import bounds
from kproxy.model.plan import plan_service
from kproxy.model.udp import UdpFrontends
from kproxy.state.events import Changed
from kproxy.state.objects import EndpointPort, Service, ServicePort
from kproxy.state.store import Store
from kproxy.values import Address, Family, Network, Protocol


def ports(count: int, node_ports: bool = False) -> tuple[ServicePort, ...]:
    return tuple(
        ServicePort(f"p{number}", Protocol.UDP, 1 + number, 30_000 + number if node_ports else 0)
        for number in range(count)
    )


def addresses(count: int) -> tuple[Address, ...]:
    return tuple(Address(f"192.0.{number // 250}.{number % 250}") for number in range(count))


def refusal(service: Service, *slices: object) -> str:
    try:
        plan_service(service, slices, a_view())  # type: ignore[arg-type] # slices
    except InvalidField as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize(
    ("service", "part_of_reason"),
    [
        (a_service(ports=ports(1_000), external_ips=addresses(9)), ""),
        (
            a_service(ports=ports(1_000), external_ips=addresses(10)),
            "spec.ports: 1000 ports on 11 IPv4 addresses are 11000 places to answer at; allowed are 10000",
        ),
        (a_service(ports=ports(1_000, node_ports=True), external_ips=addresses(8)), ""),
        (a_service(ports=ports(1_000, node_ports=True), external_ips=addresses(9)), "11000 places"),
        (a_service(ports=ports(1_000), load_balancer_vips=addresses(10)), "11000 places"),
        (a_service(ports=ports(3_000), external_ips=addresses(3_000)), "9003000 places"),
        (a_service(ports=ports(1), external_ips=addresses(9_999)), ""),
    ],
)
def test_places_to_answer_at_are_bounded(service: Service, part_of_reason: str) -> None:
    told = refusal(service)
    assert bool(part_of_reason) is bool(told)
    assert part_of_reason in told


@pytest.mark.parametrize(("endpoints", "is_refused"), [(100, False), (101, True)])
def test_endpoints_of_all_ports_are_bounded(endpoints: int, is_refused: bool) -> None:
    each = (EndpointPort(port.name, Protocol.UDP, 53) for port in ports(1_000))
    others = (EndpointPort("unused", Protocol.TCP, 80),)
    piece = a_slice(
        *(an_endpoint(f"10.128.1.{number}") for number in range(endpoints)), ports=(*each, *others)
    )
    assert is_refused is (
        "endpoints in all; allowed are 100000" in refusal(a_service(ports=ports(1_000)), piece)
    )


@pytest.mark.parametrize(
    ("external", "part_of_reason"),
    [
        (299, ""),
        (300, "spec.externalIPs: 301 IPv4 addresses for 1000 endpoints are 301000 ways; allowed are 300000"),
    ],
)
def test_addresses_for_each_endpoint_are_bounded(external: int, part_of_reason: str) -> None:
    many = (an_endpoint(f"10.128.{number // 250}.{number % 250}") for number in range(1_000))
    told = refusal(a_service(external_ips=addresses(external)), a_slice(*many))
    assert bool(part_of_reason) is bool(told)
    assert part_of_reason in told


@pytest.mark.parametrize(
    ("ranges", "vips", "part_of_reason"),
    [
        (100, 1, ""),
        (101, 0, ""),
        (
            101,
            1,
            "spec.loadBalancerSourceRanges: the IPv4 ranges for 1000 ports are 101000 rules; allowed are 100000",
        ),
    ],
)
def test_source_ranges_of_all_ports_are_bounded(ranges: int, vips: int, part_of_reason: str) -> None:
    service = a_service(
        ports=ports(1_000),
        load_balancer_vips=addresses(vips),
        source_ranges=(*(Network(f"10.{number}.0.0/16") for number in range(ranges)), Network("fd00::/8")),
    )
    told = refusal(service)
    assert bool(part_of_reason) is bool(told)
    assert part_of_reason in told


def test_one_port_may_have_more_endpoints_than_any_service_has() -> None:
    many = (an_endpoint(f"10.{a}.{b}.{c}") for a in range(2) for b in range(250) for c in range(100))
    assert "" == refusal(a_service(), a_slice(*many))


def test_udp_flows_of_a_service_beyond_the_bound_are_not_looked_for() -> None:
    store = Store()
    store.apply(Changed(a_service("huge", ports=ports(3_000), external_ips=addresses(3_000))))
    store.apply(Changed(a_service("dns", ports=ports(1))))
    changes = UdpFrontends(Family.IPV4).update(store, store.services)
    assert 1 == len(changes)


def test_bound_is_of_each_family_apart() -> None:
    service = a_service(ports=ports(1_000), external_ips=addresses(10))
    assert not bounds.is_bounded(service, (), Family.IPV4)
    assert bounds.is_bounded(service, (), Family.IPV6)
