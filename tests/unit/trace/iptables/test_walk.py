"""Small rulesets, as iptables-save prints them, and what they do to a packet."""

from fractions import Fraction

import pytest

from kproxy.errors import InputError
from kproxy.model.packet import Fate, Host, Packet, Verdict
from kproxy.trace.fates import NotUnderstood
from kproxy.trace.iptables.dump import parse_tables
from kproxy.trace.iptables.walk import Walker
from kproxy.values import Address, Protocol

HOST = Host(frozenset({Address("192.0.2.1")}))
CLIENT, SERVICE, POD = Address("198.51.100.9"), Address("10.96.0.10"), Address("10.128.1.1")
INCOMING = Packet(Protocol.TCP, CLIENT, SERVICE, 80, "eth0")
NOT_OURS = Fate(Verdict.NOT_OURS)
DROPPED, REJECTED = Fate(Verdict.DROPPED), Fate(Verdict.REJECTED)
REDIRECT = f"-j DNAT --to-destination {POD}:8080"


def fates(
    *lines: str, packet: Packet = INCOMING, remembered: frozenset[str] = frozenset()
) -> dict[Fate, Fraction]:
    """`lines` in the form `TABLE -A CHAIN ...` or `TABLE :CHAIN POLICY`."""
    tables: dict[str, list[str]] = {}
    for line in lines:
        table, _, rule = line.partition(" ")
        tables.setdefault(table, []).append(rule)
    text = "".join("\n".join((f"*{table}", *rules, "COMMIT\n")) for table, rules in tables.items())
    return Walker(parse_tables(text), HOST).fates(packet, remembered)


def only(fate: Fate) -> dict[Fate, Fraction]:
    return {fate: Fraction(1)}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        (f"-d {SERVICE}/32", True),
        ("-d 10.96.0.11/32", False),
        (f"! -d {SERVICE}/32", False),
        ("-d 10.96.0.0/16", True),
        ("-s 198.51.100.0/24", True),
        ("! -s 198.51.100.0/24", False),
        ("-i eth0", True),
        ("-i eth+", True),
        ("-i cni+", False),
        ("! -i eth0", False),
        ("-p tcp -m tcp --dport 80", True),
        ("-p tcp -m tcp --dport 81", False),
        ("-p tcp -m tcp ! --dport 80", False),
        ("-p tcp -m tcp --dport 79:81", True),
        ("-p udp -m udp --dport 80", False),
        ("-p tcp -m multiport --dports 22,80", True),
        ("-m conntrack --ctstate NEW", True),
        ("-m conntrack --ctstate RELATED,ESTABLISHED", False),
        ("-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT", True),
        ("-m addrtype --dst-type LOCAL", False),
        ("-m addrtype ! --src-type LOCAL", True),
        ("-m mark --mark 0x4000/0x4000", False),
        ("-m mark ! --mark 0x4000/0x4000", True),
        ('-m comment --comment "-j ACCEPT ! -s 1.2.3.4"', True),
        ("-m recent --rcheck --seconds 10 --reap --name KUBE-SEP-A --mask 255.255.255.255 --rsource", False),
        ("-m recent --rcheck --seconds 10 --reap --name KUBE-SEP-B --mask 255.255.255.255 --rsource", True),
    ],
)
def test_rule_holds_when_all_it_asks_for_is_so(rule: str, holds: bool) -> None:
    found = fates(f"filter -A FORWARD {rule} -j DROP", remembered=frozenset({"KUBE-SEP-B"}))
    assert only(DROPPED if holds else NOT_OURS) == found


def test_connection_is_redirected_once_and_the_new_address_is_routed() -> None:
    found = fates(
        f"nat -A PREROUTING {REDIRECT}",
        "nat -A PREROUTING -j DNAT --to-destination 10.128.1.2:8080",
        f"filter -A FORWARD -d {POD}/32 -p tcp -m tcp --dport 8080 -m conntrack --ctstate DNAT -j REJECT --reject-with tcp-reset",
    )
    assert only(REJECTED) == found


def test_packet_to_the_node_meets_input_and_not_forward() -> None:
    packet = INCOMING._replace(destination=Address("192.0.2.1"))
    assert only(DROPPED) == fates("filter -A FORWARD -j REJECT", "filter -A INPUT -j DROP", packet=packet)


def test_process_that_calls_the_node_meets_output_and_input() -> None:
    packet = Packet(Protocol.TCP, Address("192.0.2.1"), Address("192.0.2.1"), 80)
    assert only(DROPPED) == fates(
        "filter -A OUTPUT -p udp -j REJECT", "filter -A INPUT -i lo -j DROP", packet=packet
    )


def test_mark_is_carried_to_postrouting() -> None:
    found = fates(
        "nat -A PREROUTING -j MARK --set-xmark 0x4000/0x4000",
        f"nat -A PREROUTING {REDIRECT}",
        "nat -A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully",
    )
    assert only(Fate(Verdict.SENT, POD, 8080, masqueraded=True)) == found


def test_chances_fork_the_way_and_the_rest_goes_on() -> None:
    found = fates(
        "nat -A PREROUTING -m statistic --mode random --probability 0.33333333349 -j A",
        f"nat -A PREROUTING {REDIRECT}",
        "nat -A A -m statistic --mode random --probability 0.50000000000 -j RETURN",
        "nat -A A -j DNAT --to-destination 10.128.1.2",
    )
    assert {
        Fate(Verdict.SENT, Address("10.128.1.2"), 80): Fraction(1, 6),
        Fate(Verdict.SENT, POD, 8080): Fraction(5, 6),
    } == found


def test_goto_does_not_come_back() -> None:
    assert only(NOT_OURS) == fates("filter -A FORWARD -g A", "filter -A FORWARD -j DROP", "filter :A - [0:0]")


def test_policy_of_a_built_in_chain_has_the_last_word() -> None:
    assert only(DROPPED) == fates("filter :FORWARD DROP [0:0]", "filter -A FORWARD -p udp -j ACCEPT")


@pytest.mark.parametrize(
    "unknown",
    [
        "-m set --match-set allowed src -j ACCEPT",
        "-m owner --uid-owner 0 -j DROP",
        "-m addrtype --dst-type BROADCAST -j DROP",
        "-m statistic --mode nth --every 2 --packet 0 -j DROP",
        "-o eth1 -j DROP",
        "-j TPROXY --on-port 80",
        "-m conntrack --ctstatus SNAT -j DROP",
    ],
)
def test_rule_that_is_not_understood_is_named_if_a_packet_meets_it(unknown: str) -> None:
    assert only(NOT_OURS) == fates(f"filter -A FORWARD -p udp {unknown}")
    with pytest.raises(NotUnderstood, match="FORWARD"):
        fates(f"filter -A FORWARD -p tcp {unknown}")


def test_counters_before_rules_are_passed_over() -> None:
    assert only(DROPPED) == fates("filter [12:720] -A FORWARD -j DROP")


@pytest.mark.parametrize("text", ["*nat\nhello\n", "-A FORWARD -j DROP\n"])
def test_text_that_is_no_dump_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(InputError, match=r"line [12]"):
        parse_tables(text)
