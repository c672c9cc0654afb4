"""Slices to backends: ports, duplicates, order."""

from facts import NODE, WEB, a_slice, an_endpoint, targets
from kproxy.model.endpoints import backends_by_port
from kproxy.state.objects import EndpointPort
from kproxy.values import Family, Protocol, ServicePortName


def test_backends_of_several_slices_are_sorted_by_target_as_text() -> None:
    slices = [a_slice(an_endpoint("10.128.1.8")), a_slice(an_endpoint("10.128.1.10"), name="web-b")]
    found = backends_by_port(WEB, slices, NODE, Family.IPV4)
    assert ["10.128.1.10:8080", "10.128.1.8:8080"] == targets(found[ServicePortName(WEB, "", Protocol.TCP)])


def test_backends_keep_each_slices_own_target_port() -> None:
    other = a_slice(an_endpoint("10.128.1.2"), name="web-b", ports=(EndpointPort("", Protocol.TCP, 9090),))
    found = backends_by_port(WEB, [a_slice(an_endpoint("10.128.1.1")), other], NODE, Family.IPV4)
    assert ["10.128.1.1:8080", "10.128.1.2:9090"] == targets(found[ServicePortName(WEB, "", Protocol.TCP)])


def test_ports_of_one_name_and_two_protocols_are_two_service_ports() -> None:
    ports = (EndpointPort("dns", Protocol.TCP, 53), EndpointPort("dns", Protocol.UDP, 53))
    found = backends_by_port(WEB, [a_slice(an_endpoint("10.128.1.1"), ports=ports)], NODE, Family.IPV4)
    assert {
        ServicePortName(WEB, "dns", Protocol.TCP),
        ServicePortName(WEB, "dns", Protocol.UDP),
    } == found.keys()


def test_duplicate_endpoint_counts_once_and_the_local_copy_wins() -> None:
    slices = [a_slice(an_endpoint("10.128.1.1", "")), a_slice(an_endpoint("10.128.1.1", NODE), name="web-b")]
    for order in (slices, slices[::-1]):
        (backend,) = backends_by_port(WEB, order, NODE, Family.IPV4)[ServicePortName(WEB, "", Protocol.TCP)]
        assert backend.is_local


def test_duplicate_endpoint_is_ready_if_one_copy_is() -> None:
    slices = [
        a_slice(an_endpoint("10.128.1.1", ready=False)),
        a_slice(an_endpoint("10.128.1.1"), name="web-b"),
    ]
    (backend,) = backends_by_port(WEB, slices, NODE, Family.IPV4)[ServicePortName(WEB, "", Protocol.TCP)]
    assert backend.ready


def test_duplicate_endpoint_is_local_before_it_is_ready() -> None:
    slices = [
        a_slice(an_endpoint("10.128.1.1", "")),
        a_slice(an_endpoint("10.128.1.1", NODE, ready=False), name="web-b"),
    ]
    (backend,) = backends_by_port(WEB, slices, NODE, Family.IPV4)[ServicePortName(WEB, "", Protocol.TCP)]
    assert (True, False) == (backend.is_local, backend.ready)


def test_duplicate_endpoints_that_differ_in_nothing_that_counts_leave_the_first_slices_copy() -> None:
    slices = [
        a_slice(an_endpoint("10.128.1.1", zone_hints=("zone-a",))),
        a_slice(an_endpoint("10.128.1.1", zone_hints=("zone-b",)), name="web-b"),
    ]
    (backend,) = backends_by_port(WEB, slices, NODE, Family.IPV4)[ServicePortName(WEB, "", Protocol.TCP)]
    assert ("zone-a",) == backend.zone_hints


def test_ipv6_target_is_bracketed() -> None:
    found = backends_by_port(WEB, [a_slice(an_endpoint("fd00::1"))], NODE, Family.IPV6)
    assert ["[fd00::1]:8080"] == targets(found[ServicePortName(WEB, "", Protocol.TCP)])


def test_slices_of_the_other_family_or_opted_out_are_passed_over() -> None:
    slices = [
        a_slice(an_endpoint("fd00::1")),
        a_slice(an_endpoint("10.128.1.1"), name="web-b", opt_out_label="service.kubernetes.io/headless"),
    ]
    assert {} == backends_by_port(WEB, slices, NODE, Family.IPV4)
