"""One bad thing costs only itself: each kind of it by hand, as scenarios."""

from collections import Counter
from collections.abc import Iterator

import pytest

from kproxy.values import Family
from statemachine.cluster import NodeFacts, Pod, Shape, SliceKey
from statemachine.filters import Filter
from statemachine.flaws import Boundless, Deep, Extra, Flaw, NotOurs, Padded, Unusable, Void
from statemachine.foreign import AllFlushed
from statemachine.hunger import Work
from statemachine.native import FirewallReloaded, Native, NativeRule, NativeRulesRemoved
from statemachine.programs import Fault
from statemachine.search import play
from statemachine.steps import (
    AgentKilled,
    DeleteService,
    Harm,
    PutNode,
    PutService,
    PutServiceCIDR,
    PutSlice,
    ReadFails,
    RecordHarmed,
    RestoreFails,
    Starved,
    Step,
)
from wire import Wire

pytestmark = pytest.mark.netns

BOTH = tuple(Family)
SLICES = {name: tuple(SliceKey(name, family, "x") for family in Family) for name in "abc"}
PODS = (Pod(number=0), Pod(number=1))
CIDRS = ("10.96.0.0/16", "fd00:10:96::/112")
PORT = ("spec", "ports", 0, "port")


def served(name: str, slot: int) -> Step:
    shape = Shape(slot=slot, families=BOTH, node_port=True)
    return Step(changes=(PutService(name, shape), *(PutSlice(key, PODS) for key in SLICES[name])))


def changed(slot: int) -> tuple[PutService, ...]:
    """A change that must not be held up by anything."""
    return (PutService("c", Shape(slot=slot, families=BOTH)),)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as built:
        yield built


@pytest.mark.parametrize("chosen", Filter)
def test_bad_objects_cost_themselves_and_keep_what_they_had_until_the_agent_starts_again(
    wire: Wire, chosen: Filter
) -> None:
    moved = Shape(slot=4, families=BOTH, vip=True, external_ip=True, source_ranges=True)
    worse: list[tuple[Flaw, ...]] = [
        (
            Extra(at=("spec", "externalIPs"), item="192.0.2.300", first=True),
            Extra(at=("status", "loadBalancer", "ingress"), item={"ip": "fe80::1%eth0"}),
        ),
        (
            Extra(at=("spec", "loadBalancerSourceRanges"), item="10.0.0.0/33"),
            Extra(at=("spec", "ports"), item={"name": "other", "port": 70_000}),
        ),
        (Void(at=("spec", "ports", 0, "nodePort"), value=70_000), Padded()),
        (Deep(levels=5_000), Unusable(at=PORT, value="80", depth=3_000)),
    ]
    scenario = [
        served("a", 0),
        served("b", 1),
        Step(
            changes=(
                PutService("a", moved, Unusable(at=PORT, value="80")),
                PutSlice(
                    SLICES["a"][0], PODS[:1], Extra(at=("endpoints",), item={"addresses": ["10.1.1.300"]})
                ),
                PutSlice(SLICES["b"][0], (), Unusable(at=("endpoints",), value="none")),
                PutSlice(SLICES["b"][1], PODS[1:], Deep(levels=1_000)),
            )
        ),
        Step(
            changes=(
                PutNode(
                    NodeFacts(zone="zone-b"),
                    Extra(at=("status", "addresses"), item={"type": "InternalIP", "address": "x"}),
                ),
                PutServiceCIDR("d", CIDRS, Extra(at=("spec", "cidrs"), item="services", first=True)),
            )
        ),
        *(
            Step(changes=(*map(PutService, "bd", (moved, moved), flaws), *changed(number % 2 + 2)))
            for number, flaws in enumerate(worse)
        ),
        Step(
            changes=(PutNode(NodeFacts(), Unusable(at=("spec",), value="x")), PutSlice(SLICES["c"][0], PODS))
        ),
        AgentKilled(changes=changed(2), after_s=0.1),
        served("a", 0),
        Step(
            changes=(
                PutSlice(SLICES["a"][0], PODS, NotOurs(at=("addressType",), value="FQDN")),
                PutNode(NodeFacts()),
            )
        ),
        Step(changes=(DeleteService("b"), *changed(3))),
    ]
    play(chosen, scenario, wire, Counter())


