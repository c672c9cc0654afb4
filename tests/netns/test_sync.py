"""One family's rules in a real kernel: what is written, what is left alone, what is mended."""

import fcntl
import os
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from facts import CLUSTER_CIDRS, a_service, a_slice, a_view, an_endpoint
from kproxy import process
from kproxy.agent.iptables_proxy import IptablesProxy
from kproxy.agent.proxy import SyncReport
from kproxy.errors import EnvironmentLacking, ProgramFailed
from kproxy.kernel.netlink.chains import RuleReader
from kproxy.kernel.netlink.nfnetlink import Interrupted
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.kernel.programs.listing import listed_chains
from kproxy.model.node import NodeView
from kproxy.model.settings import Settings
from kproxy.observed.iptables_legacy import LegacyChains
from kproxy.observed.iptables_nft import NftChains
from kproxy.observed.record import Record
from kproxy.render.templates import rule_templates
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.inputs import Circumstances, Render
from kproxy.ruleset.iptables.chains import parse_chains
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.ruleset.iptables.names import CLUSTER_POLICY, service_port_hash
from kproxy.ruleset.layout import FLAT, TREE, Layout
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.values import Address, Family, NamespacedName, Protocol, ServicePortName
from namespaces import fresh_namespace, inside
from restores import restore, restoring_by

pytestmark = pytest.mark.netns

LOCK_HELD_S = 0.6
SETTINGS = Settings(cluster_cidrs=CLUSTER_CIDRS)
RENDER = rule_templates()
API_CHAIN, WEB_CHAIN = (
    CLUSTER_POLICY + service_port_hash(ServicePortName(NamespacedName("default", name), "", Protocol.TCP))
    for name in ("api", "web")
)


@pytest.fixture
def kernel() -> Iterator[None]:
    """This thread in a namespace of its own."""
    with fresh_namespace() as name, inside(name):
        yield


@pytest.fixture(params=Variant)
def node(request: pytest.FixtureRequest, kernel: None) -> Iterator["Node"]:
    with closing(Node(request.param)) as node:
        yield node


@pytest.fixture
def nft_node(kernel: None) -> Iterator["Node"]:
    with closing(Node(Variant.NFT)) as node:
        yield node


@pytest.fixture
def legacy_node(kernel: None) -> Iterator["Node"]:
    with closing(Node(Variant.LEGACY)) as node:
        yield node


