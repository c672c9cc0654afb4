"""Packets through the rules of nftables mode fare as the oracle says."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from kproxy.kernel import process
from kproxy.model.decide import decide
from kproxy.model.packet import Packet
from kproxy.values import Family
from namespaces import inside
from recordings import CLUSTERS, DIRECTORY
from scenarios import NODE, REGRESSIONS, Scenario, probes
from wire import Wire

pytestmark = pytest.mark.netns

SERVICE_CIDR = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "ServiceCIDR",
    "metadata": {"name": "kubernetes"},
    "spec": {"cidrs": ["10.96.0.0/16", "fd00:10:96::/112"]},
}


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with Wire() as built:
        yield built


def load(wire: Wire, table: str) -> None:
    with inside(wire.namespace):
        process.run(["nft", "-f", "-"], stdin=f"flush ruleset\n{table}")


def disagreements(wire: Wire, scenario: Scenario, packets: Sequence[Packet]) -> list[str]:
    """The packets that came to where the oracle does not send them."""
    store, chosen = scenario.store(), scenario.settings()
    found = []
    for packet, seen in zip(packets, wire.send(packets), strict=True):
        expected = decide(store, chosen, NODE, wire.host, packet)
        if seen.fate not in expected:
            found.append(f"{packet}\n  oracle: {expected}\n  kernel: {seen}")
    return found


def compare(wire: Wire, scenario: Scenario, family: Family) -> None:
    load(wire, scenario.table(wire.host, family))
    assert [] == disagreements(wire, scenario, probes(scenario.store(), wire.host, family))


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: str(path.relative_to(DIRECTORY)))
def test_packets_of_a_recorded_cluster_fare_as_the_oracle_says(
    wire: Wire, cluster: Path, family: Family
) -> None:
    objects = yaml.load((cluster / "objects.json").read_text(), yaml.CSafeLoader)["items"]
    configuration = yaml.safe_load((cluster / "config.yaml").read_text())
    compare(wire, Scenario((*objects, SERVICE_CIDR), configuration).in_nftables_mode(), family)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_packets_of_a_remembered_scenario_fare_as_the_oracle_says(
    wire: Wire, path: Path, family: Family
) -> None:
    compare(wire, Scenario.load(path).in_nftables_mode(), family)
