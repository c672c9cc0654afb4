"""The answers to load balancers about the endpoints on this node."""

from typing import Any

import pytest

from facts import NODE, WEB, a_service, a_slice, an_endpoint
from kproxy.model.bounds import MOST_FRONTENDS
from kproxy.model.health import health_check
from kproxy.state.objects import EndpointPort, EndpointSlice, ServicePort
from kproxy.values import Address, Family, Protocol

DUAL_STACK = (Address("10.96.0.10"), Address("fd00:10:96::10"))


def counted(*slices: EndpointSlice, **fields: Any) -> dict[Family, int]:
    found = health_check(a_service(health_check_node_port=30999, **fields), slices, NODE)
    assert found
    assert (WEB, 30999) == (found.service, found.port)
    return dict(found.local_endpoints)


def test_health_check_counts_local_ready_addresses_once_each() -> None:
    ports = (EndpointPort("", Protocol.TCP, 8080), EndpointPort("more", Protocol.TCP, 9090))
    assert {Family.IPV4: 1} == counted(
        a_slice(an_endpoint("10.128.1.1"), an_endpoint("10.128.1.2", ready=False), ports=ports),
        a_slice(an_endpoint("10.128.1.1"), an_endpoint("10.128.2.1", "node-2"), name="web-b"),
        a_slice(an_endpoint("fd00:10:128:1::1"), name="web-c"),
    )


def test_health_check_counts_each_family_of_the_service_on_its_own() -> None:
    found = health_check(
        a_service(health_check_node_port=30999, cluster_ips=DUAL_STACK),
        [
            a_slice(an_endpoint("fd00:10:128:1::1")),
            a_slice(an_endpoint("10.128.1.1", "node-2"), name="web-b"),
        ],
        NODE,
    )
    assert found
    assert [0, 1] == [found.count_for(family) for family in (Family.IPV4, Family.IPV6)]


def test_who_asks_by_a_family_that_the_service_has_not_is_told_of_the_other() -> None:
    found = health_check(a_service(health_check_node_port=30999), [a_slice(an_endpoint("10.128.1.1"))], NODE)
    assert found
    assert 1 == found.count_for(Family.IPV6)


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        pytest.param(("gone here", "ready elsewhere"), 0, id="a pod elsewhere got the address"),
        pytest.param(("ready elsewhere", "gone here"), 0, id="a pod elsewhere got the address, listed first"),
        pytest.param(("gone elsewhere", "ready here"), 1, id="a pod here got the address"),
        pytest.param(("ready here", "gone elsewhere"), 1, id="a pod here got the address, listed first"),
    ],
)
def test_health_check_counts_an_address_listed_twice_as_the_copy_that_decides(
    copies: tuple[str, ...], expected: int
) -> None:
    endpoints = {
        "gone here": an_endpoint("10.128.1.1", ready=False, serving=False, terminating=True),
        "gone elsewhere": an_endpoint("10.128.1.1", "node-2", ready=False, serving=False, terminating=True),
        "ready here": an_endpoint("10.128.1.1"),
        "ready elsewhere": an_endpoint("10.128.1.1", "node-2"),
    }
    first, second = (endpoints[copy] for copy in copies)
    assert {Family.IPV4: expected} == counted(a_slice(first, second))
    assert {Family.IPV4: expected} == counted(a_slice(first), a_slice(second, name="web-b"))


def test_health_check_counts_only_slices_that_are_proxied() -> None:
    headless = a_slice(an_endpoint("10.128.1.1"), opt_out_label="service.kubernetes.io/headless")
    without_ports = a_slice(an_endpoint("10.128.1.2"), name="web-b", ports=())
    assert {Family.IPV4: 0} == counted(headless, without_ports)


def test_no_endpoint_counts_for_a_service_that_asks_for_too_many_rules() -> None:
    ports = tuple(ServicePort(f"p{at}", Protocol.TCP, at + 1) for at in range(MOST_FRONTENDS + 1))
    assert {Family.IPV4: 0} == counted(a_slice(an_endpoint("10.128.1.1")), ports=ports)


def test_service_that_comes_to_ask_for_too_many_rules_keeps_the_count_of_those_that_it_has() -> None:
    slices = [a_slice(an_endpoint("10.128.1.1"))]
    known = health_check(a_service(health_check_node_port=30999), slices, NODE)
    ports = tuple(ServicePort(f"p{at}", Protocol.TCP, at + 1) for at in range(MOST_FRONTENDS + 1))
    found = health_check(a_service(health_check_node_port=31000, ports=ports), slices, NODE, known)
    assert found
    assert (31000, {Family.IPV4: 1}) == (found.port, found.local_endpoints)


def test_service_without_a_health_check_node_port_has_no_health_check() -> None:
    assert health_check(a_service(), [a_slice(an_endpoint("10.128.1.1"))], NODE) is None


def test_service_of_another_proxy_has_no_health_check_here() -> None:
    other = a_service(health_check_node_port=30999, opt_out_label="service.kubernetes.io/service-proxy-name")
    assert health_check(other, [a_slice(an_endpoint("10.128.1.1"))], NODE) is None