@pytest.mark.parametrize("chosen", Filter)
def test_service_without_bounds_comes_and_goes_and_costs_itself_alone(wire: Wire, chosen: Filter) -> None:
    scenario = [
        served("a", 0),
        Step(changes=(PutService("z", Shape(slot=5), Boundless()),)),
        Step(changes=changed(1)),
        AgentKilled(changes=changed(2), after_s=0.0),
        Step(changes=(DeleteService("z"), *changed(3))),
    ]
    play(chosen, scenario, wire, Counter())


@pytest.mark.parametrize("chosen", Filter)
def test_all_is_back_after_somebody_flushes_the_ruleset_and_deletes_the_counters(
    wire: Wire, chosen: Filter
) -> None:
    play(chosen, [served("a", 0), AllFlushed(changes=changed(2), counters_too=True)], wire, Counter())


def test_rules_that_iptables_cannot_read_stay_and_hold_up_nothing(wire: Wire) -> None:
    native = [
        NativeRule(
            changes=changed(1),
            family=Family.IPV4,
            table="filter",
            chain="INPUT",
            rule=Native.STATE_MAP,
            new_agent=True,
        ),
        NativeRule(
            changes=changed(2), family=Family.IPV6, table="filter", chain="FORWARD", rule=Native.RESET
        ),
        NativeRule(
            changes=changed(3),
            family=Family.IPV4,
            table="nat",
            chain="POSTROUTING",
            rule=Native.JUMP,
            first=False,
        ),
        FirewallReloaded(
            changes=changed(1), family=Family.IPV4, table="filter", chain="INPUT", rule=Native.COUNT
        ),
    ]
    forgetful = RecordHarmed(changes=changed(5), how=Harm.DELETED)
    removed = NativeRulesRemoved(changes=changed(4))
    play(Filter.NFT, [served("a", 0), *native, forgetful, removed], wire, Counter())


def test_record_of_another_schema_never_stops_writing(wire: Wire) -> None:
    harms = [Harm.OTHER_TABLES, Harm.OTHER_TYPES, Harm.NEWER]
    harmed = [RecordHarmed(changes=changed(slot % 3 + 1), how=how) for slot, how in enumerate(harms)]
    play(Filter.NFT, [served("a", 0), *harmed], wire, Counter())


@pytest.mark.parametrize("chosen", Filter)
def test_programs_that_die_by_signal_hold_nothing_up_for_good(wire: Wire, chosen: Filter) -> None:
    deaths = [Fault.KILLED_BEFORE, Fault.SEGFAULTS, Fault.KILLED_AMID, Fault.KILLED_AFTER]
    changes = [changed(number % 3 + 1) for number in range(len(deaths))]
    writing = [
        RestoreFails(changes=some, fault=death, runs=1) for some, death in zip(changes, deaths, strict=True)
    ]
    reading = [
        ReadFails(changes=changed(4), fault=death, runs=1, forgetful=True)
        for death in (deaths[1:3] if chosen.variant else [])
    ]
    play(chosen, [served("a", 0), *writing, *reading], wire, Counter())


@pytest.mark.parametrize(
    ("chosen", "works"),
    [
        (
            Filter.NFT,
            (Work.LISTING, Work.RECOVERING, Work.TAKING_EVENTS, Work.SYNCING, Work.RUNNING_A_PROGRAM),
        ),
        (
            Filter.NFTABLES,
            (Work.WATCHING, Work.DECODING, Work.STORING, Work.SYNCING_A_FAMILY, Work.QUARANTINE),
        ),
    ],
    ids=["nft", "nftables"],
)
def test_threads_that_meet_memory_error_go_on(wire: Wire, chosen: Filter, works: tuple[Work, ...]) -> None:
    starved = [
        Starved(changes=changed(number % 3 + 1), work=work, times=1 + number % 2)
        for number, work in enumerate(works)
    ]
    play(chosen, [served("a", 0), *starved], wire, Counter())
