"""Packets of recorded clusters, through the rules of nftables mode."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kproxy.model.decide import decide
from kproxy.ruleset.tree import FLAT
from kproxy.values import Family
from packetfilters import ByNftables
from recordings import CLUSTERS, DIRECTORY
from scenarios import NODE, Scenario, probes
from seeds import DRAWN_SEED
from strategies import SERVICE_CIDR
from wire import Wire

pytestmark = pytest.mark.netns

MOST_PACKETS = 1000
"""Of each cluster and family; a few have ten times as many, all of which take a minute."""


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with Wire() as built:
        yield built


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: str(path.relative_to(DIRECTORY)))
def test_packets_of_a_recorded_cluster_fare_as_the_oracle_says(
    wire: Wire, cluster: Path, family: Family
) -> None:
    objects = json.loads((cluster / "objects.json").read_text())["items"]
    configuration = yaml.safe_load((cluster / "config.yaml").read_text())
    scenario = Scenario((*objects, SERVICE_CIDR), configuration).in_nftables_mode()
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
