"""One family's table in a real kernel: what is written, what is left alone, what is mended, who is refused."""

import logging
import os
import random
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from subprocess import Popen
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from facts import CLUSTER_CIDRS, a_node, a_service, a_slice, a_view, an_endpoint
from kproxy import process
from kproxy.agent import suspects
from kproxy.agent.nftables_proxy import NftablesProxy
from kproxy.agent.proxy import SyncReport
from kproxy.agent.suspects import FIRST_PAUSE_S
from kproxy.cleanup.clean_up import end_nftables_mode
from kproxy.errors import InputError, ProgramFailed
from kproxy.kernel.netlink.nfnetlink import Netlink
from kproxy.kernel.programs.nft import NftTable
from kproxy.model.settings import Settings
from kproxy.observed.nftables import Commits
from kproxy.render.templates import rule_templates
from kproxy.ruleset.inputs import Circumstances, Render
from kproxy.ruleset.nftables.compiler import remembered
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.ruleset.nftables.ownership import REFERENCE_TABLE
from kproxy.ruleset.nftables.table import Block
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import KIND_OF, Endpoint, Kind, ServicePort, ServiceType
from kproxy.state.store import Store
from kproxy.transaction.nftables.run import Run
from kproxy.transaction.nftables.whole import whole_table
from kproxy.values import Address, Family, NamespacedName, Network, Protocol
from namespaces import DIES_WITH_ITS_PARENT, fresh_namespace, inside
from nftlisting import listing
from scenarios import RENDER, Scenario, converted
from strategies import scenarios
from wire import LOCAL_PODS, OTHER_NODES, OUTSIDE
from wire.node import host_of

pytestmark = pytest.mark.netns

SETTINGS = Settings(
    cluster_cidrs=CLUSTER_CIDRS, is_nftables=True, node_port_primary=True, localhost_node_ports=False
)
HOST = host_of((OUTSIDE, LOCAL_PODS, OTHER_NODES))
CLIENTS = "ip kproxy affinity/default/web/tcp/"
"""The set of who stays with an endpoint of `web`."""

WEB = NamespacedName("default", "web")

NO_PORT = 70_000
"""No Service that was decoded has it; nft refuses it."""


class RecordingTable(NftTable):
    """The real table, what was run in it, and a word that it takes exception to."""

    def __init__(self, family: Family = Family.IPV4) -> None:
        super().__init__(family)
        self.applied: list[str] = []
        self.waited_after: list[int] = []
        """Which runs of the last sync packets had to pass before the next."""
        self.looks = 0
        self.refused = "never"
        self.busy = 0
        """How often a chain that nothing leads to is taken for one that something does, as before Linux 6.2."""
        self.followed_by = ""
        """A change that somebody else makes right after the next run."""

    def apply(self, run: Run) -> None:
        self._judge(run.text)
        if self.busy and "delete chain" in run.text:
            self.busy -= 1
            raise ProgramFailed("nft -f -", 1, "Could not process rule: Device or resource busy")
        self.applied.append(run.text)
        super().apply(run)
        if self.followed_by and REFERENCE_TABLE not in run.text:
            harm, self.followed_by = self.followed_by, ""
            nft(harm)

    def let_packets_pass(self) -> None:
        self.waited_after.append(len(self.applied))
        super().let_packets_pass()

    def check(self, text: str) -> None:
        self._judge(text)
        super().check(text)

    def blocks(self) -> list[Block]:
        self.looks += 1
        return super().blocks()

    def _judge(self, text: str) -> None:
        if self.refused in text:
            raise ProgramFailed("nft -f -", 1, f"/dev/stdin:1:1-9: Error: {self.refused} is not wanted here")


class ElementsByNetlink(NftTable):
    """The real table, whose elements have no other way there."""

    def apply(self, run: Run) -> None:
        if run.commands:
            self.commit(run.commands)
        else:
            super().apply(run)


class Node:
    """A node with Services `web` and `api`, each with two endpoints, and a proxy that has synced."""

    def __init__(self, render: Render = RENDER) -> None:
        self.store = Store()
        self.render = render
        self.ours = Commits()
        self.now_s = 0.0
        for number, name in enumerate(("web", "api")):
            self.serve(name, number)
            self.endpoints(
                name, an_endpoint(f"10.128.1.{number}"), an_endpoint(f"10.128.2.{number}", "node-2")
            )
        self.view = a_view(node_port_primary=True)
        self.restart()
        self.sync()

    def serve(self, name: str, number: int, port: int = 80, **fields: object) -> None:
        ports = (ServicePort("", Protocol.TCP, port),)
        service = a_service(name, cluster_ips=(Address(f"10.96.0.{10 + number}"),), ports=ports, **fields)
        self.store.apply(Changed(service))

    def endpoints(self, name: str, *endpoints: Endpoint) -> None:
        self.store.apply(Changed(a_slice(*endpoints, name=f"{name}-a", service=name)))

    def restart(self) -> None:
        self.table = RecordingTable()
        self.proxy = NftablesProxy(self.table, self.render, self.ours, lambda: self.now_s)

    def sync(self, *, verify: bool = False) -> SyncReport:
        self.table.applied.clear()
        self.table.waited_after.clear()
        circumstances = Circumstances(self.view, SETTINGS)
        return self.proxy.sync(self.store, self.store.take_dirty(), circumstances, verify=verify)

    def holds(self) -> list[str]:
        """The keys of the map that dispatches."""
        found = process.run(["nft", "list", "map", "ip", "kproxy", "service-ips"])
        return [f"10.96.0.{number}" for number in range(10, 20) if f"10.96.0.{number} ." in found]


