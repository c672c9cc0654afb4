"""While all rules are written again, section by section, every packet meets a Service's old rules or its new ones."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from facts import CLUSTER_CIDRS, NODE, a_node, a_service, a_slice, an_endpoint
from kproxy.agent.iptables_proxy import IptablesProxy
from kproxy.agent.proxy import SyncReport
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.model.node import view_node
from kproxy.model.packet import Fate, Packet, Verdict
from kproxy.model.settings import Settings
from kproxy.observed.iptables_nft import NftChains
from kproxy.observed.record import Record
from kproxy.oracle.decide import decide
from kproxy.render.templates import rule_templates
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.layout import FLAT, TREE, Layout
from kproxy.state.events import Changed
from kproxy.state.store import Store
from kproxy.values import Address, Family, Protocol
from namespaces import inside
from wire import LOCAL_PODS, Wire

pytestmark = pytest.mark.netns

SERVICES, BACKENDS = 200, 3
CHAINS_A_SECTION = 10
A_BATCH = 80
PLAIN = Settings(cluster_cidrs=CLUSTER_CIDRS)
MASQUERADING = Settings(cluster_cidrs=CLUSTER_CIDRS, masquerade_all=True)
NOBODY = {Fate(Verdict.NOT_OURS)}


def cluster() -> Store:
    """Every tenth Service has no endpoint and refuses; no two share one."""
    store = Store()
    store.apply(Changed(a_node()))
    for number in range(SERVICES):
        name = f"s{number:03}"
        store.apply(Changed(a_service(name, cluster_ips=(Address(f"10.96.0.{number + 1}"),))))
        pods = [
            an_endpoint(f"10.128.{2 + each}.{number + 1}", "node-2")
            for each in range(BACKENDS if number % 10 else 0)
        ]
        store.apply(Changed(a_slice(*pods, name=f"{name}-a", service=name)))
    return store


class Node:
    """A node that holds no rule yet, and an agent's part for IPv4 that knows nothing of what is there."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.store = cluster()

    def sync(self, settings: Settings, layout: Layout) -> SyncReport:
        local = (Address("127.0.0.1"), *sorted(self.wire.host.addresses))
        view = view_node(NODE, self.store.node(NODE), local, settings, Family.IPV4)
        with inside(self.wire.namespace), closing(Record(None)) as record:
            rules = NftChains(Family.IPV4, record)
            proxy = IptablesProxy(Iptables(Variant.NFT, Family.IPV4), rules, rule_templates())
            return proxy.sync(
                self.store, set(self.store.services), Circumstances(view, settings, layout), verify=True
            )

    def fates(self, settings: Settings) -> dict[Packet, set[Fate]]:
        """The fate of a packet to each Service from a pod on this node."""
        packets = [
            Packet(Protocol.TCP, Address("10.128.1.9"), service.cluster_ips[0], 80, LOCAL_PODS.name)
            for service in self.store.services.values()
        ]
        return {packet: set(decide(self.store, settings, NODE, self.wire.host, packet)) for packet in packets}


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    for size in ("section_size", "early_section_size"):
        monkeypatch.setattr(Variant, size, lambda _variant, _held: CHAINS_A_SECTION)
    monkeypatch.setattr("kproxy.observed.iptables_reads.listed_chains", lambda _program, _chains: {})
    with Wire() as wire:
        yield Node(wire)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, (PLAIN, FLAT)),
        (None, (PLAIN, TREE)),
        ((PLAIN, FLAT), (PLAIN, FLAT)),
        ((PLAIN, FLAT), (MASQUERADING, TREE)),
        ((MASQUERADING, TREE), (PLAIN, FLAT)),
    ],
    ids=["first-flat", "first-tree", "the-same", "masquerade-and-tree", "back"],
)
def test_packets_meet_old_or_new_rules_at_every_commit_of_a_full_rewrite(
    node: Node, before: tuple[Settings, Layout] | None, after: tuple[Settings, Layout]
) -> None:
    if before:
        assert node.sync(*before).error is None
    new = node.fates(after[0])
    old = node.fates(before[0]) if before else dict.fromkeys(new, NOBODY)
    draw, sent, astray = random.Random(1), 0, []
    with ThreadPoolExecutor(1) as other_thread:
        rewriting = other_thread.submit(node.sync, *after)
        while not rewriting.done():
            packets = draw.choices(list(new), k=A_BATCH)
            for packet, seen in zip(packets, node.wire.send(packets), strict=True):
                if seen.fate not in old[packet] | new[packet]:
                    astray.append((packet, seen))
            sent += len(packets)
    report = rewriting.result()
    assert report.error is None
    assert report.chains_written > SERVICES * (BACKENDS + 1) * 0.9
    assert sent > SERVICES
    assert [] == astray
    settled = list(new)
    assert all(
        seen.fate in new[packet] for packet, seen in zip(settled, node.wire.send(settled), strict=True)
    )
