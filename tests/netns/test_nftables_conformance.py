"""Packets through what kube-proxy 1.36 programs in nftables mode fare as ours do, and otherwise than in iptables mode in four ways."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from kproxy import process
from kproxy.kernel.netlink.accounting import ensure_counters
from kproxy.kernel.programs.iptables import Variant
from kproxy.model.packet import Packet, Verdict
from kproxy.oracle.decide import decide
from kproxy.ruleset.layout import FLAT
from kproxy.values import Address, Family, Protocol
from namespaces import inside
from packetfilters import ByIptables, ByNftables
from recordings import CLUSTERS, DIRECTORY, DUMP, objects_of
from scenarios import NODE, Scenario, probes
from seeds import DRAWN_SEED
from strategies import SERVICE_CIDR
from wire import LOCAL_PODS, Wire

pytestmark = pytest.mark.netns

RECORDED = [cluster for cluster in CLUSTERS if (cluster / "nftables.nft").exists()]
PACKETS = 400
"""The number of packets for each cluster."""

BY_IPTABLES = ByIptables(Variant.NFT)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with Wire() as built:
        with inside(built.namespace):
            ensure_counters()
        yield built


def recorded(cluster: Path) -> Scenario:
    """As kube-proxy was told in nftables mode, where what the file says for iptables mode does not act."""
    configuration = yaml.safe_load((cluster / "config.yaml").read_text()) | {"mode": "nftables"}
    return Scenario((*objects_of(cluster, "nftables"), SERVICE_CIDR), configuration)


@pytest.fixture(autouse=True)
def clean(wire: Wire) -> None:
    with inside(wire.namespace):
        process.run(["nft", "flush ruleset"])


def load(wire: Wire, cluster: Path) -> None:
    """Load the tables that kube-proxy programmed for both families, and nothing else."""
    with inside(wire.namespace):
        process.run(["nft", "flush ruleset"])
        process.run(["nft", "-f", str(cluster / "nftables.nft")])


@pytest.mark.parametrize("cluster", RECORDED, ids=lambda path: path.name)
def test_packets_through_kube_proxys_recorded_rules_fare_as_the_oracle_says(
    wire: Wire, cluster: Path
) -> None:
    scenario = recorded(cluster)
    store, settings = scenario.store(), scenario.settings()
    everything = [packet for family in Family for packet in probes(store, wire.host, family)]
    packets = random.Random(DRAWN_SEED).sample(everything, min(len(everything), PACKETS))
    load(wire, cluster)
    expected = [decide(store, settings, NODE, wire.host, packet) for packet in packets]
    assert [] == [
        f"{packet}\n  oracle: {fates}\n  kube-proxy: {seen}"
        for packet, fates, seen in zip(packets, expected, wire.send(packets), strict=True)
        if seen.fate not in fates
    ]


FROM_A_POD, FROM_THE_NODE, FROM_LOCALHOST = (
    ("10.128.1.77", LOCAL_PODS.name),
    ("10.199.0.2", ""),
    ("127.0.0.1", ""),
)


@pytest.mark.parametrize(
    ("cluster", "sender", "destination", "port", "by_iptables", "by_nftables"),
    [
        pytest.param(
            "clusterip", FROM_A_POD, "10.96.0.10", 81, Verdict.NOT_OURS, Verdict.REJECTED,
            id="another port of a cluster IP is refused",
        ),
        pytest.param(
            "clusterip", FROM_A_POD, "10.96.7.7", 80, Verdict.NOT_OURS, Verdict.DROPPED,
            id="an address of the service range that no Service holds is dropped",
        ),
        pytest.param(
            "nodeport", FROM_LOCALHOST, "127.0.0.1", 30080, Verdict.SENT, Verdict.NOT_OURS,
            id="a node port does not answer on 127.0.0.1",
        ),
        pytest.param(
            "external-ips-no-endpoints", FROM_THE_NODE, "192.0.2.50", 80, Verdict.NOT_OURS, Verdict.REJECTED,
            id="the node is refused at an external IP without endpoints",
        ),
        pytest.param(
            "loadbalancer-no-endpoints", FROM_THE_NODE, "192.0.2.10", 80, Verdict.NOT_OURS, Verdict.REJECTED,
            id="the node is refused at a load balancer without endpoints",
        ),
    ],
)  # fmt: skip
def test_modes_differ_where_kube_proxys_do(
    wire: Wire,
    cluster: str,
    sender: tuple[str, str],
    destination: str,
    port: int,
    by_iptables: Verdict,
    by_nftables: Verdict,
) -> None:
    directory = DIRECTORY / "catalogue" / cluster
    scenario = recorded(directory)
    source, interface = sender
    packet = Packet(Protocol.TCP, Address(source), Address(destination), port, interface)

    def verdict() -> Verdict:
        (seen,) = wire.send([packet])
        return seen.fate.verdict

    in_iptables_mode = replace(scenario, configuration={**scenario.configuration, "mode": "iptables"})
    ours, recording = (
        in_iptables_mode.rules(wire.host, Family.IPV4),
        (directory / DUMP[Family.IPV4]).read_text(),
    )
    for rules in (ours, recording):
        BY_IPTABLES.restore(wire, Family.IPV4, rules)
        assert by_iptables is verdict()
    load(wire, directory)
    assert by_nftables is verdict()
    ByNftables().load(wire, scenario, Family.IPV4, FLAT)
    assert by_nftables is verdict()