@pytest.fixture
def kernel() -> Iterator[None]:
    """This thread in a namespace of its own."""
    with fresh_namespace() as name, inside(name):
        yield


@pytest.fixture
def node(kernel: None) -> Node:
    return Node()


def nft(*command: str) -> str:
    return process.run(["nft", *command])


def afresh(store: Store, circumstances: Circumstances, family: Family) -> dict[str, Any]:
    """The table of a clean node that knows only this state; here it replaces the table."""
    table = DesiredTable(RENDER, circumstances)
    table.update(store, store.services, circumstances)
    nft("flush", "ruleset")
    NftTable(family).apply(whole_table(family, table.blocks, table.elements()).runs[0])
    return listing(family)


def test_packets_meet_a_first_table_when_everything_is_in_it(kernel: None) -> None:
    table = Node().table
    blocks, elements, hooks = table.applied
    assert [] == table.waited_after
    assert ["{\n\ttype " in text for text in (blocks, elements, hooks)] == [False, False, True]
    assert [" element " in text for text in (blocks, elements, hooks)] == [False, True, False]


@pytest.mark.parametrize("refused", ["map service-ips {", " element ", " hook "])
def test_first_table_that_is_refused_halfway_is_completed_by_the_next_sync(node: Node, refused: str) -> None:
    nft("delete", "table", "ip", "kproxy")
    node.restart()
    node.table.refused = refused
    assert node.sync().error is not None
    node.table.refused = "never"
    assert node.sync().error is None
    held = listing(Family.IPV4)
    assert afresh(node.store, Circumstances(node.view, SETTINGS), Family.IPV4) == held


def test_sync_without_a_change_runs_nothing(node: Node) -> None:
    node.sync(verify=True)
    node.endpoints("web", an_endpoint("10.128.1.0"), an_endpoint("10.128.2.0", "node-2"))
    assert (None, []) == (node.sync().error, node.table.applied)


def test_replaced_endpoint_is_one_element(node: Node) -> None:
    node.endpoints("web", an_endpoint("10.128.1.0"), an_endpoint("10.128.2.9", "node-2"))
    node.sync()
    (text,) = node.table.applied
    assert text == (
        "delete element ip kproxy endpoints-2 {\n\t10.96.0.10 . tcp . 80 . 1,\n}\n"
        "create element ip kproxy endpoints-2 {\n\t10.96.0.10 . tcp . 80 . 1 : 10.128.2.9 . 8080,\n}\n"
    )