class Node:
    """A node with Services `web` and `api`, each with an endpoint, and a proxy that has not synced yet."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.layout, self.settings = FLAT, SETTINGS
        self.record = Record(None)
        self.store = Store()
        for number, name in enumerate(("web", "api")):
            self.store.apply(Changed(a_service(name, cluster_ips=(Address(f"10.96.0.{10 + number}"),))))
            self.store.apply(
                Changed(a_slice(an_endpoint(f"10.128.1.{number}"), name=f"{name}-a", service=name))
            )
        self.proxy = self.new_proxy()

    def close(self) -> None:
        self.record.close()

    def use_record(self, record: Record) -> None:
        """A new agent, which has this one."""
        self.record.close()
        self.record = record
        self.proxy = self.new_proxy()

    def new_proxy(self, render: Render = RENDER) -> IptablesProxy:
        rules = (
            LegacyChains(Family.IPV4)
            if self.variant is Variant.LEGACY
            else NftChains(Family.IPV4, self.record)
        )
        return IptablesProxy(Iptables(self.variant, Family.IPV4), rules, render)

    def sync(self, *, verify: bool = False) -> SyncReport:
        circumstances = Circumstances(self.view(), self.settings, self.layout)
        report = self.proxy.sync(self.store, self.store.take_dirty(), circumstances, verify=verify)
        self.proxy.record()
        return report

    def wanted(self) -> dict[Chain, str]:
        """The chains of nat that the newest state asks for, computed afresh."""
        afresh = DesiredRuleset(RENDER)
        afresh.update(self.store, self.store.services, Circumstances(self.view(), self.settings, self.layout))
        return {chain: rules for chain, rules in afresh.chains.items() if chain.table == "nat"}

    def comes(self, chain: str) -> bool:
        """Whether it is in the kernel soon."""
        give_up_at = time.monotonic() + 10
        while chain not in Iptables(self.variant, Family.IPV4).chain_names("nat"):
            if time.monotonic() > give_up_at:
                return False
        return True

    def view(self) -> NodeView:
        return a_view(localhost_node_ports=self.settings.localhost_node_ports)

    def iptables(self, *arguments: str) -> str:
        return process.run([f"iptables-{self.variant}", "-w", "5", *arguments])

    def rules(self, table: str = "nat") -> str:
        saved = process.run([f"iptables-{self.variant}-save", "-t", table])
        return "\n".join(line for line in saved.splitlines() if not line.startswith("#"))


def succeeded(report: SyncReport) -> SyncReport:
    assert report.error is None
    return report


def test_first_sync_commits_chains_while_others_are_computed(
    nft_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Variant, "early_section_size", lambda _variant, _held: 4)
    were_there: list[bool] = []

    def render(template: str, values: dict[str, object]) -> str:
        if "dispatch" in template and not were_there:
            were_there.append(nft_node.comes(WEB_CHAIN))
        return RENDER(template, values)

    nft_node.proxy = nft_node.new_proxy(render)
    succeeded(nft_node.sync())
    assert [True] == were_there
    assert 0 == succeeded(nft_node.sync(verify=True)).chains_written
    assert nft_node.wanted().items() <= parse_chains(nft_node.rules()).items()


def test_wait_for_the_lock_is_told_apart_from_work(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "xtables.lock"
    monkeypatch.setenv("XTABLES_LOCKFILE", str(lock))
    assert 0.0 == succeeded(node.sync()).lock_wait_s
    node.store.apply(Changed(a_slice(an_endpoint("10.128.1.77"))))
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        release = threading.Timer(LOCK_HELD_S, fcntl.flock, (held, fcntl.LOCK_UN))
        release.start()
        report = succeeded(node.sync())
        release.join()
    waits = node.variant is Variant.LEGACY
    assert report.lock_wait_s == pytest.approx(LOCK_HELD_S if waits else 0.0, abs=0.2)
    assert max(report.stages_s, key=report.stages_s.__getitem__) == "lock_wait" or not waits
    assert report.took_s == pytest.approx(sum(report.stages_s.values()))
    assert report.took_s > report.lock_wait_s


def test_stages_of_a_first_sync_on_legacy_have_their_own_times(legacy_node: Node) -> None:
    def render(template: str, values: dict[str, object]) -> str:
        time.sleep(0.02)
        return RENDER(template, values)

    legacy_node.proxy = legacy_node.new_proxy(render)
    report = succeeded(legacy_node.sync())
    assert report.render_s >= 0.02
    assert {} == {stage: took_s for stage, took_s in report.stages_s.items() if took_s < 0}


def test_wait_for_the_lock_while_rules_are_computed_is_no_wait_of_the_sync(
    legacy_node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "xtables.lock"
    monkeypatch.setenv("XTABLES_LOCKFILE", str(lock))
    monkeypatch.setattr("kproxy.ruleset.iptables.desired._BATCH", 1)
    began = threading.Event()

    def look_and_lose_the_lock(jumps: Mapping[Chain, str]) -> None:
        look(jumps)
        fcntl.flock(held, fcntl.LOCK_EX)
        threading.Timer(LOCK_HELD_S, fcntl.flock, (held, fcntl.LOCK_UN)).start()
        began.set()

    def render(template: str, values: dict[str, object]) -> str:
        if began.is_set():
            began.clear()
            time.sleep(2 * LOCK_HELD_S)
        return RENDER(template, values)

    legacy_node.proxy = legacy_node.new_proxy(render)
    look = legacy_node.proxy.observed.look_at_jumps
    monkeypatch.setattr(legacy_node.proxy.observed, "look_at_jumps", look_and_lose_the_lock)
    with lock.open("w") as held:
        report = succeeded(legacy_node.sync())
    assert report.lock_wait_s == pytest.approx(0.0, abs=0.2)
    assert {} == {stage: took_s for stage, took_s in report.stages_s.items() if took_s < 0}
    assert report.render_s >= 2 * LOCK_HELD_S


def test_change_in_a_kernel_that_others_emptied_has_all_written_again_at_once(nft_node: Node) -> None:
    circumstances = Circumstances(nft_node.view(), nft_node.settings)
    succeeded(nft_node.proxy.sync(nft_node.store, nft_node.store.take_dirty(), circumstances, verify=False))
    nft_node.iptables("-t", "nat", "-N", "CNI-OTHER")  # before it is recorded
    nft_node.proxy.record()
    process.run(["iptables-nft-restore"], stdin="*nat\nCOMMIT\n*filter\nCOMMIT\n")
    nft_node.store.apply(Changed(a_slice(an_endpoint("10.128.1.77"))))
    succeeded(nft_node.sync())
    assert nft_node.wanted().items() <= parse_chains(nft_node.rules()).items()


def test_first_sync_whose_program_is_killed_while_it_writes_ahead_is_made_good(
    nft_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Variant, "early_section_size", lambda _variant, _held: 2)
    monkeypatch.setattr("kproxy.ruleset.iptables.desired._BATCH", 1)
    killed: list[bool] = []

    def render(template: str, values: dict[str, object]) -> str:
        if WEB_CHAIN in str(values) and not killed:
            killed.append(nft_node.comes(API_CHAIN))
            process.end_all()
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        return RENDER(template, values)

    nft_node.proxy = nft_node.new_proxy(render)
    with monkeypatch.context() as about_to_end:
        about_to_end.setattr("kproxy.process.acting._ending", threading.Event())
        report = nft_node.sync()
    assert isinstance(report.error, ProgramFailed)
    assert [True] == killed
    assert (API_CHAIN in nft_node.rules(), WEB_CHAIN in nft_node.rules()) == (True, False)
    assert report.took_s >= report.compute_s >= report.render_s > 0
    assert 0 <= report.chains_written - nft_node.rules().count(":KUBE-") <= 2
    succeeded(nft_node.sync())
    assert nft_node.wanted().items() <= parse_chains(nft_node.rules()).items()
    assert 0 == succeeded(nft_node.sync(verify=True)).chains_written


def test_what_an_error_of_another_kind_interrupted_is_looked_at_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeeded(node.sync())
    before = node.rules()

    def restore_and_fail(iptables: Iptables, sections: Sequence[str]) -> None:
        restore(iptables, sections)
        raise MemoryError

    node.store.apply(Changed(a_slice(an_endpoint("10.128.1.77"))))
    with monkeypatch.context() as failing:
        failing.setattr(Iptables, "restoring", restoring_by(restore_and_fail))
        with pytest.raises(MemoryError):
            node.sync()
    assert before != node.rules()
    node.store.apply(Changed(a_slice(an_endpoint("10.128.1.0"))))
    succeeded(node.sync())
    assert before == node.rules()


def test_service_that_a_defect_keeps_from_being_computed_keeps_its_rules_and_costs_no_other(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    ill = [False]

    def render(template: str, values: dict[str, object]) -> str:
        if ill[0] and WEB_CHAIN in str(values):
            raise ZeroDivisionError
        return RENDER(template, values)

    node.proxy = node.new_proxy(render)
    succeeded(node.sync())
    for name in ("api", "web"):
        node.store.apply(Changed(a_slice(an_endpoint("10.128.1.77"), name=f"{name}-a", service=name)))
    ill[0] = True
    (rejection,) = succeeded(node.sync()).quarantined
    assert NamespacedName("default", "web") == rejection.key
    assert "ZeroDivisionError" in rejection.reason
    assert "ZeroDivisionError" in caplog.text
    assert ("10.128.1.0:8080" in node.rules(), "10.128.1.77:8080" in node.rules()) == (True, True)
    ill[0] = False
    node.store.apply(Changed(a_slice(an_endpoint("10.128.1.78"))))
    assert () == succeeded(node.sync()).quarantined
    assert node.wanted().items() <= parse_chains(node.rules()).items()


def test_second_sync_without_a_change_writes_nothing(node: Node) -> None:
    assert succeeded(node.sync()).chains_written > 10
    before = node.rules()
    report = succeeded(node.sync(verify=True))
    assert (0, 0, 0) == (report.chains_written, report.chains_deleted, report.rules_written)
    assert before == node.rules()


def test_replaced_endpoint_writes_its_service_and_nothing_else(node: Node) -> None:
    succeeded(node.sync())
    node.store.apply(Changed(a_slice(an_endpoint("10.128.1.77"))))
    report = succeeded(node.sync())
    assert (2, 1) == (report.chains_written, report.chains_deleted)
    assert "10.128.1.77:8080" in node.rules()
    assert "10.128.1.0:8080" not in node.rules()


def test_removed_service_leaves_no_chain(node: Node) -> None:
    succeeded(node.sync())
    node.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "web")))
    succeeded(node.sync())
    assert "default/web" not in node.rules()
    assert WEB_CHAIN not in node.rules()


def test_new_agent_on_a_node_with_our_rules_rewrites_nothing(node: Node) -> None:
    succeeded(node.sync())
    node.proxy = node.new_proxy()
    report = succeeded(node.sync())
    assert (0, 0, 0) == (report.chains_written, report.chains_deleted, report.rules_written)


@pytest.mark.parametrize("layout", [FLAT, TREE], ids=["flat", "tree"])
def test_service_added_to_or_removed_from_many_touches_few_rules_of_the_dispatch(
    node: Node, layout: Layout
) -> None:
    node.layout = layout
    for number in range(700):
        address = Address(f"10.97.{number >> 8}.{number & 255}")
        node.store.apply(Changed(a_service(f"many-{number}", cluster_ips=(address,))))
        node.store.apply(
            Changed(a_slice(an_endpoint("10.128.1.9"), name=f"m{number}", service=f"many-{number}"))
        )
    succeeded(node.sync())
    node.store.apply(Changed(a_service("middle", cluster_ips=(Address("10.97.1.255"),))))
    node.store.apply(Changed(a_slice(an_endpoint("10.128.1.9"), name="middle-a", service="middle")))
    assert succeeded(node.sync()).rules_written < 75
    assert node.wanted().items() <= parse_chains(node.rules()).items()
    node.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "many-300")))
    assert succeeded(node.sync()).rules_written < 75
    assert node.wanted().items() <= parse_chains(node.rules()).items()


def test_new_agent_deletes_chains_of_services_that_went_meanwhile(node: Node) -> None:
    succeeded(node.sync())
    node.proxy = node.new_proxy()
    node.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "web")))
    succeeded(node.sync())
    assert WEB_CHAIN not in node.rules()
    assert "default/api cluster IP" in node.rules()


def test_foreign_rules_and_chains_are_left_alone(node: Node) -> None:
    node.iptables("-t", "nat", "-N", "CNI-HOSTPORT")
    node.iptables("-t", "nat", "-A", "CNI-HOSTPORT", "-j", "RETURN")
    node.iptables("-t", "nat", "-A", "OUTPUT", "-j", "CNI-HOSTPORT")
    node.iptables("-t", "nat", "-N", "KUBE-KUBELET-CANARY")
    node.iptables("-P", "FORWARD", "DROP")
    succeeded(node.sync())
    node.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "web")))
    succeeded(node.sync(verify=True))
    output = [rule for rule in node.rules().splitlines() if rule.startswith("-A OUTPUT")]
    assert output[0].endswith("-j KUBE-SERVICES")
    assert "-A OUTPUT -j CNI-HOSTPORT" == output[1]
    assert "-A CNI-HOSTPORT -j RETURN" in node.rules()
    assert ":KUBE-KUBELET-CANARY" in node.rules()
    assert ":FORWARD DROP" in node.rules("filter")


def test_deleted_jump_is_put_back_at_the_head(node: Node) -> None:
    succeeded(node.sync())
    before = node.rules()
    node.iptables("-t", "nat", "-D", "OUTPUT", "1")
    assert before != node.rules()
    succeeded(node.sync(verify=True))
    assert before == node.rules()


BUILT_IN = [("filter", "INPUT"), ("filter", "FORWARD"), ("filter", "OUTPUT"), ("nat", "OUTPUT")]


@pytest.mark.parametrize("gone", [(1,), (2,), (3,), (4,), (1, 2), (2, 4), (1, 3, 4)], ids=str)
@pytest.mark.parametrize("foreign", [0, 1, 3])
def test_jumps_that_are_put_back_keep_their_order_among_rules_of_others(
    node: Node, gone: tuple[int, ...], foreign: int
) -> None:
    node.settings = replace(SETTINGS, localhost_node_ports=True)
    succeeded(node.sync())
    for table, chain in BUILT_IN:
        if foreign:
            node.iptables("-t", table, "-I", chain, str(min(foreign, 2)), "-p", "47")
    before = {table: jumps_of(node, table) for table in ("nat", "filter")}
    for table, chain in BUILT_IN:
        rules = [line for line in node.iptables("-t", table, "-S", chain).splitlines() if "KUBE" in line]
        for number in gone:
            if number <= len(rules):
                node.iptables("-t", table, "-D", *shlex.split(rules[number - 1])[1:])
    succeeded(node.sync(verify=True))
    assert before == {table: jumps_of(node, table) for table in ("nat", "filter")}
    assert 0 == succeeded(node.sync(verify=True)).rules_written


def jumps_of(node: Node, table: str) -> list[str]:
    """Ours in built-in chains, in order."""
    return [line for line in node.rules(table).splitlines() if re.match("-A [A-Z]+ .*-j KUBE-", line)]


def test_flushed_tables_are_filled_again(node: Node) -> None:
    succeeded(node.sync())
    before = node.rules(), node.rules("filter")
    process.run([f"iptables-{node.variant}-restore"], stdin="*nat\nCOMMIT\n*filter\nCOMMIT\n")
    assert "KUBE-SERVICES" not in node.rules()
    succeeded(node.sync(verify=True))
    assert before == (node.rules(), node.rules("filter"))


def test_refusal_goes_only_once_traffic_is_served_also_after_a_failed_apply(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = NamespacedName("default", "web")
    (piece,) = node.store.slices_of(web)
    node.store.apply(Deleted(Kind.ENDPOINT_SLICE, piece.key))
    succeeded(node.sync())
    assert "default/web has no endpoints" in node.rules("filter")
    node.store.apply(Changed(piece))
    written: list[str] = []

    def refuse(_iptables: Iptables, sections: Sequence[str]) -> None:
        written.append("".join(sections))
        raise ProgramFailed("iptables-restore", 1, "out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(Iptables, "restoring", restoring_by(refuse))
        assert [node.sync().error is not None for _ in range(2)] == [True, True]
    assert ["*nat", "*nat"] == [text.splitlines()[0] for text in written]
    assert all("*filter" in text for text in written)
    succeeded(node.sync())
    assert "default/web has no endpoints" not in node.rules("filter")


def test_failed_apply_names_the_line_keeps_the_rules_and_is_made_good(node: Node) -> None:
    succeeded(node.sync())
    node.iptables("-t", "nat", "-A", "OUTPUT", "-j", WEB_CHAIN)
    node.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "web")))
    node.store.apply(Changed(a_slice(an_endpoint("10.128.1.77"), name="api-a", service="api")))
    error = node.sync().error
    assert isinstance(error, ProgramFailed)
    assert f"-X {WEB_CHAIN}" in error.excerpt
    assert "default/api cluster IP" in node.rules()
    node.iptables("-t", "nat", "-D", "OUTPUT", "-j", WEB_CHAIN)
    succeeded(node.sync(verify=True))
    assert WEB_CHAIN not in node.rules()
    assert "10.128.1.77:8080" in node.rules()


def test_stale_chain_that_a_foreign_rule_holds_does_not_hold_up_other_changes(node: Node) -> None:
    succeeded(node.sync())
    node.iptables("-t", "nat", "-A", "OUTPUT", "-j", WEB_CHAIN)
    node.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "web")))
    node.store.apply(Changed(a_slice(an_endpoint("10.128.1.77"), name="api-a", service="api")))
    for _ in range(3):
        assert node.sync(verify=True).error is not None
    assert "10.128.1.77:8080" in node.rules()
    assert "-A KUBE-SERVICES -d 10.96.0.10/32" not in node.rules()


def test_chain_that_someone_deleted_is_found_out_when_a_change_is_refused(node: Node) -> None:
    """A jump to a chain that is gone fails the restore; another look at the kernel mends it in the same sync."""
    ext = "KUBE-EXT" + WEB_CHAIN.removeprefix("KUBE-SVC")
    succeeded(node.sync())
    node.iptables("-t", "nat", "-F", "KUBE-SERVICES")
    node.iptables("-t", "nat", "-F", WEB_CHAIN)
    node.iptables("-t", "nat", "-X", WEB_CHAIN)
    node.store.apply(Changed(a_service("web", external_ips=(Address("203.0.113.5"),))))
    assert () == succeeded(node.sync()).quarantined
    assert f":{ext}" in node.rules()
    assert "default/api cluster IP" in node.rules()


def test_held_xtables_lock_fails_the_sync_and_a_later_one_succeeds(legacy_node: Node) -> None:
    succeeded(legacy_node.sync())
    legacy_node.store.apply(Changed(a_slice(an_endpoint("10.128.1.77"))))
    with Path(os.environ["XTABLES_LOCKFILE"]).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        error = legacy_node.sync().error
        assert isinstance(error, ProgramFailed)
        assert "xtables lock" in error.stderr
    succeeded(legacy_node.sync())
    assert "10.128.1.77:8080" in legacy_node.rules()


def test_held_xtables_lock_while_jumps_are_checked_adds_no_jump_twice(legacy_node: Node) -> None:
    succeeded(legacy_node.sync())
    before = legacy_node.rules(), legacy_node.rules("filter")
    with Path(os.environ["XTABLES_LOCKFILE"]).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert isinstance(legacy_node.sync(verify=True).error, ProgramFailed)
    succeeded(legacy_node.sync(verify=True))
    assert before == (legacy_node.rules(), legacy_node.rules("filter"))


@pytest.fixture
def recorded(nft_node: Node, tmp_path: Path) -> Node:
    """A node on nft, synced, with a record on disk."""
    nft_node.use_record(Record(tmp_path / "record"))
    succeeded(nft_node.sync())
    return nft_node


def test_new_agent_knows_recorded_rules_without_reading_them_and_writes_nothing(
    recorded: Node, tmp_path: Path
) -> None:
    recorded.record.close()
    recorded.use_record(Record(tmp_path / "record"))
    before = recorded.rules()
    assert 0 == succeeded(recorded.sync()).rules_written
    assert before == recorded.rules()


def test_new_agent_on_a_kernel_that_nobody_touched_reads_no_rule(
    recorded: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.record.close()
    recorded.use_record(Record(tmp_path / "record"))
    read: list[Chain] = []

    def content(_reader: RuleReader, chain: Chain) -> bytes:
        read.append(chain)
        return b""

    def no_names(_family: Family) -> list[Chain]:
        raise AssertionError

    monkeypatch.setattr(RuleReader, "content", content)
    with monkeypatch.context() as without_names:
        without_names.setattr("kproxy.observed.iptables_reads.chains", no_names)
        assert 0 == succeeded(recorded.sync(verify=True)).chains_written
        assert 0 == succeeded(recorded.sync(verify=True)).chains_written
    assert [] == read
    recorded.iptables("-t", "nat", "-N", "CNI-OTHER")
    succeeded(recorded.sync(verify=True))
    assert [] != read


def test_new_agent_deletes_what_went_while_there_was_none(recorded: Node) -> None:
    recorded.proxy = recorded.new_proxy()
    recorded.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "web")))
    assert succeeded(recorded.sync()).chains_deleted >= 2
    assert WEB_CHAIN not in recorded.rules()


def test_change_by_others_is_mended_though_the_agent_that_found_it_was_killed(recorded: Node) -> None:
    before = recorded.rules()
    recorded.iptables("-t", "nat", "-F", WEB_CHAIN)
    found = NftChains(Family.IPV4, recorded.record).look(recorded.wanted())
    assert "" == found[Chain("nat", WEB_CHAIN)]
    recorded.proxy = recorded.new_proxy()
    succeeded(recorded.sync())
    assert before == recorded.rules()


def test_reading_that_a_commit_of_others_interrupts_once_is_repeated(
    recorded: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.iptables("-t", "nat", "-N", "CNI-OTHER")
    recorded.proxy = recorded.new_proxy()
    interrupted: set[Chain] = set()
    read = RuleReader.content

    def content(reader: RuleReader, chain: Chain) -> bytes:
        if chain not in interrupted:
            interrupted.add(chain)
            raise Interrupted
        return read(reader, chain)

    monkeypatch.setattr(RuleReader, "content", content)
    assert 0 == succeeded(recorded.sync()).chains_written
    assert len(interrupted) > 10


def test_chain_that_commits_of_others_keep_from_being_read_is_not_believed_to_be_ours(
    recorded: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = RuleReader.content

    def content(reader: RuleReader, chain: Chain) -> bytes:
        if chain.name == WEB_CHAIN:
            raise Interrupted
        return read(reader, chain)

    monkeypatch.setattr(RuleReader, "content", content)
    recorded.store.apply(Changed(a_slice(an_endpoint("10.128.1.77"))))
    circumstances = Circumstances(recorded.view(), recorded.settings)
    dirty = recorded.store.take_dirty()
    succeeded(recorded.proxy.sync(recorded.store, dirty, circumstances, verify=False))
    recorded.iptables("-t", "nat", "-N", "CNI-OTHER")
    recorded.proxy.record()
    before = recorded.rules()
    recorded.iptables("-t", "nat", "-F", WEB_CHAIN)
    recorded.proxy = recorded.new_proxy()
    succeeded(recorded.sync())
    assert before == recorded.rules()


def test_change_behind_a_check_that_looks_at_some_chains_each_time_is_found(
    recorded: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kproxy.observed.iptables_nft._CHAINS_A_LOOK", 4)
    before = recorded.rules("filter")
    recorded.iptables("-t", "nat", "-N", "CNI-OTHER")
    succeeded(recorded.sync(verify=True))
    recorded.iptables("-F", "KUBE-FORWARD")
    assert 1 == sum(succeeded(recorded.sync(verify=True)).chains_written for _ in range(8))
    assert before == recorded.rules("filter")


def test_new_agent_without_a_record_writes_nothing(recorded: Node) -> None:
    recorded.use_record(Record(None))
    before = recorded.rules()
    assert 0 == succeeded(recorded.sync()).chains_written
    assert before == recorded.rules()


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program commits to nftables whenever our agent reads its rules."""

    def commit_and_list(program: str, chains: Sequence[Chain]) -> dict[Chain, str | None]:
        process.run(["nft", "add table ip busy; delete table ip busy"])
        listed = listed_chains(program, chains)
        process.run(["nft", "add table ip busy; delete table ip busy"])
        return listed

    monkeypatch.setattr("kproxy.observed.iptables_reads.listed_chains", commit_and_list)


