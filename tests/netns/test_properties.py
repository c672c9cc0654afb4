"""Oracle, tracer and kernel agree on what becomes of packets: in clusters thought up, recorded and remembered."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

from kproxy.kernel.netlink.accounting import ensure_counters
from kproxy.kernel.programs.iptables import Variant
from kproxy.model.packet import Fate, Packet, Verdict
from kproxy.oracle.decide import decide
from kproxy.ruleset.layout import FLAT, Layout
from kproxy.state.store import Store
from kproxy.trace.iptables.dump import parse_tables
from kproxy.trace.iptables.walk import Walker
from kproxy.values import Address, Family, Protocol, family_of
from namespaces import inside
from packetfilters import ByIptables, ByNftables, PacketFilter, Tracer
from recordings import CLUSTERS, DIRECTORY, DUMP, objects_of
from scenarios import NODE, REGRESSIONS, SMALL_TREE, Scenario, probes
from seeds import DRAWN_SEED, FIXED_SEED
from strategies import THEMES, scenarios
from wire import LOCAL_PODS, OTHER_NODES, OUTSIDE, Wire
from wire.node import host_of

pytestmark = pytest.mark.netns

SEARCH = settings(suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink])
MOST_PARTS = 8
PACKETS_A_SCENARIO = 1200
TRIES = 3000
BY_IPTABLES = [ByIptables(variant) for variant in Variant]
PACKET_FILTERS: list[PacketFilter] = [*BY_IPTABLES, ByNftables()]
PLAIN_SERVICE = Path(__file__).parents[1] / "regressions" / "plain-service.yaml"
REMEMBERED = [
    pytest.param(path, marks=pytest.mark.quick if path == PLAIN_SERVICE else (), id=path.stem)
    for path in REGRESSIONS
]
HOST = host_of((OUTSIDE, LOCAL_PODS, OTHER_NODES))


@pytest.fixture(scope="module", params=PACKET_FILTERS, ids=lambda each: each.name)
def packet_filter(request: pytest.FixtureRequest) -> PacketFilter:
    chosen: PacketFilter = request.param
    return chosen


@pytest.fixture(scope="module")
def wire(packet_filter: PacketFilter) -> Iterator[Wire]:
    """One for each packet filter: rules of two in one namespace would both act."""
    with Wire() as built:
        with inside(built.namespace):
            assert ensure_counters()
        yield built


def disagreements(wire: Wire, scenario: Scenario, tracer: Tracer, packets: Sequence[Packet]) -> list[str]:
    """The packets that came to where the oracle does not send them, or that the dumped rules send elsewhere."""
    store, chosen = scenario.store(), scenario.settings()
    found = []
    for packet, seen in zip(packets, wire.send(packets), strict=True):
        expected = decide(store, chosen, NODE, wire.host, packet)
        traced = tracer.fates(packet)
        if seen.fate not in expected or traced != expected:
            found.append(f"{packet}\n  oracle: {expected}\n  tracer: {traced}\n  kernel: {seen}")
    return found


@pytest.mark.long
@pytest.mark.parametrize("search_seed", [FIXED_SEED, DRAWN_SEED], ids=["fixed", "drawn"])
@pytest.mark.parametrize("theme", THEMES)
def test_packets_fare_in_the_kernel_as_the_oracle_says(
    wire: Wire, packet_filter: PacketFilter, theme: str, search_seed: int, tell: Callable[[str], None]
) -> None:
    compared = 0

    @settings(SEARCH, max_examples=packet_filter.scenarios)
    @given(
        scenarios(THEMES[theme]),
        st.sampled_from(Family),
        st.sampled_from([FLAT, SMALL_TREE]),
        st.randoms(use_true_random=False),
    )
    def compare(scenario: Scenario, family: Family, layout: Layout, draw: random.Random) -> None:
        nonlocal compared
        scenario = packet_filter.adapted(scenario)
        walker = packet_filter.load(wire, scenario, family, layout)
        everything = probes(scenario.store(), wire.host, family)
        packets = draw.sample(everything, min(len(everything), PACKETS_A_SCENARIO))
        note(repr(scenario))
        assert [] == disagreements(wire, scenario, walker, packets)
        compared += len(packets)

    for part in range(MOST_PARTS):
        if compared < packet_filter.packets:
            seed(search_seed + part)(compare)()
    tell(f"{compared:>7,} packets, {theme}, {packet_filter.name}, seed {search_seed}")
    assert compared >= packet_filter.packets


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("path", REMEMBERED)
def test_packets_of_a_remembered_scenario_fare_as_the_oracle_says(
    wire: Wire, packet_filter: PacketFilter, path: Path, family: Family
) -> None:
    scenario = packet_filter.adapted(Scenario.load(path))
    walker = packet_filter.load(wire, scenario, family, FLAT)
    assert [] == disagreements(wire, scenario, walker, probes(scenario.store(), wire.host, family))


@pytest.mark.parametrize("packet_filter", BY_IPTABLES, indirect=True, ids=lambda each: each.name)
@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: str(path.relative_to(DIRECTORY)))
def test_packets_through_kube_proxys_recorded_rules_fare_as_the_oracle_says(
    wire: Wire, packet_filter: ByIptables, cluster: Path, family: Family
) -> None:
    scenario = Scenario(tuple(objects_of(cluster)), yaml.safe_load((cluster / "config.yaml").read_text()))
    dump = packet_filter.restore(wire, family, (cluster / DUMP[family]).read_text())
    walker = Walker(parse_tables(dump), wire.host)
    store = scenario.store()
    packets = [each for each in probes(store, wire.host, family) if not is_contested(store, each)]
    assert [] == disagreements(wire, scenario, walker, packets)


def is_contested(store: Store, packet: Packet) -> bool:
    """Whether several Services claim its destination: kube-proxy asks them in no particular order."""
    claims = [
        service
        for service in store.services.values()
        for port in service.ports
        if (port.protocol, port.port) == (packet.protocol, packet.port)
        and packet.destination in (*service.external_ips, *service.load_balancer_vips)
    ]
    return len(claims) > 1


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("family", Family)
def test_shares_in_the_kernel_are_those_of_the_oracle(
    wire: Wire, packet_filter: PacketFilter, family: Family, count: int
) -> None:
    network = "10.128.2.{}" if family is Family.IPV4 else "fd00:10:128:2::{}"
    scenario = Scenario.load(PLAIN_SERVICE)
    service, piece = (dict(thing) for thing in scenario.objects)
    piece["addressType"] = family
    piece["endpoints"] = [{"addresses": [network.format(at + 1)]} for at in range(count)]
    scenario = packet_filter.adapted(Scenario((service, piece), scenario.configuration))
    packet_filter.load(wire, scenario, family, FLAT)
    packet = next(
        each
        for each in probes(scenario.store(), wire.host, family)
        if each.destination in service["spec"]["clusterIPs"] and each.port == 80
    )
    expected = decide(scenario.store(), scenario.settings(), NODE, wire.host, packet)
    seen = Counter(each.fate for each in wire.send([packet] * TRIES))
    assert expected.keys() == seen.keys()
    assert chi_square(seen, expected) < CRITICAL[count - 1]


CLIENTS, AFFINITY_S = 30, 3


@pytest.mark.parametrize("family", Family)
def test_a_client_keeps_its_backend_for_the_timeout_and_no_longer(
    wire: Wire, packet_filter: PacketFilter, family: Family
) -> None:
    pods, clients = (
        ("10.128.2.{}", "198.51.100.{}")
        if family is Family.IPV4
        else ("fd00:10:128:2::{}", "2001:db8:51::{}")
    )
    scenario = Scenario.load(PLAIN_SERVICE)
    service, piece = (dict(thing) for thing in scenario.objects)
    config = {"clientIP": {"timeoutSeconds": AFFINITY_S}}
    service["spec"] |= {"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}
    piece |= {"addressType": family, "endpoints": [{"addresses": [pods.format(at)]} for at in (1, 2, 3)]}
    scenario = packet_filter.adapted(Scenario((service, piece), scenario.configuration))
    packet_filter.load(wire, scenario, family, FLAT)
    cluster_ip = next(each for each in service["spec"]["clusterIPs"] if family_of(each) is family)
    packets = [
        Packet(Protocol.TCP, Address(clients.format(at)), cluster_ip, 80, OUTSIDE.name)
        for at in range(1, CLIENTS + 1)
    ]
    first = [each.fate for each in wire.send(packets)]
    assert 3 == len(set(first)), "the same for all by chance: once in a hundred thousand"
    assert [first] * 3 == [[each.fate for each in wire.send(packets)] for _ in range(3)]
    time.sleep(AFFINITY_S + 1.1)
    assert first != [each.fate for each in wire.send(packets)], "by chance: once in 3^30"


CRITICAL = {1: 23.9, 2: 27.6, 6: 38.3}
"""Critical values by degrees of freedom; true shares exceed them once in a million runs."""


def chi_square(seen: Counter[Fate], expected: dict[Fate, Fraction]) -> float:
    total = seen.total()
    return sum((seen[fate] - total * share) ** 2 / float(total * share) for fate, share in expected.items())


def test_random_scenarios_reach_every_verdict() -> None:
    """The search proves something: each fate comes up, in more than one packet of two hundred."""
    tally: Counter[Verdict] = Counter()

    @settings(SEARCH, max_examples=60, derandomize=True)
    @given(scenario=scenarios(), family=st.sampled_from(Family))
    def count(scenario: Scenario, family: Family) -> None:
        store, chosen, host = scenario.store(), scenario.settings(), HOST
        for packet in probes(store, host, family)[::7]:
            tally.update({fate.verdict for fate in decide(store, chosen, NODE, host, packet)})

    count()
    assert set(Verdict) == {verdict for verdict in tally if tally[verdict] > tally.total() / 200}
