"""What nftables mode decides otherwise than iptables mode, as kube-proxy's two modes differ on purpose."""

from dataclasses import replace
from fractions import Fraction

import pytest

from facts import CLUSTER_CIDRS, NODE, a_node, a_service, a_slice, an_endpoint
from kproxy.model.packet import Fate, Fates, Host, Packet, Verdict
from kproxy.model.settings import Settings
from kproxy.oracle.decide import decide
from kproxy.state.events import Changed
from kproxy.state.objects import EndpointPort, Object, Service, ServiceCIDR, ServicePort, ServiceType
from kproxy.state.store import Store
from kproxy.values import Address, NamespacedName, Network, Protocol

HOST = Host(frozenset({Address("10.199.0.2"), Address("10.199.0.3")}))
IPTABLES = Settings(cluster_cidrs=CLUSTER_CIDRS)
NFTABLES = replace(IPTABLES, is_nftables=True, localhost_node_ports=False, node_port_primary=True)
CLUSTER_IP, EXTERNAL_IP, FREE_IP = "10.96.0.10", "192.0.2.9", "10.96.7.7"
SERVICE_NETWORK = ServiceCIDR(key=NamespacedName("", "kubernetes"), networks=(Network("10.96.0.0/16"),))


def a_packet(
    destination: str, port: int = 80, source: str = "10.128.1.77", interface: str = "cni0"
) -> Packet:
    return Packet(Protocol.TCP, Address(source), Address(destination), port, interface)


def from_the_node(destination: str, port: int = 80) -> Packet:
    return a_packet(destination, port, "10.199.0.2", "")


def fates(settings: Settings, packet: Packet, *objects: Object) -> Fates:
    store = Store()
    for thing in (a_node(), SERVICE_NETWORK, *objects):
        store.apply(Changed(thing))
    return decide(store, settings, NODE, HOST, packet)


def in_both_modes(packet: Packet, *objects: Object) -> list[Verdict]:
    """The one verdict in iptables mode, then that in nftables mode."""
    (by_iptables,), (by_nftables,) = (
        {fate.verdict for fate in fates(settings, packet, *objects)} for settings in (IPTABLES, NFTABLES)
    )
    return [by_iptables, by_nftables]


def a_node_port() -> Service:
    ports = (ServicePort("", Protocol.TCP, 80, 30080),)
    return a_service(ports=ports, type=ServiceType.NODE_PORT)


SERVED = a_slice(an_endpoint("10.128.1.5"), an_endpoint("10.128.2.6", "node-2"))


def test_another_port_of_a_cluster_ip_is_refused() -> None:
    assert [Verdict.NOT_OURS, Verdict.REJECTED] == in_both_modes(
        a_packet(CLUSTER_IP, 81), a_service(), SERVED
    )


def test_address_that_no_service_holds_is_dropped() -> None:
    assert [Verdict.NOT_OURS, Verdict.DROPPED] == in_both_modes(a_packet(FREE_IP), a_service(), SERVED)


def test_address_outside_the_service_networks_is_let_go() -> None:
    assert [Verdict.NOT_OURS, Verdict.NOT_OURS] == in_both_modes(a_packet("10.97.0.1"), a_service(), SERVED)


def test_node_port_does_not_answer_on_localhost() -> None:
    packet = Packet(Protocol.TCP, Address("127.0.0.1"), Address("127.0.0.1"), 30080)
    assert [Verdict.SENT, Verdict.NOT_OURS] == in_both_modes(packet, a_node_port(), SERVED)


def test_node_is_refused_at_an_external_address_without_endpoints() -> None:
    service = a_service(external_ips=(Address(EXTERNAL_IP),))
    assert [Verdict.NOT_OURS, Verdict.REJECTED] == in_both_modes(from_the_node(EXTERNAL_IP), service)


def test_node_port_without_endpoints_is_refused_only_where_it_would_be_served() -> None:
    packet = a_packet("10.199.0.3", 30080)
    assert [Verdict.REJECTED, Verdict.NOT_OURS] == in_both_modes(packet, a_node_port())
    assert [Verdict.REJECTED] * 2 == in_both_modes(a_packet("10.199.0.2", 30080), a_node_port())


