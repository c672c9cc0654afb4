"""Oracle and tracer agree on what becomes of packets, share by share; rules depend on the state alone."""

import random
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from kproxy.model.packet import Fate, Packet, Verdict
from kproxy.oracle.decide import decide
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.ruleset.layout import FLAT, TREE, Layout
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import KIND_OF
from kproxy.state.store import Store
from kproxy.trace.iptables.dump import parse_tables
from kproxy.trace.iptables.walk import Walker
from kproxy.transaction.iptables.plan import clean_node, plan
from kproxy.values import Address, Family, NamespacedName
from recordings import CLUSTERS, DIRECTORY
from restored import restored
from scenarios import NODE, REGRESSIONS, RENDER, SMALL_TREE, Scenario, converted, probes
from strategies import THEMES, scenarios
from wire import LOCAL_PODS, OTHER_NODES, OUTSIDE
from wire.node import host_of

HOST = host_of((OUTSIDE, LOCAL_PODS, OTHER_NODES))
LAYOUTS = st.sampled_from([FLAT, SMALL_TREE, SMALL_TREE._replace(root_rules=4)])
SHARED = Chain("filter", "KUBE-FIREWALL")
SEARCH = settings(suppress_health_check=list(HealthCheck))


def disagreements(scenario: Scenario, family: Family, every: int, layout: Layout = FLAT) -> list[str]:
    store, chosen = scenario.store(), scenario.settings()
    walker = Walker(parse_tables(scenario.rules(HOST, family, layout)), HOST)
    found = []
    for packet in probes(store, HOST, family)[::every]:
        expected, traced = decide(store, chosen, NODE, HOST, packet), walker.fates(packet)
        if expected != traced:
            found.append(f"{packet}\n  oracle: {expected}\n  tracer: {traced}")
    return found


@settings(SEARCH, max_examples=150)
@given(
    scenario=st.sampled_from(list(THEMES.values())).flatmap(scenarios),
    family=st.sampled_from(Family),
    layout=LAYOUTS,
)
def test_tracer_finds_in_the_rules_what_the_oracle_says(
    scenario: Scenario, family: Family, layout: Layout
) -> None:
    note(repr(scenario))
    assert [] == disagreements(scenario, family, every=3, layout=layout)


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: str(path.relative_to(DIRECTORY)))
def test_tracer_finds_in_recorded_clusters_what_the_oracle_says(cluster: Path) -> None:
    objects = yaml.safe_load((cluster / "objects.json").read_text())["items"]
    scenario = Scenario(tuple(objects), yaml.safe_load((cluster / "config.yaml").read_text()))
    assert [] == [each for family in Family for each in disagreements(scenario, family, every=5)]


@pytest.mark.parametrize("layout", [FLAT, SMALL_TREE], ids=["flat", "small tree"])
@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_tracer_finds_in_remembered_scenarios_what_the_oracle_says(path: Path, layout: Layout) -> None:
    scenario = Scenario.load(path)
    found = [each for family in Family for each in disagreements(scenario, family, every=1, layout=layout)]
    assert [] == found


