"""Many backends are picked in groups: small chains with names that fit, each backend in one of them."""

import pytest

from kproxy.ruleset.iptables import names
from kproxy.ruleset.iptables.policy_chains import BackendChain, PolicyChain, policy_chains
from kproxy.values import NamespacedName, Protocol, ServicePortName

CHAIN = names.CLUSTER_POLICY + "A" * 16
WEB = ServicePortName(NamespacedName("default", "web"), "", Protocol.TCP)


def backends(count: int) -> list[BackendChain]:
    targets = [f"10.128.{number >> 8}.{number & 255}:8080" for number in range(count)]
    return [
        BackendChain(names.BACKEND + names.backend_hash(WEB, target), target, target) for target in targets
    ]


def chains(count: int, most: float) -> dict[str, PolicyChain]:
    return {rules.chain: rules for rules in policy_chains(CHAIN, backends(count), most, has_affinity=True)}


@pytest.mark.parametrize(("count", "most"), [(64, 64), (3000, float("inf"))])
def test_up_to_the_most_stand_in_one_chain(count: int, most: float) -> None:
    (only,) = chains(count, most).values()
    assert [backend.chain for backend in backends(count)] == [pick.chain for pick in only.picks]


@pytest.mark.parametrize("count", [65, 3000, 20_000])
def test_more_are_picked_by_way_of_groups_that_reach_each_once(count: int) -> None:
    found = chains(count, 64)
    assert all(len(name) <= 28 for name in found)
    assert {False, True} == {pick.chain in found for rules in found.values() for pick in rules.picks}
    ways = [pick.chain for rules in found.values() for pick in rules.picks]
    assert sorted([*(each.chain for each in backends(count)), *found]) == sorted([*ways, CHAIN])
    assert all(len(rules.picks) <= 64 for rules in found.values() if len(rules.chain) < 28)


def test_client_is_remembered_before_any_group_is_picked() -> None:
    found = chains(65, 64)
    assert tuple(backends(65)) == found[CHAIN].remembered
    assert not any(rules.remembered for name, rules in found.items() if name != CHAIN)


def test_added_backend_changes_the_chains_on_its_way_only() -> None:
    before, after = chains(2000, 64), chains(2001, 64)
    (added,) = {each.chain for each in backends(2001)} - {each.chain for each in backends(2000)}
    changed = {name for name, rules in after.items() if before.get(name) != rules and name != CHAIN}
    assert changed <= {names.group(CHAIN, added, depth) for depth in range(3)}
