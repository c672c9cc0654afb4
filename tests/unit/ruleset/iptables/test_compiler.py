"""Details of rule text that no recorded cluster pins down."""

import pytest

from facts import a_plan, a_service, a_slice, a_view, an_endpoint
from kproxy.errors import InputError
from kproxy.model.settings import Settings
from kproxy.render.templates import rule_templates
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.iptables.chains import parse_chains
from kproxy.ruleset.iptables.compiler import node_chains, service_port_chains
from kproxy.ruleset.iptables.desired import LARGE_CLUSTER_ENDPOINTS, DesiredRuleset
from kproxy.ruleset.iptables.policy_chains import probability
from kproxy.ruleset.layout import FLAT
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.values import NamespacedName

RENDER = rule_templates()
CIRCUMSTANCES = Circumstances(a_view(), Settings())


@pytest.mark.parametrize(
    ("count", "expected"),
    [(2, "0.50000000000"), (3, "0.33333333349"), (7, "0.14285714272"), (90, "0.01111111091")],
)
def test_probability_is_the_text_that_iptables_save_prints(count: int, expected: str) -> None:
    assert expected == probability(1, count)


def test_liberal_conntrack_drops_no_invalid_packets() -> None:
    forward = Chain("filter", "KUBE-FORWARD")
    strict, liberal = (
        node_chains(a_view(), Settings(conntrack_tcp_be_liberal=liberal), RENDER)[forward]
        for liberal in (False, True)
    )
    assert "--ctstate INVALID -j DROP" in strict
    assert "INVALID" not in liberal


def test_accounting_names_counters_only_when_asked() -> None:
    plain, counted = (str(node_chains(a_view(), Settings(accounting=on), RENDER)) for on in (False, True))
    assert "nfacct" not in plain
    assert "--nfacct-name ct_state_invalid_dropped_pkts" in counted


def test_service_port_without_comments_keeps_those_of_dispatch() -> None:
    plan = a_plan(a_service(), an_endpoint("10.128.1.1"), an_endpoint("10.128.1.2"))
    chains = service_port_chains(plan, a_view(), Settings(), FLAT, RENDER, comments=False)
    dispatch = chains.pop(Chain("nat", "KUBE-SERVICES"))
    assert "default/web cluster IP" in dispatch
    assert 0 == sum("->" in rules for rules in chains.values())


def test_text_that_is_no_rule_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="'-F KUBE-SERVICES' is neither"):
        parse_chains("*nat\n-F KUBE-SERVICES\n")


def filled(*names: str) -> Store:
    store = Store()
    for name in names:
        store.apply(Changed(a_service(name)))
        store.apply(Changed(a_slice(an_endpoint("10.128.1.1"), name=f"{name}-a", service=name)))
    return store


def complete(store: Store) -> dict[Chain, str]:
    desired = DesiredRuleset(RENDER)
    desired.update(store, store.services, CIRCUMSTANCES)
    return desired.chains


def test_ruleset_after_changes_equals_a_new_one() -> None:
    store = filled("a", "b", "c")
    desired = DesiredRuleset(RENDER)
    desired.update(store, store.take_dirty(), CIRCUMSTANCES)
    store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "b")))
    store.apply(Deleted(Kind.ENDPOINT_SLICE, NamespacedName("default", "c-a")))
    store.apply(Changed(a_slice(an_endpoint("10.128.1.7"), name="a-a", service="a")))
    desired.update(store, store.take_dirty(), CIRCUMSTANCES)
    assert complete(store) == desired.chains


def test_changed_endpoint_leaves_the_dispatch_chains_as_they_were() -> None:
    store = filled("a", "b")
    desired = DesiredRuleset(RENDER)
    desired.update(store, store.take_dirty(), CIRCUMSTANCES)
    before = dict(desired.chains)
    store.apply(Changed(a_slice(an_endpoint("10.128.1.7"), name="a-a", service="a")))
    desired.update(store, store.take_dirty(), CIRCUMSTANCES)
    changed = {
        chain.name[:9]
        for chain in before.keys() | desired.chains.keys()
        if before.get(chain) != desired.chains.get(chain)
    }
    assert {"KUBE-SVC-", "KUBE-SEP-"} == changed


def test_changed_settings_reach_every_service() -> None:
    store = filled("a", "b")
    desired = DesiredRuleset(RENDER)
    desired.update(store, store.take_dirty(), CIRCUMSTANCES)
    desired.update(store, (), Circumstances(a_view(), Settings(masquerade_all=True)))
    masquerading = [rules for chain, rules in desired.chains.items() if chain.name.startswith("KUBE-SVC-")]
    assert 2 == sum("KUBE-MARK-MASQ" in rules and "! -s" not in rules for rules in masquerading)


def test_comments_leave_and_return_as_the_cluster_grows_and_shrinks() -> None:
    store = filled("a")
    desired = DesiredRuleset(RENDER)
    desired.update(store, store.take_dirty(), CIRCUMSTANCES)
    small = dict(desired.chains)
    many = [an_endpoint(f"10.129.{i // 250}.{i % 250}") for i in range(LARGE_CLUSTER_ENDPOINTS)]
    store.apply(Changed(a_service("big")))
    store.apply(Changed(a_slice(*many[1:], name="big-a", service="big")))
    desired.update(store, store.take_dirty(), CIRCUMSTANCES)
    assert any("->" in rules for rules in desired.chains.values())
    store.apply(Changed(a_slice(*many, name="big-a", service="big")))
    desired.update(store, store.take_dirty(), CIRCUMSTANCES)
    assert not any("->" in rules for rules in desired.chains.values())
    store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "big")))
    desired.update(store, store.take_dirty(), CIRCUMSTANCES)
    assert small == desired.chains


def test_update_of_which_not_all_parts_were_taken_leaves_no_trace() -> None:
    store = filled("a")
    desired = DesiredRuleset(RENDER)
    desired.update(store, store.take_dirty(), CIRCUMSTANCES)
    small = dict(desired.chains)
    many = [an_endpoint(f"10.129.{i // 250}.{i % 250}") for i in range(LARGE_CLUSTER_ENDPOINTS)]
    store.apply(Changed(a_service("big")))
    store.apply(Changed(a_slice(*many, name="big-a", service="big")))
    assert next(desired.update_in_parts(store, store.take_dirty(), CIRCUMSTANCES))
    store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "big")))
    desired.update(store, store.take_dirty(), CIRCUMSTANCES)
    assert small == desired.chains