def test_change_of_elements_alone_needs_no_program(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new endpoint, a new Service, one that moves to another map that is there, one that goes."""
    for count in (1, 3):
        node.serve(f"has-{count}", 10 + count)
        node.endpoints(
            f"has-{count}", *(an_endpoint(f"10.128.2.{number}", "node-2") for number in range(count))
        )
    node.sync()
    monkeypatch.setattr(process, "find", lambda _: None)
    node.endpoints("web", an_endpoint("10.128.1.0"), an_endpoint("10.128.2.9", "node-2"))
    node.serve("more", 2)
    node.endpoints("more", an_endpoint("10.128.2.2"), an_endpoint("10.128.2.3", "node-2"))
    assert (None, 1) == (node.sync().error, len(node.table.applied))
    node.endpoints("more", an_endpoint("10.128.2.2"))
    assert (None, 2) == (node.sync().error, len(node.table.applied))
    node.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "api")))
    assert (None, 2) == (node.sync().error, len(node.table.applied))
    looks = node.table.looks
    assert (None, 0) == (node.sync(verify=True).error, node.table.looks - looks)
    monkeypatch.undo()
    assert ["10.96.0.10", "10.96.0.12"] == node.holds()


@pytest.mark.alone
def test_replaced_endpoint_takes_a_fraction_of_the_time_that_nft_does(node: Node) -> None:
    """Nothing waits until the kernel has forgotten what was removed."""
    took: dict[str, list[float]] = {"ours": [], "nft": []}
    for number in range(10, 20):
        node.endpoints("web", an_endpoint("10.128.1.0"), an_endpoint(f"10.128.2.{number}", "node-2"))
        began = time.perf_counter()
        node.sync()
        synced = time.perf_counter()
        process.run(["nft", "-f", "-"], stdin=node.table.applied[0])
        took["ours"].append(synced - began)
        took["nft"].append(time.perf_counter() - synced)
    assert 3 * median(took["ours"]) < median(took["nft"])


def test_packets_pass_before_what_they_may_still_ask_for_changes(node: Node) -> None:
    """Where a run goes by netlink and another one follows."""
    vips = [Address(f"192.0.2.{number}") for number in range(2)]
    for count, runs, waits in ((1, 2, []), (2, 2, [1])):
        node.serve(
            *("web", 0),
            type=ServiceType.LOAD_BALANCER,
            source_ranges=(Network("10.0.0.0/8"),),
            load_balancer_vips=tuple(vips[:count]),
        )
        assert (None, runs, waits) == (node.sync().error, len(node.table.applied), node.table.waited_after)
    node.endpoints("api", an_endpoint("10.128.1.1"), an_endpoint("10.128.2.9", "node-2"))
    assert (None, 1, []) == (node.sync().error, len(node.table.applied), node.table.waited_after)
    node.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "api")))
    assert (None, 2, [1]) == (node.sync().error, len(node.table.applied), node.table.waited_after)


def test_service_with_more_endpoints_moves_to_another_map(node: Node) -> None:
    """New elements come before the verdict that leads to them; old ones go when no packet can be on its way there."""
    for name, runs in (("web", 3), ("api", 2)):
        node.endpoints(name, *(an_endpoint(f"10.128.2.{number}", "node-2") for number in (1, 2, 3)))
        assert node.sync().error is None
        assert runs == len(node.table.applied)
    held = nft("list", "table", "ip", "kproxy")
    assert "pick-3" in held
    assert "map endpoints-3" in held
    assert "pick-2" not in held
    assert "endpoints-2" not in held


@pytest.mark.parametrize("busy", [1, 4])
def test_kernel_that_notices_late_what_is_in_use_is_asked_again(
    node: Node, busy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kproxy.observed.nftables._PAUSES_S", (0.0,) * 4)
    node.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "api")))
    node.endpoints("web", an_endpoint("10.128.1.0"))
    node.table.busy = busy
    report = node.sync()
    assert report.error is None
    assert (busy == 4) == report.left_something
    assert ["10.96.0.10"] == node.holds()
    report = node.sync()
    assert (report.error, report.left_something) == (None, False)
    assert (busy == 4) == bool(node.table.applied)
    assert "pick-2" not in nft("list", "table", "ip", "kproxy")


def test_restarted_agent_keeps_whom_clients_stay_with(node: Node) -> None:
    node.serve("web", 0, affinity_timeout_s=60)
    node.sync()
    nft(f"add element {CLIENTS} {{ 192.0.2.1 . 7 timeout 1h }}")
    before = listing(Family.IPV4)
    node.restart()
    assert node.sync(verify=True).error is None
    assert before == listing(Family.IPV4)
    assert "192.0.2.1 . 7" in nft("list", "set", *CLIENTS.split())


@pytest.mark.parametrize("over", [0, 1])
def test_clients_of_an_endpoint_that_goes_are_forgotten_also_if_the_time_of_one_is_over_meanwhile(
    node: Node, over: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.serve("web", 0, affinity_timeout_s=60)
    node.sync()
    ((number,),) = remembered(["endpoint/default/web/tcp//10.128.1.0/8080"]).values()
    held = ", ".join(f"192.0.2.{client} . {number} timeout 1h" for client in range(1, 5))
    nft(f"add element {CLIENTS} {{ {held}, 192.0.2.5 . 7 timeout 1h }}")
    node.sync(verify=True)
    looks = node.table.looks
    commit, others = Netlink.commit, [f"delete element {CLIENTS} {{ 192.0.2.1 . {number} }}"][:over]

    def others_first(*about: Any) -> None:
        while others:
            nft(others.pop())
        commit(*about)

    monkeypatch.setattr(Netlink, "commit", others_first)
    node.endpoints("web", an_endpoint("10.128.2.0", "node-2"))
    assert node.sync().error is None
    assert ["192.0.2.5 . 7"] == re.findall(r"192\S+ \. \d+", nft("list", "set", *CLIENTS.split()))
    node.sync(verify=True)
    assert looks + over == node.table.looks


def test_table_of_another_make_is_replaced(node: Node) -> None:
    nft("flush", "ruleset")
    nft("add", "table", "ip", "kproxy")
    nft("add", "set", *CLIENTS.split(), "{ type inet_service; }")
    node.serve("web", 0, affinity_timeout_s=60)
    node.restart()
    assert node.sync().error is None
    assert ["10.96.0.10", "10.96.0.11"] == node.holds()


@pytest.mark.parametrize(
    "harm",
    [
        "flush ruleset",
        "flush chain ip kproxy services",
        "add rule ip kproxy services accept",
        "add chain ip kproxy stray",
        "flush map ip kproxy service-ips",
        "delete element ip kproxy endpoints-2 { 10.96.0.10 . tcp . 80 . 1 }",
        "add element ip kproxy cluster-ips { 10.96.0.99 }",
        "add chain ip kproxy filter-forward { policy drop; }",
        "delete chain ip kproxy filter-input; add chain ip kproxy filter-input { type filter hook input priority 9; }",
        "add table ip kproxy { flags dormant; }",
    ],
)
def test_what_somebody_else_does_to_the_table_is_mended(
    node: Node, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = listing(Family.IPV4)
    nft(harm)
    with caplog.at_level(logging.WARNING):
        report = node.sync(verify=True)
    assert report.error is None
    assert report.drifted
    assert before == listing(Family.IPV4)
    assert "somebody else changed our table" in caplog.text


class Fault(NamedTuple):
    """The outcome of a run of nft; `applies` is whether the kernel got the transaction."""

    run: str
    applies: bool


FAULTS = {
    "refuses": Fault("cat >/dev/null; exit 1", applies=False),
    "applies-and-exits-1": Fault("nft -f -; exit 1", applies=True),
    "killed-before": Fault("kill -9 $$", applies=False),
    "killed-after": Fault("nft -f -; kill -9 $$", applies=True),
    "hangs-before": Fault("sleep 60", applies=False),
    "hangs-after": Fault("nft -f -; sleep 60", applies=True),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("run", range(2))
def test_nft_that_has_trouble_leaves_a_table_that_the_next_sync_completes(
    node: Node, fault: Fault, run: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the run before the change on, or from that after it, be the trouble with the transaction or with what is heard of it."""
    monkeypatch.setattr("kproxy.kernel.programs.nft._LONGEST_S", 0.3)
    writes_to_come = tmp_path / "to-come"
    writes_to_come.write_text("x" * run)
    wrapper = tmp_path / "nft"
    wrapper.write_text(
        f"""#!/bin/sh
        PATH={os.environ["PATH"]}
        if [ "$1" = --check ]; then exec nft "$@"; fi
        to_come=$(cat {writes_to_come})
        printf %s "${{to_come#x}}" > {writes_to_come}
        if [ -n "$to_come" ]; then exec nft "$@"; fi
        {fault.run}"""
    )
    wrapper.chmod(0o755)
    node.endpoints("web", *(an_endpoint(f"10.128.2.{number}", "node-2") for number in (1, 2, 3)))
    with monkeypatch.context() as troubled:
        troubled.setenv("PATH", str(tmp_path), prepend=":")
        assert bool(node.sync().error) == (run == 0)
    assert node.sync(verify=True).error is None
    held = listing(Family.IPV4)
    assert "map endpoints-3" in held
    assert "map endpoints-2" in held
    assert afresh(node.store, Circumstances(node.view, SETTINGS), Family.IPV4) == held


def test_chains_that_went_are_expected_no_more(node: Node) -> None:
    node.serve("more", 2, affinity_timeout_s=60)
    for number in (1, 2):
        node.endpoints("more", an_endpoint(f"10.128.1.{number}"), an_endpoint(f"10.128.2.{number}", "node-2"))
        assert node.sync().error is None
    node.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "more")))
    assert node.sync().error is None
    nft("add", "table", "inet", "other")
    report = node.sync(verify=True)
    assert (None, 0, []) == (report.error, report.drifted, node.table.applied)


