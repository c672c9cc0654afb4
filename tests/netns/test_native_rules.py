"""Rules that others made with nft stand in iptables-nft's chains: they never matter, and they stay."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from facts import CLUSTER_CIDRS, NODE
from kproxy import process
from kproxy.agent.iptables_proxy import IptablesProxy
from kproxy.agent.proxy import SyncReport
from kproxy.cleanup.clean_up import end_iptables_mode
from kproxy.kernel.netlink.jumps import jumps_in
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.kernel.programs.variant import find_variant
from kproxy.model.node import view_node
from kproxy.model.settings import Settings
from kproxy.observed.iptables_nft import NftChains
from kproxy.observed.record import Record
from kproxy.render.templates import rule_templates
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.inputs import Circumstances
from kproxy.state.store import Store
from kproxy.values import Address, Family
from namespaces import fresh_namespace, inside

pytestmark = pytest.mark.netns

PROGRAM = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
WORD = {Family.IPV4: "ip", Family.IPV6: "ip6"}
NATIVE = [
    'tcp dport 23 log prefix "telnet " counter drop',
    "ct state vmap { established : accept, related : accept }",
    "ct count 10 accept",
    "quota over 10 mbytes drop",
    "limit rate 5/second accept",
    "meta mark set 3",
    "tcp dport { 22, 80 } accept",
    "fib daddr type local accept",
    "tcp dport @ports drop",
    "meta l4proto vmap { tcp : jump theirs }",
    "dup to @nh,0,32",
    "numgen inc mod 2 vmap { 0 : accept, 1 : drop }",
    "counter jump theirs",
]
IN_FILTER_ALONE = ["tcp dport 22 reject with tcp reset"]
BUILT_IN = [
    Chain("filter", "INPUT"),
    Chain("filter", "FORWARD"),
    Chain("filter", "OUTPUT"),
    Chain("nat", "PREROUTING"),
    Chain("nat", "OUTPUT"),
    Chain("nat", "POSTROUTING"),
]


class Node:
    """A node without Services, in whose kernel each built-in chain may hold a rule of others."""

    def __init__(self, family: Family, rule: str) -> None:
        self.family, self.rule = family, rule
        self.record = Record(None)
        self.proxy = self.new_proxy()

    def close(self) -> None:
        self.record.close()

    def new_proxy(self) -> IptablesProxy:
        iptables = Iptables(Variant.NFT, self.family)
        assert "" == iptables.refusal()
        return IptablesProxy(iptables, NftChains(self.family, self.record), rule_templates())

    def sync(self) -> SyncReport:
        settings = Settings(cluster_cidrs=CLUSTER_CIDRS)
        view = view_node(NODE, None, (Address("127.0.0.1"),), settings, self.family)
        report = self.proxy.sync(Store(), set(), Circumstances(view, settings), verify=True)
        self.proxy.record()
        assert report.error is None
        return report

    def make_built_in_chains(self) -> None:
        """As iptables has them, with a rule of its own in each."""
        for table, name in BUILT_IN:
            process.run([f"{PROGRAM[self.family]}-nft", "-t", table, "-A", name, "-p", "47", "-j", "ACCEPT"])

    def put_in(self, verb: str = "add") -> None:
        """The rule of others, at the end or at the head of each chain."""
        word = WORD[self.family]
        for table in ("filter", "nat"):
            process.run(["nft", f"add set {word} {table} ports {{ type inet_service; }}"])
            process.run(["nft", f"add chain {word} {table} theirs"])
        for table, name in BUILT_IN:
            if table == "filter" or self.rule not in IN_FILTER_ALONE:
                process.run(["nft", f"{verb} rule {word} {table} {name} {self.rule}"])

    def flush(self, chain: Chain) -> None:
        process.run(["nft", f"flush chain {WORD[self.family]} {chain.table} {chain.name}"])

    def jumps(self) -> dict[Chain, list[str]]:
        """Where rules of built-in chains lead to."""
        return {
            chain: [jump.target for jump in jumps_in(self.family, chain) if jump.target != "theirs"]
            for chain in BUILT_IN
        }

    def wanted(self) -> dict[Chain, list[str]]:
        return {
            chain: [rule.rpartition(" ")[2] for rule in rules.splitlines()]
            for chain, rules in self.proxy.desired.jumps.items()
        }

    def natives(self) -> list[str]:
        """All that is not ours."""
        listed = process.run(["nft", "-s", "list", "ruleset"]).splitlines()
        return [line for line in listed if "KUBE" not in line]


@pytest.fixture
def kernel() -> Iterator[None]:
    with fresh_namespace() as name, inside(name):
        yield


@pytest.fixture(params=[*NATIVE, *IN_FILTER_ALONE])
def node(request: pytest.FixtureRequest, kernel: None, family: Family) -> Iterator[Node]:
    rule = request.param.replace(
        "dup to @nh,0,32", "dup to 192.0.2.1" if family is Family.IPV4 else "dup to 2001:db8::1"
    )
    with closing(Node(family, rule)) as node:
        node.make_built_in_chains()
        yield node


@pytest.fixture(params=Family)
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


@pytest.mark.parametrize("verb", ["add", "insert"])
def test_agent_beside_native_rules_starts_and_keeps_one_jump_of_each_in_order(node: Node, verb: str) -> None:
    node.put_in(verb)
    before = node.natives()
    assert node.sync().chains_written > 0
    assert node.wanted() == node.jumps()
    node.proxy = node.new_proxy()
    reports = [node.sync() for _ in range(2)]
    assert [(0, 0, 0)] * 2 == [(each.chains_written, each.rules_written, each.drifted) for each in reports]
    assert node.wanted() == node.jumps()
    assert set(before) <= set(node.natives())


@pytest.mark.parametrize("verb", ["add", "insert"])
def test_native_rules_that_come_later_change_nothing(node: Node, verb: str) -> None:
    node.sync()
    node.put_in(verb)
    report = node.sync()
    assert (0, 0, 0) == (report.chains_written, report.rules_written, report.drifted)
    assert node.wanted() == node.jumps()


def test_jumps_that_go_beside_native_rules_are_put_back_once(node: Node) -> None:
    node.sync()
    node.put_in()
    for chain in (Chain("filter", "FORWARD"), Chain("nat", "POSTROUTING")):
        node.flush(chain)
    node.put_in("insert")
    assert 5 == node.sync().rules_written
    assert node.wanted() == node.jumps()
    assert 0 == node.sync().rules_written


def test_jump_that_goes_from_between_others_is_put_back_in_its_place(node: Node) -> None:
    node.sync()
    node.put_in("insert")
    chain = Chain("filter", "FORWARD")
    second = [jump for jump in jumps_in(node.family, chain) if jump.target != "theirs"][1]
    process.run(["nft", f"delete rule {WORD[node.family]} filter FORWARD handle {second.handle}"])
    report = node.sync()
    assert (1, 1) == (report.rules_written, report.drifted)
    assert node.wanted() == node.jumps()


def test_jumps_of_ours_go_in_a_cleanup_and_native_rules_stay(node: Node) -> None:
    node.put_in()
    before = node.natives()
    node.sync()
    node.put_in("insert")
    end_iptables_mode(node.family)
    left = {line.strip() for line in process.run(["nft", "list", "ruleset"]).splitlines() if "KUBE-" in line}
    assert all(
        "KUBE-FIREWALL" in line for line in left
    )  # it is the kubelet's too, and stays if it holds a rule
    assert set(before) <= set(node.natives())


def test_backend_is_found_beside_native_rules(kernel: None) -> None:
    for table in ("mangle", "nat", "filter"):
        process.run(["iptables-nft", "-t", table, "-A", "OUTPUT", "-p", "47"])
        process.run(["nft", f"insert rule ip {table} OUTPUT meta mark set 3"])
        process.run(["nft", f"insert rule ip {table} OUTPUT ct state vmap {{ established : accept }}"])
    process.run(["iptables-legacy", "-A", "INPUT", "-p", "47"])
    assert Variant.NFT is find_variant()
    for _ in range(3):
        process.run(["iptables-legacy", "-A", "INPUT", "-p", "47"])
    assert Variant.LEGACY is find_variant()
    process.run(["iptables-nft", "-t", "mangle", "-N", "KUBE-KUBELET-CANARY"])
    assert Variant.NFT is find_variant()


FIREWALL = {
    family: f"""
table {word} filter {{
  set known {{ type {address}; }}
  chain input {{ type filter hook input priority filter; policy accept; ct state vmap {{ established : accept }}; }}
  chain forward {{ type filter hook forward priority filter; policy accept; meta mark set 3; }}
  chain theirs {{ {word} saddr @known drop; }}
}}
table {word} nat {{
  chain prerouting {{ type nat hook prerouting priority dstnat; meta mark set 3; }}
  chain postrouting {{ type nat hook postrouting priority srcnat; masquerade random; }}
}}
"""
    for family, word, address in ((Family.IPV4, "ip", "ipv4_addr"), (Family.IPV6, "ip6", "ipv6_addr"))
}


def test_firewall_of_nft_in_tables_of_the_same_names_is_no_hindrance(kernel: None, family: Family) -> None:
    process.run(["nft", "-f", "-"], stdin=FIREWALL[family])
    with closing(Node(family, "")) as node:
        before = node.natives()
        node.sync()
        node.proxy = node.new_proxy()
        assert [0, 0] == [node.sync().rules_written for _ in range(2)]
        assert node.wanted() == node.jumps()
        end_iptables_mode(family)
        assert set(before) <= set(node.natives())