def test_rules_without_a_record_are_not_changed_by_others_though_others_commit(
    recorded: Node, busy: None, caplog: pytest.LogCaptureFixture
) -> None:
    recorded.use_record(Record(None))
    before = recorded.rules(), recorded.rules("filter")
    reports = [succeeded(recorded.sync())]
    for _ in range(3):
        process.run(["nft", "add table ip busy; delete table ip busy"])
        reports.append(succeeded(recorded.sync(verify=True)))
    assert [(0, 0)] * 4 == [(report.chains_written, report.drifted) for report in reports]
    assert before == (recorded.rules(), recorded.rules("filter"))
    assert [] == caplog.records


def test_rules_of_many_chains_without_a_record_are_not_changed_by_others(
    nft_node: Node, busy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kproxy.observed.iptables_nft._CHAINS_A_LOOK", 1000)
    for number in range(1700):
        name, address = f"many-{number}", f"{number // 250}.{number % 250 + 1}"
        nft_node.store.apply(Changed(a_service(name, cluster_ips=(Address(f"10.97.{address}"),))))
        nft_node.store.apply(Changed(a_slice(an_endpoint(f"10.129.{address}"), name=name, service=name)))
    assert succeeded(nft_node.sync()).chains_written > 3400
    nft_node.use_record(Record(None))
    reports = [succeeded(nft_node.sync())]
    for _ in range(5):
        process.run(["nft", "add table ip busy; delete table ip busy"])
        reports.append(succeeded(nft_node.sync(verify=True)))
    assert [(0, 0, 0)] * 6 == [(each.chains_written, each.chains_deleted, each.drifted) for each in reports]
    nft_node.iptables("-t", "nat", "-F", WEB_CHAIN)
    reports = [succeeded(nft_node.sync(verify=True)) for _ in range(5)]
    assert (1, 1) == (sum(each.chains_written for each in reports), sum(each.drifted for each in reports))


def test_rules_that_lose_their_record_while_the_agent_runs_are_not_changed_by_others(recorded: Node) -> None:
    for chain in parse_chains(recorded.rules()):
        recorded.record.forget(Family.IPV4, [chain])
    process.run(["nft", "add table ip busy; delete table ip busy"])
    report = succeeded(recorded.sync(verify=True))
    assert (0, 0) == (report.chains_written, report.drifted)
    recorded.iptables("-t", "nat", "-F", WEB_CHAIN)
    report = succeeded(recorded.sync(verify=True))
    assert (1, 1) == (report.chains_written, report.drifted)


def test_rules_that_no_program_lists_are_neither_changed_by_others_nor_forgotten(
    recorded: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    for chain in parse_chains(recorded.rules()):
        recorded.record.forget(Family.IPV4, [chain])
    with monkeypatch.context() as without_program:
        without_program.setattr("kproxy.observed.iptables_reads.listed_chains", lambda _program, _chains: {})
        for _ in range(2):
            process.run(["nft", "add table ip busy; delete table ip busy"])
            report = succeeded(recorded.sync(verify=True))
            assert (0, 0) == (report.chains_written, report.drifted)
        recorded.iptables("-t", "nat", "-F", WEB_CHAIN)
    report = succeeded(recorded.sync(verify=True))
    assert (1, 1) == (report.chains_written, report.drifted)


def test_two_agents_side_by_side_leave_each_others_equal_rules_alone(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Node(node.variant)) as other:
        succeeded(node.sync())
        assert 0 == succeeded(other.sync()).chains_written
        for address in ("10.128.1.77", "10.128.1.78"):
            for each in (node, other):
                each.store.apply(Changed(a_slice(an_endpoint(address))))
            assert succeeded(node.sync()).chains_written > 0
            settled = [succeeded(each.sync(verify=True)) for _ in range(3) for each in (other, node)]
            assert [0] * 6 == [report.drifted for report in settled]
            assert [0] * 6 == [report.chains_written for report in settled]
    assert [] == caplog.records


def test_two_agents_that_both_wrote_a_change_leave_it_alone_afterwards(node: Node) -> None:
    with closing(Node(node.variant)) as other:
        for each in (node, other):
            succeeded(each.sync())
        for each in (node, other):
            each.store.apply(Changed(a_slice(an_endpoint("10.128.1.77"))))
            succeeded(each.sync())
        reports = [succeeded(each.sync(verify=True)) for _ in range(3) for each in (node, other)]
        assert [(0, 0)] * 6 == [(report.chains_written, report.drifted) for report in reports]
        assert node.wanted().items() <= parse_chains(node.rules()).items()


def test_chain_that_others_put_a_rule_of_nft_into_is_put_right(recorded: Node) -> None:
    before = recorded.rules()
    process.run(["nft", f"insert rule ip nat {WEB_CHAIN} ct state vmap {{ established : accept }}"])
    report = succeeded(recorded.sync(verify=True))
    assert (1, 1) == (report.chains_written, report.drifted)
    assert before == recorded.rules()


def test_new_agent_mends_just_the_chain_that_was_changed_while_none_ran(recorded: Node) -> None:
    before = recorded.rules()
    recorded.iptables("-t", "nat", "-F", WEB_CHAIN)
    recorded.iptables("-t", "nat", "-N", "CNI-OTHER")
    recorded.iptables("-t", "nat", "-X", "CNI-OTHER")
    recorded.proxy = recorded.new_proxy()
    assert 1 == succeeded(recorded.sync()).chains_written
    assert before == recorded.rules()


def test_new_agent_writes_what_its_predecessor_was_killed_before_recording(recorded: Node) -> None:
    key = Chain("nat", WEB_CHAIN)
    recorded.record.forget(Family.IPV4, [key])
    recorded.proxy = recorded.new_proxy()
    assert 1 == succeeded(recorded.sync()).chains_written


def test_rules_replaced_one_for_one_are_found_and_put_right(recorded: Node) -> None:
    before = recorded.rules()
    recorded.iptables("-t", "nat", "-R", WEB_CHAIN, "2", "-j", "RETURN")
    assert before != recorded.rules()
    assert 1 == succeeded(recorded.sync(verify=True)).chains_written
    assert before == recorded.rules()
    assert 0 == succeeded(recorded.sync(verify=True)).chains_written


def test_what_others_did_before_rules_were_read_back_is_not_taken_for_ours(
    nft_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:

    def restore_and_spoil(iptables: Iptables, sections: Sequence[str]) -> None:
        restore(iptables, sections)
        nft_node.iptables("-t", "nat", "-R", WEB_CHAIN, "2", "-j", "RETURN")

    with monkeypatch.context() as patched:
        patched.setattr(Iptables, "restoring", restoring_by(restore_and_spoil))
        assert succeeded(nft_node.sync()).chains_written > 10
    spoilt = nft_node.rules()
    report = succeeded(nft_node.sync(verify=True))
    assert (1, 1) == (report.chains_written, report.drifted)
    assert spoilt != nft_node.rules()
    nft_node.use_record(Record(None))
    assert 0 == succeeded(nft_node.sync()).chains_written


def test_deleted_chain_and_one_that_nobody_knows_are_found(recorded: Node) -> None:
    before = recorded.rules()
    recorded.iptables("-t", "nat", "-F", "KUBE-SERVICES")
    recorded.iptables("-t", "nat", "-F", WEB_CHAIN)
    recorded.iptables("-t", "nat", "-X", WEB_CHAIN)
    recorded.iptables("-t", "nat", "-N", "KUBE-SEP-OLDOLDOLDOLDOLDO")
    succeeded(recorded.sync(verify=True))
    assert before == recorded.rules()


def test_packets_that_are_counted_change_no_rule(recorded: Node) -> None:
    process.run(
        ["iptables-nft-restore", "--noflush", "--counters"], stdin="*nat\n[7:700] -A KUBE-MARK-MASQ\nCOMMIT\n"
    )
    recorded.iptables("-t", "nat", "-D", "KUBE-MARK-MASQ", "2")
    assert 0 == succeeded(recorded.sync(verify=True)).rules_written


def test_record_that_another_agent_holds_is_refused(recorded: Node, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacking, match="locked"):
        Record(tmp_path / "record")


@pytest.mark.parametrize("comment", [b"caf\xe9", b"two\nlines", b"a\x0cb", "a\u2028b".encode(), b"cr\rhere"])
def test_foreign_comment_of_any_bytes_is_passed_over(node: Node, comment: bytes) -> None:
    rule = ["-w", "5", "-t", "nat", "-A", "OUTPUT", "-j", "RETURN", "-m", "comment", "--comment"]
    subprocess.run([f"iptables-{node.variant}".encode(), *map(str.encode, rule), comment], check=True)
    assert succeeded(node.sync()).chains_written > 10
    node.proxy = node.new_proxy()
    assert 0 == succeeded(node.sync(verify=True)).rules_written


def test_foreign_chains_with_names_like_those_of_trees_are_left_alone(node: Node) -> None:
    for name in ("KUBE-N-MINE", "KUBE-S-", "KUBE-X-a/b"):
        node.iptables("-t", "nat", "-N", name)
    succeeded(node.sync())
    succeeded(node.sync(verify=True))
    assert all(f":{name} " in node.rules() for name in ("KUBE-N-MINE", "KUBE-S-", "KUBE-X-a/b"))


def test_rule_of_the_kubelet_stays_where_node_ports_are_off_localhost(node: Node) -> None:
    martians = "! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
    node.iptables("-N", "KUBE-FIREWALL")
    node.iptables("-A", "KUBE-FIREWALL", *martians.split())
    node.settings = Settings(cluster_cidrs=CLUSTER_CIDRS, localhost_node_ports=False)
    succeeded(node.sync())
    assert 0 == succeeded(node.sync(verify=True)).drifted
    assert "-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8" in node.rules("filter")
    assert "-A INPUT -j KUBE-FIREWALL" in node.rules("filter")
