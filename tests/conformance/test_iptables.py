"""Recorded clusters, rendered, restored into a kernel and dumped: equal to kube-proxy's own dump."""

import json
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from kproxy import process
from kproxy.agent.iptables_proxy import IptablesProxy
from kproxy.cli.render import command as render_command
from kproxy.configuration import decode_configuration
from kproxy.configuration.rules import rule_settings
from kproxy.kernel.netlink.accounting import ensure_counters
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.model.node import view_node
from kproxy.observed.iptables_nft import NftChains
from kproxy.observed.record import Record
from kproxy.render.templates import rule_templates
from kproxy.ruleset.inputs import Circumstances
from kproxy.sources.yaml import load_documents
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import KIND_OF, Object
from kproxy.state.store import Store
from kproxy.values import Address, Family
from namespaces import fresh_namespace, inside
from recordings import CLUSTERS, DIRECTORY, DUMP, comparable, objects_of
from scenarios import converted

pytestmark = pytest.mark.netns

NODE_ADDRESSES = tuple(map(Address, ("127.0.0.1", "10.199.0.2", "::1", "fd00:199::2")))
EMPTY = "*filter\nCOMMIT\n*nat\nCOMMIT\n"


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    """A namespace that holds the two nfacct counters, as a node that kube-proxy ran on."""
    with fresh_namespace() as name:
        with inside(name):
            assert ensure_counters()
        yield name


def program(variant: Variant, family: Family) -> str:
    return f"{'iptables' if family is Family.IPV4 else 'ip6tables'}-{variant}"


def dump(variant: Variant, family: Family) -> str:
    return "".join(
        process.run([f"{program(variant, family)}-save", "-t", table]) for table in ("nat", "filter")
    )


def name_of(cluster: object) -> str | None:
    return str(cluster.relative_to(DIRECTORY)) if isinstance(cluster, Path) else None


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("cluster", CLUSTERS, ids=name_of)
def test_rendered_rules_restored_and_dumped_equal_kube_proxys(
    node: str, cluster: Path, family: Family, variant: Variant
) -> None:
    rendered = CliRunner().invoke(
        render_command,
        [
            *("-f", "-", "--config", str(cluster / "config.yaml")),
            *("--family", family.lower(), "--dispatch", "flat", "--nfacct", "on"),
        ],
        input=json.dumps({"kind": "List", "apiVersion": "v1", "items": objects_of(cluster)}),
        catch_exceptions=False,
    )
    assert 0 == rendered.exit_code, rendered.stderr
    with inside(node):
        restore = f"{program(variant, family)}-restore"
        process.run([restore], stdin=EMPTY)
        process.run([restore, "--noflush"], stdin=rendered.stdout)
        ours = dump(variant, family)
    assert comparable((cluster / DUMP[family]).read_text()) == comparable(ours)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("cluster", CLUSTERS, ids=name_of)
def test_rules_after_everything_went_and_came_back_in_another_order_equal_kube_proxys(
    node: str, cluster: Path, family: Family
) -> None:
    objects = [converted(thing) for thing in objects_of(cluster)]
    configured = load_documents((cluster / "config.yaml").read_bytes())[0].data
    configuration, _ = decode_configuration(configured)
    settings = rule_settings(configuration, accounting=True, conntrack_tcp_be_liberal=False)
    shuffled = random.Random(cluster.name)
    with inside(node), closing(Record(None)) as record:
        process.run([f"{program(Variant.NFT, family)}-restore"], stdin=EMPTY)
        proxy = IptablesProxy(Iptables(Variant.NFT, family), NftChains(family, record), rule_templates())
        store = Store()
        for round_of_events in (
            added(objects),
            removed(shuffled.sample(objects, len(objects))),
            added(shuffled.sample(objects, len(objects))),
        ):
            for event in round_of_events:
                store.apply(event)
            view = view_node("node-1", store.node("node-1"), NODE_ADDRESSES, settings, family)
            report = proxy.sync(store, store.take_dirty(), Circumstances(view, settings), verify=True)
            assert report.error is None
        ours = dump(Variant.NFT, family)
    assert comparable((cluster / DUMP[family]).read_text()) == comparable(ours)


def added(objects: list[Object]) -> list[Changed]:
    return [Changed(thing) for thing in objects]


def removed(objects: list[Object]) -> list[Deleted]:
    return [Deleted(KIND_OF[type(thing)], thing.key) for thing in objects]


def test_recordings_are_all_here() -> None:
    assert 123 == len(CLUSTERS)