@pytest.mark.parametrize(
    ("source", "masqueraded"), [("10.128.1.5", True), ("10.128.2.6", False)], ids=["here", "elsewhere"]
)
def test_hairpin_needs_only_the_endpoints_of_this_node(source: str, *, masqueraded: bool) -> None:
    packet = a_packet(CLUSTER_IP, source=source)
    itself = {
        settings.is_nftables: Fate(Verdict.SENT, Address(source), 8080, masqueraded=True)
        in fates(settings, packet, a_service(), SERVED)
        for settings in (IPTABLES, NFTABLES)
    }
    assert {False: True, True: masqueraded} == itself


@pytest.mark.parametrize(
    ("port", "masqueraded"), [(8080, True), (9090, False)], ids=["same port", "another port"]
)
def test_hairpin_needs_an_endpoint_of_this_node_by_any_service(port: int, *, masqueraded: bool) -> None:
    address = Address("10.128.2.6")
    other = a_service("other", cluster_ips=(Address("10.96.0.9"),))
    here = a_slice(
        an_endpoint(address, "node-1"),
        name="other-a",
        service="other",
        ports=(EndpointPort("", Protocol.TCP, port),),
    )
    (fate,) = [
        each
        for each in fates(NFTABLES, a_packet(CLUSTER_IP, source=address), a_service(), other, SERVED, here)
        if each.destination == address
    ]
    assert masqueraded is fate.masqueraded


def test_address_that_two_services_claim_belongs_rather_to_one_that_serves_only_pods_than_to_none() -> None:
    shared = (Address(EXTERNAL_IP),)
    empty = a_service("a", cluster_ips=(Address("10.96.0.1"),), external_ips=shared)
    elsewhere = a_service(
        "b", cluster_ips=(Address("10.96.0.2"),), external_policy_local=True, external_ips=shared
    )
    piece = a_slice(an_endpoint("10.128.2.6", "node-2"), name="b-a", service="b")
    (fate,) = fates(NFTABLES, a_packet(EXTERNAL_IP), empty, elsewhere, piece)
    assert Verdict.SENT is fate.verdict


def test_address_that_two_services_claim_belongs_to_the_one_that_serves_everyone() -> None:
    shared = (Address(EXTERNAL_IP),)
    local = a_service(
        "a", cluster_ips=(Address("10.96.0.1"),), external_policy_local=True, external_ips=shared
    )
    plain = a_service("b", cluster_ips=(Address("10.96.0.2"),), external_ips=shared)
    slices = (
        a_slice(an_endpoint("10.128.2.6", "node-2"), name="a-1", service="a"),
        a_slice(an_endpoint("10.128.2.7", "node-2"), name="b-1", service="b"),
    )
    found = fates(NFTABLES, a_packet(EXTERNAL_IP), local, plain, *slices)
    assert {Fate(Verdict.SENT, Address("10.128.2.7"), 8080, masqueraded=True): Fraction(1)} == found


OUTSIDER, ADMITTED = "198.51.100.9", "203.0.113.9"


@pytest.mark.parametrize("slices", [(), (SERVED,)])
@pytest.mark.parametrize("external_ips", [(), (Address(EXTERNAL_IP),)])
def test_source_ranges_guard_the_address_of_a_load_balancer_whatever_else_it_is(
    slices: tuple[Object, ...], external_ips: tuple[Address, ...]
) -> None:
    service = a_service(
        type=ServiceType.LOAD_BALANCER,
        load_balancer_vips=(Address(EXTERNAL_IP),),
        external_ips=external_ips,
        source_ranges=(Network("203.0.113.0/24"),),
    )
    served = Verdict.SENT if slices else Verdict.REJECTED
    kept_out, let_in = (
        in_both_modes(a_packet(EXTERNAL_IP, source=source, interface="eth0"), service, *slices)
        for source in (OUTSIDER, ADMITTED)
    )
    assert [served, served] == let_in
    assert [Verdict.DROPPED if slices and not external_ips else served, Verdict.DROPPED] == kept_out
