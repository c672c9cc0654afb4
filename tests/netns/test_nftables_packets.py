"""Packets through the rules of nftables mode: of recorded clusters, and what no oracle tells."""

import random
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml

from kproxy import process
from kproxy.agent.nftables_proxy import NftablesProxy
from kproxy.kernel.programs.nft import NftTable
from kproxy.model.packet import Packet, Verdict
from kproxy.observed.nftables import Commits
from kproxy.oracle.decide import decide
from kproxy.ruleset.layout import FLAT
from kproxy.values import Address, Family, Protocol
from namespaces import inside
from packetfilters import ByNftables
from recordings import CLUSTERS, DIRECTORY, objects_of
from scenarios import NODE, REGRESSIONS, RENDER, Scenario, probes
from seeds import DRAWN_SEED
from strategies import SERVICE_CIDR
from wire import OUTSIDE, Wire

pytestmark = pytest.mark.netns

MOST_PACKETS = 1000
"""The packets for each cluster and family. A few clusters have ten times as many; all of these take a minute."""


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with Wire() as built:
        yield built


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: str(path.relative_to(DIRECTORY)))
def test_packets_of_a_recorded_cluster_fare_as_the_oracle_says(
    wire: Wire, cluster: Path, family: Family
) -> None:
    configuration = yaml.safe_load((cluster / "config.yaml").read_text())
    scenario = Scenario((*objects_of(cluster), SERVICE_CIDR), configuration).in_nftables_mode()
    tracer = ByNftables().load(wire, scenario, family, FLAT)
    store, chosen = scenario.store(), scenario.settings()
    packets = probes(store, wire.host, family)
    packets = random.Random(DRAWN_SEED).sample(packets, min(len(packets), MOST_PACKETS))
    expected = [decide(store, chosen, NODE, wire.host, packet) for packet in packets]
    seen = wire.send(packets)
    assert [] == [
        f"{packet}\n  oracle: {fates}\n  tracer: {tracer.fates(packet)}\n  kernel: {arrived}"
        for packet, fates, arrived in zip(packets, expected, seen, strict=True)
        if arrived.fate not in fates or tracer.fates(packet) != fates
    ]


CLIENTS = 30
CLIENTS_OF_IT = ("ip", "kproxy", "affinity/default/web/tcp/web")
PLAIN_SERVICE = next(path for path in REGRESSIONS if path.stem == "plain-service")


def from_outside(number: int = 9) -> Packet:
    return Packet(Protocol.TCP, Address(f"198.51.100.{number}"), Address("10.96.0.10"), 80, OUTSIDE.name)


def load_plain_service(wire: Wire, affinity_s: int = 0) -> None:
    ByNftables().load(wire, plain_service(affinity_s), Family.IPV4, FLAT)


def plain_service(affinity_s: int = 0, endpoints: Iterable[int] = (1, 2, 3)) -> Scenario:
    """With a time, clients stay with their endpoints."""
    scenario = Scenario.load(PLAIN_SERVICE)
    service, piece = (dict(thing) for thing in scenario.objects)
    if affinity_s:
        config = {"clientIP": {"timeoutSeconds": affinity_s}}
        service["spec"] |= {"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}
    piece |= {"addressType": "IPv4", "endpoints": [{"addresses": [f"10.128.2.{at}"]} for at in endpoints]}
    return Scenario((service, piece), scenario.configuration).in_nftables_mode()


def test_each_connection_of_a_client_starts_its_time_again(wire: Wire) -> None:
    load_plain_service(wire, affinity_s=2)
    packets = [from_outside(number) for number in range(1, CLIENTS + 1)]
    seen = []
    for pause_s in (0.0, 1.2, 1.2):
        time.sleep(pause_s)
        seen.append([each.fate for each in wire.send(packets)])
    assert [seen[0]] * 3 == seen
    with inside(wire.namespace):
        held = process.run(["nft", "list", "set", *CLIENTS_OF_IT])
    assert CLIENTS == held.count(" timeout 2s expires ")


@pytest.mark.parametrize("is_restarted", [False, True])
def test_client_stays_with_its_next_endpoint_when_the_one_before_comes_back(
    wire: Wire, is_restarted: bool
) -> None:
    packets = [from_outside(number) for number in range(1, CLIENTS + 1)]
    proxy: NftablesProxy | None = None
    seen = []
    for endpoints in ((1, 2, 3), (2, 3), (1, 2, 3)):
        scenario = plain_service(affinity_s=60, endpoints=endpoints)
        store = scenario.store()
        with inside(wire.namespace):
            if proxy is None:
                process.run(["nft", "flush", "ruleset"])
            if proxy is None or is_restarted:
                proxy = NftablesProxy(NftTable(Family.IPV4), RENDER, Commits())
            circumstances = scenario.circumstances(wire.host, Family.IPV4)
            assert proxy.sync(store, {*store.services}, circumstances, verify=False).error is None
        seen.append([each.fate for each in wire.send(packets)])
    first, second, third = seen
    assert len({fate.destination for fate in first}) == len({fate.destination for fate in second}) + 1 == 3
    assert second == third


def test_masqueraded_packet_leaves_without_the_mark(wire: Wire) -> None:
    load_plain_service(wire)
    with inside(wire.namespace):
        process.run(["nft", "add table ip after"])
        process.run(["nft", "add chain ip after leaving { type filter hook postrouting priority 200; }"])
        process.run(["nft", "add rule ip after leaving ip daddr 10.128.2.0/24 meta mark != 0 counter"])
        process.run(["nft", "add rule ip after leaving ip daddr 10.128.2.0/24 counter"])
    assert {True} == {each.fate.masqueraded for each in wire.send([from_outside()] * 5)}
    with inside(wire.namespace):
        counted = re.findall(r"counter packets (\d+)", process.run(["nft", "list", "table", "ip", "after"]))
    assert ["0", "5"] == counted


def test_connection_that_was_there_before_its_address_was_a_services_goes_on(wire: Wire) -> None:
    """To what has become another port of a cluster IP, an external IP without endpoints, a free address."""
    load_plain_service(wire)  # without any rule the kernel tracks no connection
    asked = [
        Packet(Protocol.TCP, Address("198.51.100.9"), Address(f"10.128.2.{number}"), 80, OUTSIDE.name)
        for number in (11, 12, 13)
    ]
    wire.forget(open_ones=True)
    talks = [wire.open(packet) for packet in asked]
    scenario = Scenario.load(PLAIN_SERVICE)
    service, _ = (dict(thing) for thing in scenario.objects)
    service["spec"] |= {
        "clusterIP": "10.128.2.11",
        "clusterIPs": ["10.128.2.11"],
        "ports": [{"protocol": "TCP", "port": 81}],
    }
    other = {**service, "metadata": {"name": "other", "namespace": "default"}}
    other["spec"] = {
        **service["spec"],
        "clusterIP": "10.96.0.12",
        "clusterIPs": ["10.96.0.12"],
        "ports": [{"protocol": "TCP", "port": 80}],
        "externalIPs": ["10.128.2.12"],
    }
    cidr = {**SERVICE_CIDR, "spec": {"cidrs": ["10.128.2.13/32"]}}
    scenario = Scenario((service, other, cidr), scenario.configuration).in_nftables_mode()
    ByNftables().load(wire, scenario, Family.IPV4, FLAT)
    for talk in talks:
        wire.go_on(talk)
    verdicts = [seen.fate.verdict for seen in wire.send(asked)]
    assert [Verdict.REJECTED, Verdict.REJECTED, Verdict.DROPPED] == verdicts
