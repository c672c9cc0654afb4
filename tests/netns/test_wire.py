"""The packet harness against rules written by hand: it must tell each fate from each other one."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from kproxy import process
from kproxy.kernel.programs.iptables import Variant
from kproxy.model.packet import Fate, Packet, Verdict
from kproxy.values import Address, Family, Protocol
from namespaces import inside
from wire import LOCAL, LOCAL_PODS, OTHER_NODES, OUTSIDE, BrokenConversation, How, Link, Seen, Wire
from wire.headers import Refusal, Segment, Step, decode, encode

pytestmark = pytest.mark.netns

KEPT, MASQUERADED, HAIRPIN, REFUSED, RESET, DROPPED, TO_NODE, SHARED, BY_LINK = range(80, 89)
"""The ports of the Service, one for each thing that a rule can do."""

NODE_PORT, BARE_NODE_PORT, NO_RULE = 30080, 30081, 9999
BACKEND = 8080
DROP, REFUSE, PASS = Fate(Verdict.DROPPED), Fate(Verdict.REJECTED), Fate(Verdict.NOT_OURS)
CHI_SQUARE_AT_1E_6 = 23.9
ETH0, CNI0, FLANNEL = OUTSIDE.name, LOCAL_PODS.name, OTHER_NODES.name


class Site(NamedTuple):
    """The addresses of one family, by their part in a test."""

    service: Address
    client: Address
    pod: Address
    far_pod: Address
    node: Address
    loopback: Address


SITES = {
    Family.IPV4: Site(
        *map(
            Address,
            ("10.96.0.10", "198.51.100.9", "10.128.1.5", "10.128.2.5", "10.199.0.2", "127.0.0.1"),
        )
    ),
    Family.IPV6: Site(
        *map(
            Address,
            (
                "fd00:10:96::10",
                "2001:db8:51::9",
                "fd00:10:128:1::5",
                "fd00:10:128:2::5",
                "fd00:199::2",
                "::1",
            ),
        )
    ),
}
MARK = "-j MARK --set-xmark 0x4000/0x4000"


def to(address: str, port: int = BACKEND) -> str:
    return f"-j DNAT --to-destination {f'[{address}]' if ':' in address else address}:{port}"


def filter_rules(site: Site, protocol: str) -> Iterator[str]:
    for chain in ("FORWARD", "OUTPUT"):
        match = f"-A {chain} -d {site.service} -p {protocol} --dport"
        yield f"{match} {REFUSED} -j REJECT"
        yield f"{match} {DROPPED} -j DROP"
        if protocol == "tcp":
            yield f"{match} {RESET} -j REJECT --reject-with tcp-reset"


def nat_rules(site: Site, protocol: str) -> Iterator[str]:
    def match(port: int, destination: str = site.service) -> str:
        return f"-A SERVICES -d {destination} -p {protocol} --dport {port}"

    yield f"{match(KEPT)} {to(site.pod)}"
    yield f"{match(MASQUERADED)} {MARK}"
    yield f"{match(MASQUERADED)} {to(site.far_pod)}"
    yield f"{match(HAIRPIN)} -s {site.pod} {MARK}"
    yield f"{match(HAIRPIN)} {to(site.pod)}"
    yield f"{match(TO_NODE)} {to(site.node)}"
    yield f"{match(SHARED)} -m statistic --mode random --probability 0.25 {to(site.far_pod)}"
    yield f"{match(SHARED)} {to(site.pod)}"
    yield f"-A PREROUTING -i cni+ -d {site.service} -p {protocol} --dport {BY_LINK} {to(site.pod)}"
    yield f"-A PREROUTING -d {site.service} -p {protocol} --dport {BY_LINK} {to(site.far_pod)}"
    for own in (site.node, site.loopback):
        yield f"{match(NODE_PORT, own)} {MARK}"
        yield f"{match(NODE_PORT, own)} {to(site.pod)}"
        yield f"{match(BARE_NODE_PORT, own)} {to(site.pod)}"


def rules(site: Site) -> str:
    protocols = [str(protocol).lower() for protocol in Protocol]
    return "\n".join(
        [
            "*filter",
            "-A FORWARD -m conntrack --ctstate INVALID -j DROP",  # so conntrack judges the checksums
            *(rule for protocol in protocols for rule in filter_rules(site, protocol)),
            "COMMIT",
            "*nat",
            ":SERVICES - [0:0]",
            "-A PREROUTING -j SERVICES",
            "-A OUTPUT -j SERVICES",
            *(rule for protocol in protocols for rule in nat_rules(site, protocol)),
            "-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully",
            "COMMIT\n",
        ]
    )


@pytest.fixture(scope="module", params=Variant)
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    with Wire() as built:
        with inside(built.namespace):
            process.run([f"iptables-{request.param}-restore"], stdin=rules(SITES[Family.IPV4]))
            process.run([f"ip6tables-{request.param}-restore"], stdin=rules(SITES[Family.IPV6]))
        yield built


@pytest.fixture(params=Family)
def site(request: pytest.FixtureRequest) -> Site:
    return SITES[request.param]


@pytest.fixture(params=Protocol)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return Protocol(request.param)


def one(wire: Wire, packet: Packet) -> Seen:
    (seen,) = wire.send([packet])
    return seen


def sent(destination: Address, *, masqueraded: bool = False) -> Fate:
    return Fate(Verdict.SENT, destination, BACKEND, masqueraded)


def senders(site: Site) -> list[tuple[Address, str]]:
    """Where a packet may come from: outside, a pod, another node's pod, a process."""
    return [(site.client, ETH0), (site.pod, CNI0), (site.far_pod, FLANNEL), (site.node, "")]