def test_change_on_top_of_what_somebody_else_did_is_mended_at_once(node: Node) -> None:
    nft("flush", "map", "ip", "kproxy", "endpoints-2")
    node.endpoints("web", an_endpoint("10.128.1.0"), an_endpoint("10.128.2.9", "node-2"))
    assert node.sync().error is None
    assert "10.128.2.9" in nft("list", "map", "ip", "kproxy", "endpoints-2")


def test_what_somebody_else_did_is_mended_also_after_a_change_that_went_well(node: Node) -> None:
    nft("flush", "chain", "ip", "kproxy", "services")
    node.endpoints("web", an_endpoint("10.128.1.0"), an_endpoint("10.128.2.9", "node-2"))
    assert node.sync().error is None
    assert node.sync(verify=True).error is None
    assert "vmap @service-ips" in nft("list", "chain", "ip", "kproxy", "services")


@pytest.mark.parametrize("is_whole", [True, False])
def test_what_somebody_else_does_right_after_us_is_not_taken_for_ours(node: Node, is_whole: bool) -> None:
    if is_whole:
        node.restart()
    node.view = a_view(node_port_primary=False)
    node.table.followed_by = "flush chain ip kproxy services"
    assert node.sync().error is None
    assert "vmap" not in nft("list", "chain", "ip", "kproxy", "services")
    node.sync(verify=True)
    assert "vmap @service-ips" in nft("list", "chain", "ip", "kproxy", "services")


def test_what_somebody_else_did_together_with_what_we_were_about_to_do_is_seen(node: Node) -> None:
    """The kernel counts no transaction that changes nothing; so ours may not be one, or theirs would be taken for it."""
    node.serve("more", 2)
    node.endpoints("more", an_endpoint("10.128.1.2"), an_endpoint("10.128.2.2", "node-2"))
    assert node.sync().error is None
    (text,) = node.table.applied
    node.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "more")))
    assert node.sync().error is None
    nft(f"{text}flush chain ip kproxy services")
    node.serve("more", 2)
    assert node.sync().error is None
    assert node.sync(verify=True).error is None
    held = listing(Family.IPV4)
    assert afresh(node.store, Circumstances(node.view, SETTINGS), Family.IPV4) == held


BEFORE_ITS_TIME = "add table ip kproxy; add chain ip kproxy services; add rule ip kproxy services drop"
AFTER_A_LOOK = [
    pytest.param("blocks", BEFORE_ITS_TIME, id="a table comes"),
    pytest.param("blocks", "add chain ip kproxy another", id="a chain comes"),
    pytest.param("expressions", "insert rule ip kproxy pick-2 drop", id="a chain alters that is left alone"),
]


