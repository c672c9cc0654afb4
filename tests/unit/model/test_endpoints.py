"""Slices to backends: ports, duplicates, order."""

import pytest

from facts import NODE, WEB, a_slice, an_endpoint, targets
from kproxy.model.endpoints import backends_by_port
from kproxy.state.objects import Endpoint, EndpointPort
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


READY = an_endpoint("10.128.1.1", "node-2")
NOT_READY = an_endpoint("10.128.1.1", "node-3", ready=False, serving=False)
LEAVING = an_endpoint("10.128.1.1", NODE, ready=False, terminating=True)
GONE = an_endpoint("10.128.1.1", NODE, ready=False, serving=False, terminating=True)


@pytest.mark.parametrize("is_spread", [False, True], ids=["in one slice", "one a slice"])
@pytest.mark.parametrize(
    ("copies", "decides"),
    [
        pytest.param([GONE, READY], READY, id="a pod got the address of a dead one of this node"),
        pytest.param([READY, GONE], READY, id="the same, listed the other way round"),
        pytest.param([NOT_READY, LEAVING], NOT_READY, id="a pod that starts counts before one that still serves"),
        pytest.param([GONE, READY, LEAVING, NOT_READY], NOT_READY, id="of those that run, the last"),
        pytest.param([NOT_READY, GONE, READY], READY, id="of those that run, the last, if it is ready"),
        pytest.param([LEAVING, GONE], LEAVING, id="of those that end, the first"),
        pytest.param([GONE, LEAVING], GONE, id="of those that end, the first, if it does not serve"),
    ],
)  # fmt: skip
def test_address_listed_several_times_counts_once_as_the_copy_that_decides(
    copies: list[Endpoint], decides: Endpoint, is_spread: bool
) -> None:
    spread = [a_slice(each, name=f"web-{at}") for at, each in enumerate(copies)]
    slices = spread if is_spread else [a_slice(*copies)]
    (backend,) = backends_by_port(WEB, slices, NODE, Family.IPV4)[ServicePortName(WEB, "", Protocol.TCP)]
    assert (decides.ready, decides.serving, decides.terminating, decides.node == NODE) == (
        backend.ready,
        backend.serving,
        backend.terminating,
        backend.is_local,
    )


def test_address_listed_several_times_at_different_ports_is_several_backends() -> None:
    ports = (EndpointPort("", Protocol.TCP, 9090),)
    slices = [a_slice(READY), a_slice(GONE, name="web-b", ports=ports)]
    found = backends_by_port(WEB, slices, NODE, Family.IPV4)[ServicePortName(WEB, "", Protocol.TCP)]
    assert [("10.128.1.1:8080", True), ("10.128.1.1:9090", False)] == [
        (each.target, each.ready) for each in found
    ]


def test_ipv6_target_is_bracketed() -> None:
    found = backends_by_port(WEB, [a_slice(an_endpoint("fd00::1"))], NODE, Family.IPV6)
    assert ["[fd00::1]:8080"] == targets(found[ServicePortName(WEB, "", Protocol.TCP)])


def test_slices_of_the_other_family_or_opted_out_are_passed_over() -> None:
    slices = [
        a_slice(an_endpoint("fd00::1")),
        a_slice(an_endpoint("10.128.1.1"), name="web-b", opt_out_label="service.kubernetes.io/headless"),
    ]
    assert {} == backends_by_port(WEB, slices, NODE, Family.IPV4)