def test_redirected_packet_is_seen_at_its_backend_with_its_source(
    wire: Wire, site: Site, protocol: Protocol
) -> None:
    for source, interface in senders(site):
        seen = one(wire, Packet(protocol, source, site.service, KEPT, interface))
        assert (sent(site.pod), CNI0, source) == (seen.fate, seen.interface, seen.source)


def test_masqueraded_packet_is_seen_with_the_nodes_address_also_if_that_was_its_own(
    wire: Wire, site: Site, protocol: Protocol
) -> None:
    for source, interface in senders(site):
        seen = one(wire, Packet(protocol, source, site.service, MASQUERADED, interface))
        expected = (sent(site.far_pod, masqueraded=True), FLANNEL, site.node)
        assert expected == (seen.fate, seen.interface, seen.source)


def test_hairpin_packet_is_masqueraded_and_leaves_by_the_link_it_came_from(
    wire: Wire, site: Site, protocol: Protocol
) -> None:
    seen = one(wire, Packet(protocol, site.pod, site.service, HAIRPIN, CNI0))
    assert (sent(site.pod, masqueraded=True), CNI0, site.node) == (seen.fate, seen.interface, seen.source)
    assert sent(site.pod) == one(wire, Packet(protocol, site.client, site.service, HAIRPIN, ETH0)).fate


def test_refused_sender_hears_it_by_its_own_link(wire: Wire, site: Site, protocol: Protocol) -> None:
    for source, interface in senders(site):
        seen = one(wire, Packet(protocol, source, site.service, REFUSED, interface))
        assert Seen(REFUSE, interface or LOCAL, how=How.PORT_UNREACHABLE) == seen


def test_reset_sender_hears_it_by_its_own_link(wire: Wire, site: Site) -> None:
    for source, interface in senders(site):
        seen = one(wire, Packet(Protocol.TCP, source, site.service, RESET, interface))
        assert Seen(REFUSE, interface or LOCAL, how=How.RESET) == seen


def test_dropped_packet_is_seen_nowhere(wire: Wire, site: Site, protocol: Protocol) -> None:
    for source, interface in senders(site):
        assert Seen(DROP) == one(wire, Packet(protocol, source, site.service, DROPPED, interface))


def test_packet_without_a_rule_goes_on_as_it_came(wire: Wire, site: Site, protocol: Protocol) -> None:
    for source, interface in senders(site):
        for destination, leaves_by in (
            (site.service, ETH0),
            (site.pod, CNI0),
            (site.far_pod, FLANNEL),
            (site.node, LOCAL),
        ):
            seen = one(wire, Packet(protocol, source, destination, NO_RULE, interface))
            assert (PASS, leaves_by) == (seen.fate, seen.interface)


def test_packet_that_claims_the_nodes_address_is_taken_from_a_link(
    wire: Wire, site: Site, protocol: Protocol
) -> None:
    assert sent(site.pod) == one(wire, Packet(protocol, site.node, site.service, KEPT, ETH0)).fate


def test_packet_redirected_to_the_node_is_delivered_there(wire: Wire, site: Site, protocol: Protocol) -> None:
    for source, interface in senders(site):
        seen = one(wire, Packet(protocol, source, site.service, TO_NODE, interface))
        assert (sent(site.node), LOCAL, source) == (seen.fate, seen.interface, seen.source)


