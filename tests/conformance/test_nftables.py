"""The part of kube-proxy's nftables tables that our tables have word for word: endpoints sent to themselves."""

import re
from pathlib import Path

import pytest
import yaml

from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.ruleset.nftables.table import FAMILY_WORD
from kproxy.values import Family
from nft_elements import a_key
from recordings import CLUSTERS, objects_of
from scenarios import RENDER, Scenario
from wire import LOCAL_PODS, OTHER_NODES, OUTSIDE
from wire.node import host_of

RECORDED = [cluster for cluster in CLUSTERS if (cluster / "nftables.nft").exists()]
HOST = host_of((OUTSIDE, LOCAL_PODS, OTHER_NODES))


def recorded_hairpins(cluster: Path, family: Family) -> set[str]:
    _, _, table = (
        (cluster / "nftables.nft").read_text().partition(f"table {FAMILY_WORD[family]} kube-proxy {{")
    )
    _, _, rest = table.partition("set hairpin-connections {")
    declared, _, _ = rest.partition("\n\t}")
    elements = re.search(r"elements = \{(.*?)\}", declared, re.DOTALL)
    return {each.strip() for each in elements[1].split(",")} if elements else set()


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("cluster", RECORDED, ids=lambda path: path.name)
def test_endpoints_that_may_be_sent_to_themselves_are_kube_proxys(cluster: Path, family: Family) -> None:
    configuration = yaml.safe_load((cluster / "config.yaml").read_text()) | {"mode": "nftables"}
    scenario = Scenario(tuple(objects_of(cluster, "nftables")), configuration)
    circumstances, store = scenario.circumstances(HOST, family), scenario.store()
    table = DesiredTable(RENDER, circumstances)
    table.update(store, store.services, circumstances)
    ours = {each.key for each in table.elements() if each.holder == "hairpin-endpoints"}
    assert {*map(a_key, recorded_hairpins(cluster, family))} == ours


def test_recordings_have_endpoints_that_may_be_sent_to_themselves() -> None:
    found = [recorded_hairpins(cluster, family) for cluster in RECORDED for family in Family]
    assert sum(map(len, found)) > 100