@settings(SEARCH, max_examples=60)
@given(
    scenario=scenarios(),
    family=st.sampled_from(Family),
    layout=LAYOUTS,
    order=st.randoms(use_true_random=False),
)
def test_order_and_detours_of_events_change_no_rule(
    scenario: Scenario, family: Family, layout: Layout, order: random.Random
) -> None:
    store = Store()
    circumstances = scenario.circumstances(HOST, family, layout)
    stepwise = DesiredRuleset(RENDER)
    things = [converted(thing) for thing in scenario.objects]
    events = [Changed(thing) for thing in order.sample(things, len(things))]
    detour = [Deleted(KIND_OF[type(thing)], thing.key) for thing in order.sample(things, len(things) // 2)]
    sequence: list[Changed | Deleted] = [
        *events,
        *detour,
        *(Changed(thing) for thing in order.sample(things, len(things))),
    ]
    for event in sequence:
        store.apply(event)
        before = dict(stepwise.chains)
        told = stepwise.update(store, store.take_dirty(), circumstances)
        assert told >= {chain for chain, _ in before.items() ^ stepwise.chains.items()}
    afresh = DesiredRuleset(RENDER)
    afresh.update(scenario.store(), scenario.store().services, circumstances)
    assert (afresh.chains, afresh.jumps) == (stepwise.chains, stepwise.jumps)


@settings(SEARCH, max_examples=60)
@given(
    one=scenarios(),
    other=scenarios(),
    family=st.sampled_from(Family),
    layouts=st.tuples(LAYOUTS, LAYOUTS),
    size=st.sampled_from([None, 1, 5]),
    apart=st.booleans(),
)
def test_change_applied_to_the_old_rules_gives_the_new_ones(
    one: Scenario,
    other: Scenario,
    family: Family,
    layouts: tuple[Layout, Layout],
    size: int | None,
    apart: bool,
) -> None:
    old, new = compiled(one, family, layouts[0]), compiled(other, family, layouts[1])
    change = plan(old.chains, new.chains, {}, section_size=size, deletes_apart=apart)
    *_, result = [old.chains, *restored(old.chains, str(change))]
    wanted = dict(new.chains)
    if not wanted[SHARED]:  # what stands there may be the kubelet's
        wanted[SHARED] = old.chains[SHARED]
    assert wanted == result
    assert result == {
        chain: rules for chain, rules in (old.chains | change.written).items() if chain in result
    }
    assert change.deleted == tuple(chain for chain in change.deleted if chain in old.chains)
    assert not plan(new.chains, new.chains, {}, section_size=size)


@settings(SEARCH, max_examples=60)
@given(
    one=scenarios(),
    other=scenarios(),
    family=st.sampled_from(Family),
    layout=LAYOUTS,
    size=st.sampled_from([None, 1, 5]),
    draw=st.randoms(use_true_random=False),
)
def test_between_two_commits_a_packet_fares_as_some_part_of_the_change_allows(
    one: Scenario, other: Scenario, family: Family, layout: Layout, size: int | None, draw: random.Random
) -> None:
    states = [
        Scenario(
            (*of("Node", one), *of("Service", services), *of("EndpointSlice", slices)), one.configuration
        )
        for services in (one, other)
        for slices in (one, other)
    ]
    stores = [state.store() for state in states]
    rules = [compiled(state, family, layout) for state in states]
    old, new = rules[0], rules[-1]
    everything = sorted({packet for store in stores for packet in probes(store, HOST, family)})
    alone = [packet for packet in everything if len(claimants(stores, packet.destination)) <= 1]
    packets = draw.sample(alone, min(len(alone), 50))
    guarded = any(is_guarded(store) for store in stores)
    walkers = [Walker(parse_tables(clean_node(each.chains, new.jumps)), HOST) for each in rules]
    allowed = {packet: {fate for each in walkers for fate in each.fates(packet)} for packet in packets}
    change = plan(old.chains, new.chains, {}, section_size=size)
    for meanwhile in restored(old.chains, str(change)):
        walker = Walker(parse_tables(clean_node(meanwhile, new.jumps)), HOST)
        for packet, fates in allowed.items():
            if guarded or Fate(Verdict.NOT_OURS) in fates:
                fates.add(Fate(Verdict.DROPPED))  # closed for a moment rather than open
            assert walker.fates(packet).keys() <= fates, packet


def of(kind: str, scenario: Scenario) -> list[dict[str, Any]]:
    return [thing for thing in scenario.objects if thing["kind"] == kind]


def claimants(stores: Sequence[Store], address: Address) -> set[NamespacedName]:
    """The Services that claim an external address in any of the states; while they hand it over, either may answer."""
    return {
        key
        for store in stores
        for key, service in store.services.items()
        if address in (*service.external_ips, *service.load_balancer_vips)
    }


def is_guarded(store: Store) -> bool:
    """Whether source ranges guard a Service."""
    return any(service.source_ranges for service in store.services.values())


def compiled(scenario: Scenario, family: Family, layout: Layout) -> DesiredRuleset:
    desired = DesiredRuleset(RENDER)
    store = scenario.store()
    desired.update(store, store.services, scenario.circumstances(HOST, family, layout))
    return desired


@pytest.mark.parametrize("layout", [FLAT, TREE, SMALL_TREE], ids=["flat", "tree", "small tree"])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 200])
def test_shares_of_the_tracer_are_exactly_equal(count: int, layout: Layout) -> None:
    scenario = Scenario.load(Path(__file__).parents[1] / "regressions" / "plain-service.yaml")
    service, piece = scenario.objects
    endpoints = [{"addresses": [f"10.128.2.{at + 1}"]} for at in range(count)]
    scenario = Scenario((service, {**piece, "endpoints": endpoints}), scenario.configuration)
    walker = Walker(parse_tables(scenario.rules(HOST, Family.IPV4, layout)), HOST)
    packet = next(
        each for each in probes(scenario.store(), HOST, Family.IPV4) if each.destination == "10.96.0.10"
    )
    assert [Fraction(1, count)] * count == list(walker.fates(packet).values())


@settings(SEARCH, max_examples=60)
@given(scenario=scenarios(), family=st.sampled_from(Family), draw=st.randoms(use_true_random=False))
def test_a_remembered_client_has_one_backend_where_the_service_has_affinity_and_else_chance(
    scenario: Scenario, family: Family, draw: random.Random
) -> None:
    store = scenario.store()
    walker = Walker(parse_tables(scenario.rules(HOST, family)), HOST)
    everything = probes(store, HOST, family)
    note(repr(scenario))
    for packet in draw.sample(everything, min(len(everything), 100)):
        fates = walker.fates(packet)
        for way in walker.ways(packet):
            lists = frozenset(re.findall(r" --set --name (\S+)", " ".join(map(str, way.rules))))
            if way.fate and way.fate.verdict is Verdict.SENT:
                assert bool(lists) in may_stick(store, packet), way
            assert ({way.fate: 1} if lists else fates) == walker.fates(packet, lists)


def may_stick(store: Store, packet: Packet) -> set[bool]:
    """Whether those that claim the destination have affinity; several may claim an external address."""
    return {
        service.affinity_timeout_s is not None
        for service in store.services.values()
        for port in service.ports
        if port.protocol == packet.protocol
        and packet.port
        == (
            port.port
            if packet.destination
            in (*service.cluster_ips, *service.external_ips, *service.load_balancer_vips)
            else port.node_port
        )
    }