def test_process_reaches_a_backend_by_the_nodes_own_addresses(
    wire: Wire, site: Site, protocol: Protocol
) -> None:
    seen = one(wire, Packet(protocol, site.node, site.node, NODE_PORT))
    assert (sent(site.pod, masqueraded=True), site.node) == (seen.fate, seen.source)
    assert PASS == one(wire, Packet(protocol, site.loopback, site.loopback, NO_RULE)).fate


def test_process_reaches_a_backend_by_ipv4_loopback(wire: Wire, protocol: Protocol) -> None:
    site = SITES[Family.IPV4]
    seen = one(wire, Packet(protocol, site.loopback, site.loopback, NODE_PORT))
    assert (sent(site.pod, masqueraded=True), CNI0, site.node) == (seen.fate, seen.interface, seen.source)
    seen = one(wire, Packet(protocol, site.loopback, site.loopback, BARE_NODE_PORT))
    assert (sent(site.pod), CNI0, site.loopback) == (seen.fate, seen.interface, seen.source)


def test_rules_see_the_link_a_packet_came_by(wire: Wire, site: Site, protocol: Protocol) -> None:
    for interface, variant in ((CNI0, site.pod), (ETH0, site.far_pod), (FLANNEL, site.far_pod)):
        assert (
            sent(variant) == one(wire, Packet(protocol, site.client, site.service, BY_LINK, interface)).fate
        )


def test_packets_are_connections_of_their_own_and_fall_as_the_rules_say(
    wire: Wire, site: Site, protocol: Protocol
) -> None:
    for source, interface in ((site.client, ETH0), (site.node, "")):
        packet = Packet(protocol, source, site.service, SHARED, interface)
        counts = Counter(seen.fate for seen in wire.send([packet] * 2000))
        assert {sent(site.far_pod), sent(site.pod)} == counts.keys()
        assert (counts[sent(site.far_pod)] - 500) ** 2 * (1 / 500 + 1 / 1500) < CHI_SQUARE_AT_1E_6


def test_packets_with_kept_ports_stay_with_their_backend_until_forgotten(
    wire: Wire, site: Site, protocol: Protocol
) -> None:
    packets = [Packet(protocol, site.client, site.service, SHARED, ETH0)] * 60
    assert 1 == len({seen.fate for seen in wire.send(packets, keep_ports=True)})
    first_of_each = set()
    for _ in range(200):  # the same one each time: once in 10^25
        wire.forget()
        first_of_each.add(wire.send(packets[:1], keep_ports=True)[0].fate)
    assert {sent(site.far_pod), sent(site.pod)} == first_of_each


def test_every_packet_of_a_great_number_is_accounted_for(wire: Wire, site: Site) -> None:
    expected = {
        KEPT: sent(site.pod),
        MASQUERADED: sent(site.far_pod, masqueraded=True),
        REFUSED: REFUSE,
        TO_NODE: sent(site.node),
        NO_RULE: PASS,
    }
    for source, interface in senders(site):
        packets = [Packet(Protocol.UDP, source, site.service, port, interface) for port in expected] * 500
        assert [*expected.values()] * 500 == [seen.fate for seen in wire.send(packets)]


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
def test_conversation_passes_both_ways_whatever_is_rewritten(
    wire: Wire, site: Site, protocol: Protocol
) -> None:
    for source, interface in senders(site):
        packet = Packet(protocol, source, site.service, MASQUERADED, interface)
        assert sent(site.far_pod, masqueraded=True) == wire.connect(packet).fate
    for source, interface in ((site.client, ETH0), (site.node, "")):
        assert sent(site.pod) == wire.connect(Packet(protocol, source, site.service, KEPT, interface)).fate
    hairpin = Packet(protocol, site.pod, site.service, HAIRPIN, CNI0)
    assert sent(site.pod, masqueraded=True) == wire.connect(hairpin).fate
    assert PASS == wire.connect(Packet(protocol, site.client, site.pod, NO_RULE, ETH0)).fate


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
def test_conversation_over_ipv4_loopback_passes_if_it_is_masqueraded(wire: Wire, protocol: Protocol) -> None:
    site = SITES[Family.IPV4]
    packet = Packet(protocol, site.loopback, site.loopback, NODE_PORT)
    assert sent(site.pod, masqueraded=True) == wire.connect(packet).fate


@pytest.mark.parametrize(
    ("port", "said"), [(REFUSED, "was refused"), (DROPPED, "was lost"), (TO_NODE, "delivered to the node")]
)
def test_conversation_that_cannot_begin_is_broken(wire: Wire, site: Site, port: int, said: str) -> None:
    with pytest.raises(BrokenConversation, match=said):
        wire.connect(Packet(Protocol.TCP, site.client, site.service, port, ETH0))


