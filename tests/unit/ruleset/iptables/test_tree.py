"""Dispatch trees: who stands in which chain, and what a change touches."""

import pytest

from kproxy.ruleset.iptables.tree import DispatchTree, TreeChain
from kproxy.ruleset.layout import FLAT, Layout
from kproxy.values import Family, NamespacedName

LAYOUT = Layout(root_rules=4, chain_rules=2, most_backends=2)


def by_address(number: int, address: str, host: int = 32) -> tuple[NamespacedName, str]:
    owner = NamespacedName("default", f"s{number:03}")
    return owner, f"-A KUBE-SERVICES -d {address}/{host} -p tcp -m tcp --dport 80 -j KUBE-SVC-{number}\n"


def grown(
    rules: list[tuple[NamespacedName, str]], layout: Layout = LAYOUT, family: Family = Family.IPV4
) -> DispatchTree:
    tree = DispatchTree("KUBE-SERVICES", family, layout)
    for owner, text in rules:
        tree.replace(owner, "", text)
    return tree


def shape(chain: TreeChain | None) -> tuple[list[str], int]:
    assert chain is not None
    return [jump.network or f"{jump.protocol} {jump.ports}".strip() for jump in chain.jumps], len(chain.rules)


def test_few_rules_stand_in_the_root_in_the_order_of_their_owners() -> None:
    tree = grown([by_address(number, f"10.96.{number}.1") for number in (3, 1, 2)])
    (root,) = tree.changes().values()
    assert root is not None
    assert ["1", "2", "3"] == [rule.rpartition("-")[2] for rule in root.rules]


def test_flat_layout_never_splits() -> None:
    tree = grown([by_address(number, f"10.96.{number}.1") for number in range(200)], FLAT)
    assert {"KUBE-SERVICES"} == tree.changes().keys()


def test_many_rules_are_split_where_addresses_differ() -> None:
    tree = grown([by_address(number, f"10.96.0.{number * 8}") for number in range(6)])
    chains = {name: shape(chain) for name, chain in tree.changes().items() if chain}
    assert {
        "KUBE-SERVICES": (["10.96.0.0/24"], 0),
        "KUBE-S-10.96.0.0/24": (["10.96.0.0/28", "10.96.0.16/28", "10.96.0.32/28"], 0),
        "KUBE-S-10.96.0.0/28": ([], 2),
        "KUBE-S-10.96.0.16/28": ([], 2),
        "KUBE-S-10.96.0.32/28": ([], 2),
    } == chains


def test_added_service_touches_its_leaf_and_the_chains_above_only() -> None:
    tree = grown([by_address(number, f"10.96.0.{number * 8}") for number in range(12)])
    before = tree.changes()
    tree.replace(*by_address(99, "10.96.0.9")[:1], "", by_address(99, "10.96.0.9")[1])
    after = {name: chain for name, chain in tree.changes().items() if before.get(name) != chain}
    assert {"KUBE-S-10.96.0.0/28"} <= after.keys()
    assert all("10.96.0" in name and int(name.rpartition("/")[2]) >= 28 for name in after)


def test_removed_services_leave_no_chain_behind() -> None:
    rules = [by_address(number, f"10.{number}.0.{number * 8}") for number in range(12)]
    tree = grown(rules)
    made = {name for name, chain in tree.changes().items() if chain}
    for owner, text in rules[2:]:
        tree.replace(owner, text, "")
    gone = {name for name, chain in tree.changes().items() if chain is None}
    assert made - {"KUBE-SERVICES"} <= gone
    for owner, text in rules[:2]:
        tree.replace(owner, text, "")
    root = tree.changes()["KUBE-SERVICES"]
    assert root is not None
    assert ((), ()) == (root.jumps, root.rules)


def test_ipv6_networks_are_named_by_their_hash_within_the_kernels_limit() -> None:
    rules = [by_address(number, f"fd00:10:96::{number:x}", 128) for number in range(1, 40)]
    names = grown(rules, family=Family.IPV6).changes().keys()
    assert all(len(name) <= 28 and ":" not in name for name in names)
    assert any(name.startswith("KUBE-S-") and name.endswith("/124") for name in names)


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_ports_are_split_by_ranges_of_their_protocol(protocol: str) -> None:
    tree = DispatchTree("KUBE-NODEPORTS", Family.IPV4, LAYOUT)
    for port in range(30000, 30040, 5):
        text = f"-A KUBE-NODEPORTS -p {protocol} -m {protocol} --dport {port} -j KUBE-EXT-{port}\n"
        tree.replace(NamespacedName("default", f"s{port}"), "", text)
    chains = {name: shape(chain) for name, chain in tree.changes().items() if chain}
    jumps, rules = chains["KUBE-NODEPORTS"]
    assert rules == 0
    assert all(jump.startswith(f"{protocol} ") for jump in jumps)
    assert f"KUBE-N-{protocol}-30000/12" in chains


def test_rule_that_asks_for_no_address_and_no_port_stays_in_the_root() -> None:
    odd = NamespacedName("a", "odd"), "-A KUBE-SERVICES -m comment --comment odd -j RETURN\n"
    tree = grown([odd, *(by_address(number, f"10.96.{number}.1") for number in range(9))])
    root = tree.changes()["KUBE-SERVICES"]
    assert root is not None
    assert ("-m comment --comment odd -j RETURN",) == root.rules