@pytest.mark.parametrize(("look", "harm"), AFTER_A_LOOK)
def test_what_somebody_else_does_between_our_look_and_the_rewritten_table_is_seen(
    node: Node, look: str, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if harm == BEFORE_ITS_TIME:
        nft("delete", "table", "ip", "kproxy")
    node.restart()
    with monkeypatch.context() as patch:
        looked = getattr(node.table, look)

        def look_and_be_harmed(*asked: Any) -> object:
            found = looked(*asked)
            if REFERENCE_TABLE not in asked:
                nft(harm)
            return found

        patch.setattr(node.table, look, look_and_be_harmed)
        assert node.sync().error is None
    assert node.sync(verify=True).error is None
    held = listing(Family.IPV4)
    assert afresh(node.store, Circumstances(node.view, SETTINGS), Family.IPV4) == held


@pytest.mark.parametrize("harm", ["flush chain ip kproxy pick-3", "add table inet other"])
def test_chain_that_picks_is_compared_with_what_nft_makes_of_it(node: Node, harm: str) -> None:
    """It cannot be written once more like others, because nft 1.0.6 compiles it only together with a new map."""
    node.table.followed_by = harm
    node.endpoints("web", *(an_endpoint(f"10.128.2.{number}", "node-2") for number in (1, 2, 3)))
    assert node.sync().error is None
    assert bool(node.sync(verify=True).drifted) == ("pick-3" in harm)
    nft("add", "table", "inet", "another")
    assert node.sync(verify=True).drifted == 0
    held = listing(Family.IPV4)
    assert afresh(node.store, Circumstances(node.view, SETTINGS), Family.IPV4) == held


ASKED_BY_AN_OLDER_VERSION = """
add set ip kproxy hairpin { typeof ip saddr . ip daddr; elements = { 10.128.1.1 . 10.128.1.1 }; }
add rule ip kproxy nat-postrouting ct status dnat ip saddr . ip daddr @hairpin masquerade
"""


@pytest.mark.parametrize(
    "harm",
    ["", "flush chain ip kproxy pick-2", "delete chain ip kproxy nat-output", ASKED_BY_AN_OLDER_VERSION],
    ids=["none", "flushed", "deleted", "a set of an older version"],
)
def test_restarted_agent_trusts_no_chain_of_an_older_one(node: Node, harm: str) -> None:
    node.serve("web", 0, affinity_timeout_s=60)
    node.sync()
    nft(f"add element {CLIENTS} {{ 192.0.2.1 . 7 timeout 1h }}; {harm}")
    node.restart()
    assert node.sync().error is None
    assert "192.0.2.1 . 7" in nft("list", "set", *CLIENTS.split())
    assert ["table ip kproxy"] == nft("list", "tables").splitlines()
    held = listing(Family.IPV4)
    assert afresh(node.store, Circumstances(node.view, SETTINGS), Family.IPV4) == held


def test_what_somebody_else_does_elsewhere_right_after_us_has_a_few_chains_written_once_more(
    node: Node,
) -> None:
    node.table.followed_by = "add table inet other"
    node.endpoints("web", an_endpoint("10.128.1.0"))
    assert node.sync().error is None
    assert (None, 0) == (node.sync(verify=True).error, node.sync(verify=True).drifted)
    assert [] == node.table.applied
    looks = node.table.looks
    node.sync(verify=True)
    assert looks == node.table.looks
    nft("add", "table", "inet", "another")
    node.sync(verify=True)
    assert [] == node.table.applied


def test_transactions_of_the_other_family_are_ours_too(node: Node) -> None:
    other = NftablesProxy(NftTable(Family.IPV6), RENDER, node.ours)
    circumstances = Circumstances(a_view(Family.IPV6, node_port_primary=True), SETTINGS)
    looks = node.table.looks
    for verify in (False, True):
        assert other.sync(node.store, set(node.store.services), circumstances, verify=verify).error is None
        node.sync(verify=True)
    assert looks == node.table.looks


MANY_RULES = "\tmeta mark 0xdead\n" * 2000
"""So many that reading them takes as long as somebody else's transaction."""

LOOKS = 20
"""Some meet somebody else's transaction."""

WRITING = """
import subprocess
while True:
    subprocess.run(["nft", "add table inet other; delete table inet other"])
"""


@contextmanager
def somebody_writing_elsewhere() -> Iterator[None]:
    command = [*DIES_WITH_ITS_PARENT, sys.executable, "-c", WRITING]
    with Popen(command) as writer:
        try:
            yield
            assert writer.poll() is None
        finally:
            writer.kill()


def test_table_is_not_written_again_because_others_write_while_it_is_read(kernel: None) -> None:
    def long(template: str, values: dict[str, object]) -> str:
        return RENDER(template, values).replace("chain services {\n", f"chain services {{\n{MANY_RULES}")

    node = Node(long)
    with somebody_writing_elsewhere():
        reports = [node.sync(verify=True) for _ in range(100_000) if node.table.looks < LOOKS]
    assert node.table.looks == LOOKS
    assert {(None, 0)} == {(report.error, report.drifted) for report in reports}


def test_table_is_not_read_again_until_somebody_else_wrote(node: Node) -> None:
    for other in ("one", "two"):
        nft("add", "table", "inet", other)
        before = node.table.looks
        node.sync(verify=True)
        node.sync(verify=True)
        assert before + 1 == node.table.looks


FAMILY_HEADER = 4
NAMES_NO_TABLE = {16, 17, 10 << 8 | 16}
"""NFNL_MSG_BATCH_BEGIN and _END, NFT_MSG_GETGEN."""

ALL_CHAINS = 10 << 8 | 4, b""
"""NFT_MSG_GETCHAIN: their names and hooks cannot be had by table."""


OTHER_TABLE = """
table inet other {
	set kproxys {
		type mark
		elements = { 1, 2 }
	}
	chain services {
		type filter hook input priority 7; policy accept;
		meta mark @kproxys accept
	}
}
"""


def test_tables_of_others_are_neither_asked_for_nor_touched(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by netlink nor by `nft`, at a change, a look, a repair, a restart and the end of the mode."""
    process.run(["nft", "-f", "-"], stdin=OTHER_TABLE)
    before = nft("-a", "list", "table", "inet", "other")
    asked: set[tuple[int, bytes]] = set()
    send = Netlink._message  # noqa: SLF001 # all that it says goes through here

    def listen(self: Netlink, kind: int, body: bytes, flags: int) -> bytes:
        asked.add((kind, body[FAMILY_HEADER:]))
        return send(self, kind, body, flags)

    monkeypatch.setattr(Netlink, "_message", listen)
    written = []
    for harm in ("", "flush chain ip kproxy services", "add table inet other"):
        node.endpoints("web", an_endpoint("10.128.1.7" if harm else "10.128.1.6"))
        node.sync()
        written += node.table.applied
        if harm:
            nft(harm)
        node.sync(verify=True)
        written += node.table.applied
    node.restart()
    node.sync()
    written += node.table.applied
    end_nftables_mode(Family.IPV4)
    assert before == nft("-a", "list", "table", "inet", "other")
    assert ALL_CHAINS in asked
    asked_elsewhere = {
        (kind, about)
        for kind, about in asked - {ALL_CHAINS}
        if kind not in NAMES_NO_TABLE and not re.search(rb"k(ube-)?proxy", about)
    }
    assert set() == asked_elsewhere
    assert {"kproxy", REFERENCE_TABLE} == set(re.findall(r"(?m)^[a-z].*? ip (\S+)", "".join(written)))


def test_tables_of_others_are_left_alone_and_ours_too(node: Node) -> None:
    nft("add", "table", "inet", "other")
    report = node.sync(verify=True)
    assert (None, 0, []) == (report.error, report.drifted, node.table.applied)
    nft("list", "table", "inet", "other")


def test_refused_service_keeps_its_rules_and_holds_up_nobody(node: Node) -> None:
    for number in range(2, 9):
        node.serve(f"more-{number}", number)
        node.endpoints(f"more-{number}", an_endpoint(f"10.128.1.{number}"))
    node.serve("web", 0, NO_PORT)
    report = node.sync()
    assert report.error is None
    assert [f"10.96.0.{number}" for number in range(10, 19)] == node.holds()
    assert [WEB] == [each.key for each in report.quarantined]
    assert "70000" in report.quarantined[0].reason
    node.serve("late", 9)
    node.endpoints("late", an_endpoint("10.128.1.9"))
    assert (None, 1) == (node.sync().error, len(node.table.applied))
    assert [WEB] == [each.key for each in node.sync().quarantined]
    node.serve("web", 0, 81)
    report = node.sync()
    assert (None, ()) == (report.error, report.quarantined)
    assert "10.96.0.10 . tcp . 81" in nft("list", "map", "ip", "kproxy", "service-ips")


def test_refused_service_is_tried_again_after_pauses_that_grow(node: Node) -> None:
    node.table.refused = "10.96.0.12"
    node.serve("more", 2)
    node.endpoints("more", an_endpoint("10.128.1.2"))
    node.sync()
    node.now_s += FIRST_PAUSE_S - 1
    node.sync(verify=True)
    assert [] == node.table.applied
    node.now_s += 1
    assert 1 == len(node.sync().quarantined)
    node.table.refused = "never"
    node.now_s += 2 * FIRST_PAUSE_S - 1
    node.sync(verify=True)
    assert ["10.96.0.10", "10.96.0.11"] == node.holds()
    node.now_s += 1
    assert () == node.sync().quarantined
    assert ["10.96.0.10", "10.96.0.11", "10.96.0.12"] == node.holds()


def test_refused_service_is_tried_again_at_once_when_the_circumstances_change(node: Node) -> None:
    node.table.refused = "10.96.0.12"
    node.serve("more", 2)
    node.endpoints("more", an_endpoint("10.128.1.2"))
    assert 1 == len(node.sync().quarantined)
    node.table.refused = "never"
    assert 1 == len(node.sync().quarantined)
    node.view = a_view(node_port_primary=False)
    assert () == node.sync().quarantined
    assert ["10.96.0.10", "10.96.0.11", "10.96.0.12"] == node.holds()


def test_service_that_a_template_fails_waits_also_after_the_circumstances_changed(kernel: None) -> None:
    tries = 0

    def render(name: str, values: dict[str, object]) -> str:
        nonlocal tries
        if values.get("affinity_timeout_s") == 13:
            tries += 1
            raise InputError("13")
        return RENDER(name, values)

    node = Node(render)
    node.serve("web", 0, affinity_timeout_s=12)
    node.sync()
    node.serve("web", 0, affinity_timeout_s=13)
    assert [WEB] == [each.key for each in node.sync().quarantined]
    node.view = a_view(node_port_primary=False)
    node.sync()
    assert 2 == tries
    for _ in range(3):
        assert [WEB] == [each.key for each in node.sync().quarantined]
    assert 2 == tries
    node.now_s += FIRST_PAUSE_S
    node.sync()
    assert 3 == tries


def test_refused_service_at_the_start_leaves_the_old_table_until_the_others_are_ready(node: Node) -> None:
    node.serve("web", 0, NO_PORT)
    node.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "api")))
    node.restart()
    assert node.sync().error is None
    assert [] == node.holds()
    node.serve("api", 1)
    assert node.sync().error is None
    assert ["10.96.0.11"] == node.holds()


def test_refused_service_on_a_clean_node_holds_up_nobody(node: Node) -> None:
    nft("delete", "table", "ip", "kproxy")
    node.serve("web", 0, NO_PORT)
    node.restart()
    report = node.sync()
    assert (None, [WEB]) == (report.error, [each.key for each in report.quarantined])
    assert ["10.96.0.11"] == node.holds()
    node.serve("web", 0)
    assert node.sync().error is None
    assert ["10.96.0.10", "10.96.0.11"] == node.holds()


def with_service_template(directory: Path, text: str) -> Render:
    """The templates, with this in front of those of Services that have chains of their own."""
    ours = Path(__file__).resolve().parents[2] / "templates" / "nftables" / "service-port.j2"
    (directory / "nftables").mkdir(exist_ok=True)
    (directory / "nftables" / "service-port.j2").write_text(text + ours.read_text())
    return rule_templates(directory)


@pytest.mark.parametrize(
    "fault",
    [
        "{{ nosuch }}",
        "{{ 1 / 0 }}",
        "no block",
        "chain x {\n\tnonsense\n}\n",
        "chain x {\n\tjump nowhere\n}\n",
    ],
    ids=["undefined", "division", "no block", "refused by nft", "refused by the kernel"],
)
def test_service_that_a_template_fails_keeps_its_rules_and_costs_no_other(
    kernel: None, tmp_path: Path, fault: str
) -> None:
    render = with_service_template(tmp_path, f"{{% if affinity_timeout_s == 13 %}}\n{fault}{{% endif %}}\n")
    node = Node(render)
    node.serve("web", 0, affinity_timeout_s=13)
    node.endpoints("web", an_endpoint("10.128.1.77"))
    node.serve("late", 2)
    node.endpoints("late", an_endpoint("10.128.1.9"))
    report = node.sync()
    assert (None, [WEB]) == (report.error, [each.key for each in report.quarantined])
    assert ["10.96.0.10", "10.96.0.11", "10.96.0.12"] == node.holds()
    assert "10.128.1.0 . 8080" in nft("list", "table", "ip", "kproxy")
    node.restart()
    nft("delete", "table", "ip", "kproxy")
    node.proxy = NftablesProxy(node.table, render, node.ours, lambda: node.now_s)
    report = node.sync()
    assert (None, [WEB]) == (report.error, [each.key for each in report.quarantined])
    assert ["10.96.0.11", "10.96.0.12"] == node.holds()
    node.serve("web", 0, affinity_timeout_s=14)
    report = node.sync()
    assert (None, ()) == (report.error, report.quarantined)
    assert ["10.96.0.10", "10.96.0.11", "10.96.0.12"] == node.holds()


def test_blocks_that_a_template_adds_are_written_kept_and_removed_with_ours(
    kernel: None, tmp_path: Path
) -> None:
    """A hook chain, one that only jumps on, one that asks our maps, one that drops, and a set with intervals."""
    ours = Path(__file__).resolve().parents[2] / "templates" / "nftables" / "node.j2"
    (tmp_path / "nftables").mkdir()
    template = tmp_path / "nftables" / "node.j2"
    added = (
        "chain mine-hook {\n\ttype filter hook input priority 5; policy accept;\n\tjump mine-on\n}\n"
        "chain mine-on {\n\tip saddr @mine-set jump mine-drop\n\tjump mine-asks\n}\n"
        "chain mine-asks {\n\tip daddr . meta l4proto . th dport vmap @unserved-ips\n}\n"
        "chain mine-drop {\n\tdrop\n}\n"
        "set mine-set {\n\ttypeof ip saddr\n\tflags interval\n}\n"
    )
    names = ["mine-hook", "mine-on", "mine-asks", "mine-drop", "mine-set"]
    template.write_text(ours.read_text() + added)

    def there() -> list[str]:
        listed = nft("list", "table", "ip", "kproxy")
        return [name for name in names if f" {name} {{" in listed]

    nft("flush", "ruleset")
    node = Node(rule_templates(tmp_path))
    assert (None, names) == (node.sync().error, there())
    node.endpoints("web", *(an_endpoint(f"10.128.1.{number}") for number in range(3)))
    assert (None, names) == (node.sync().error, there())
    node.restart()
    assert (None, names) == (node.sync().error, there())
    node.render = RENDER
    node.restart()
    assert (None, []) == (node.sync().error, there())
    assert ["10.96.0.10", "10.96.0.11"] == node.holds()


def test_shared_chain_that_cannot_be_rendered_costs_only_those_that_need_it(
    kernel: None, tmp_path: Path
) -> None:
    ours = Path(__file__).resolve().parents[2] / "templates" / "nftables" / "picks.j2"
    (tmp_path / "nftables").mkdir()
    (tmp_path / "nftables" / "picks.j2").write_text("{% set x = 1 / (count - 3) %}" + ours.read_text())
    node = Node(rule_templates(tmp_path))
    node.endpoints("web", *(an_endpoint(f"10.128.1.{number}") for number in range(3)))
    node.endpoints("api", *(an_endpoint(f"10.128.1.{number}") for number in range(4)))
    report = node.sync()
    assert (None, [WEB]) == (report.error, [each.key for each in report.quarantined])
    assert "pick-4" in nft("list", "table", "ip", "kproxy")
    node.endpoints("web", *(an_endpoint(f"10.128.1.{number}") for number in range(5)))
    assert () == node.sync().quarantined
    assert "pick-5" in nft("list", "table", "ip", "kproxy")


def test_more_culprits_than_one_search_has_tries_for_hold_up_others_no_longer_than_a_sync(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspects, "MOST_TRIES", 4)
    for number in range(2, 8):
        node.serve(f"culprit-{number}", number, NO_PORT)
    errors = [node.sync().error]
    node.serve("late", 9)
    node.endpoints("late", an_endpoint("10.128.1.9"))
    while errors[-1] is not None and len(errors) < 20:
        errors.append(node.sync().error)
        assert "10.96.0.19" in node.holds()
    report = node.sync()
    assert (True, None) == (errors[0] is not None, report.error)
    assert [f"culprit-{number}" for number in range(2, 8)] == [
        each.key.name for each in report.quarantined if each.key
    ]


def test_shortage_of_memory_in_the_midst_of_a_search_loses_no_change(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.serve("late", 2)
    node.endpoints("late", an_endpoint("10.128.1.9"))
    node.serve("web", 0, NO_PORT)

    def fail(_table: NftTable, _text: object) -> None:
        raise MemoryError

    with monkeypatch.context() as short:
        short.setattr(RecordingTable, "check", fail)
        with pytest.raises(MemoryError):
            node.sync()
    report = node.sync()
    assert (None, [WEB]) == (report.error, [each.key for each in report.quarantined])
    assert ["10.96.0.10", "10.96.0.11", "10.96.0.12"] == node.holds()


@pytest.mark.parametrize("code", [None, -11])
def test_nft_that_died_blames_no_service(
    node: Node, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    def die(_table: NftTable, _text: object) -> None:
        raise ProgramFailed("nft -f -", code, "")

    node.serve("web", 0, 81)
    with monkeypatch.context() as dying:
        dying.setattr(RecordingTable, "apply", die)
        dying.setattr(RecordingTable, "check", die)
        report = node.sync()
    assert (True, ()) == (report.error is not None, report.quarantined)
    assert (None, ()) == ((again := node.sync()).error, again.quarantined)
    assert "10.96.0.10 . tcp . 81" in nft("list", "map", "ip", "kproxy", "service-ips")


def test_table_that_is_refused_as_a_whole_changes_nothing_and_is_tried_again(node: Node) -> None:
    before = listing(Family.IPV4)
    good = node.view
    node.view = a_view(node=a_node(addresses=(Address("10.199.0.256"),)), node_port_primary=True)
    node.serve("more", 2)
    assert node.sync().error is not None
    assert before == listing(Family.IPV4)
    node.view = good
    assert node.sync().error is None
    assert "10.96.0.12" in nft("list", "set", "ip", "kproxy", "cluster-ips")


SEARCH = settings(
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
    max_examples=settings().max_examples // 8,  # some 300 changes, and 3,000 with --hypothesis-profile fuzz
)


@SEARCH
@given(
    one=scenarios(),
    other=scenarios(),
    family=st.sampled_from(Family),
    draw=st.randoms(use_true_random=False),
)
def test_random_changes_leave_the_table_of_a_fresh_start(
    one: Scenario, other: Scenario, family: Family, draw: random.Random
) -> None:
    """Some dozen changes to the objects, and one to what all rules depend on."""
    one, other = one.in_nftables_mode(), other.in_nftables_mode()
    note(repr(one))
    note(repr(other))
    things = [converted(thing) for thing in (*one.objects, *other.objects)]
    events: list[Changed | Deleted] = [Changed(thing) for thing in draw.sample(things, len(things))]
    events += [Deleted(KIND_OF[type(thing)], thing.key) for thing in draw.sample(things, len(things) // 2)]
    events += [Changed(converted(thing)) for thing in other.objects]
    store, table = Store(), ElementsByNetlink(family)
    proxy = NftablesProxy(table, RENDER, Commits())
    with fresh_namespace() as name, inside(name):
        for scenario, event in [*((one, event) for event in events), (other, events[-1])]:
            store.apply(event)
            verify = draw.random() < 0.2
            circumstances = scenario.circumstances(HOST, family)
            assert proxy.sync(store, store.take_dirty(), circumstances, verify=verify).error is None
        left = listing(family)
        assert afresh(store, other.circumstances(HOST, family), family) == left