def test_conversation_in_which_the_backend_would_answer_itself_is_broken(wire: Wire) -> None:
    site = SITES[Family.IPV4]
    for packet in (
        Packet(Protocol.UDP, site.pod, site.service, KEPT, CNI0),
        Packet(Protocol.UDP, site.loopback, site.loopback, BARE_NODE_PORT),
    ):
        with pytest.raises(BrokenConversation, match="would answer itself"):
            wire.connect(packet)


@pytest.mark.parametrize(
    ("table", "rule", "said"),
    [
        ("filter", "-A FORWARD -m conntrack --ctdir REPLY -j DROP", "the answer .* was lost"),
        ("filter", "-A FORWARD -m conntrack --ctdir REPLY -j REJECT", "the answer .* was refused"),
        ("raw", "-A PREROUTING -i cni0 -j CT --notrack", "the answer .* came to .*10.128.1.5"),
        (
            "filter",
            "-A FORWARD -m conntrack --ctstate ESTABLISHED --ctdir ORIGINAL -j DROP",
            "the next .* lost",
        ),
    ],
)
def test_conversation_that_a_rule_interrupts_is_broken(table: str, rule: str, said: str) -> None:
    site = SITES[Family.IPV4]
    with Wire() as wire:
        with inside(wire.namespace):
            process.run(["iptables-restore"], stdin=f"{rules(site)}*{table}\n{rule}\nCOMMIT\n")
        with pytest.raises(BrokenConversation, match=said):
            wire.connect(Packet(Protocol.UDP, site.client, site.service, KEPT, ETH0))


def test_open_conversation_outlives_the_rules_until_conntrack_forgets_it() -> None:
    site = SITES[Family.IPV4]
    with Wire() as wire, inside(wire.namespace):
        process.run(["iptables-restore"], stdin=rules(site))
        kept = [wire.open(Packet(Protocol.TCP, site.client, site.service, KEPT, ETH0)) for _ in range(2)]
        process.run(["iptables", "-t", "nat", "-F"])
        wire.forget()
        for conversation in kept * 2:
            wire.go_on(conversation)
        wire.forget(open_ones=True)
        with pytest.raises(BrokenConversation, match=r"data .* came to"):
            wire.go_on(kept[0])


def test_links_have_the_names_networks_and_addresses_asked_for() -> None:
    links = (
        Link("ens3", ("0.0.0.0/0",), ("192.0.2.7/24", "192.0.2.8/32")),
        Link("cali1", ("10.128.1.1/32",)),
        Link("cali2", ("10.128.1.2/32",)),
    )
    with Wire(links) as wire:
        assert {"192.0.2.7", "192.0.2.8"} == wire.host.addresses
        for number in "12":
            packet = Packet(Protocol.UDP, Address("198.51.100.9"), Address(f"10.128.1.{number}"), 53, "ens3")
            assert (PASS, f"cali{number}") == one(wire, packet)[:2]


def test_namespace_is_removed_when_the_test_fails() -> None:
    name = ""

    def fail() -> None:
        nonlocal name
        with Wire() as wire:
            name = wire.namespace
            assert Path("/run/netns", name).exists()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not Path("/run/netns", name).exists()


def test_namespace_of_a_killed_process_is_removed_by_the_next_wire() -> None:
    program = (
        "import time; from wire import Wire\nwith Wire() as w: print(w.namespace, flush=True); time.sleep(60)"
    )
    tests = Path(__file__).parent.parent
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tests)
    with child:
        assert child.stdout
        left = Path("/run/netns", child.stdout.readline().strip())
        assert left.is_mount() or left.is_file()
        child.send_signal(signal.SIGKILL)
    with Wire() as wire:
        assert not left.exists()
        assert Path("/run/netns", wire.namespace).exists()


@pytest.mark.parametrize("step", Step)
def test_segment_that_is_encoded_is_decoded_again(site: Site, step: Step) -> None:
    for protocol in (Protocol.TCP, Protocol.UDP):
        segment = Segment(protocol, site.client, 40000, site.service, 80, 0xFFFFFFFF, step)
        assert segment == decode(encode(segment))


def test_other_traffic_is_no_part_of_a_conversation(site: Site) -> None:
    foreign = bytearray(encode(Segment(Protocol.UDP, site.client, 40000, site.service, 80, 1)))
    foreign[-13] ^= 1  # in the payload's mark
    assert decode(bytes(foreign)) is None
    reset = bytearray(encode(Segment(Protocol.TCP, site.client, 40000, site.service, 80, 7, Step.ANSWER)))
    reset[-7] = 0x14
    assert Refusal(7, How.RESET) == decode(bytes(reset))
