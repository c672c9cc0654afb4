"""One family's rules in a real kernel: what is written, what is left alone, what is mended."""

import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from facts import CLUSTER_CIDRS, a_service, a_slice, a_view, an_endpoint
from kproxy.agent.family import FamilyProxy, SyncReport
from kproxy.errors import EnvironmentLacking, ProgramFailed
from kproxy.kernel import process
from kproxy.kernel.iptables import Backend, Iptables
from kproxy.kernel.nfnetlink import Interrupted
from kproxy.kernel.nftables import RuleReader
from kproxy.kernel.record import Record
from kproxy.kernel.recorded import RecordedRules
from kproxy.kernel.saved import SavedRules
from kproxy.model.node import NodeView
from kproxy.model.settings import Settings
from kproxy.render.templates import rule_templates
from kproxy.ruleset.chains import Chain, parse_chains
from kproxy.ruleset.desired import Circumstances, DesiredRuleset
from kproxy.ruleset.iptables import Render
from kproxy.ruleset.names import CLUSTER_POLICY, service_port_hash
from kproxy.ruleset.tree import FLAT, TREE, Layout
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.values import Address, Family, NamespacedName, Protocol, ServicePortName
from namespaces import fresh_namespace, inside

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


@pytest.fixture(params=Backend)
def node(request: pytest.FixtureRequest, kernel: None) -> "Node":
    return Node(request.param)


class Node:
    """A node with Services `web` and `api`, each with an endpoint, and a proxy that has not synced yet."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.layout, self.settings = FLAT, SETTINGS
        self.record = Record(None)
        self.store = Store()
        for number, name in enumerate(("web", "api")):
            self.store.apply(Changed(a_service(name, cluster_ips=(Address(f"10.96.0.{10 + number}"),))))
            self.store.apply(
                Changed(a_slice(an_endpoint(f"10.128.1.{number}"), name=f"{name}-a", service=name))
            )
        self.proxy = self.new_proxy()

    def new_proxy(self, render: Render = RENDER) -> FamilyProxy:
        rules = (
            SavedRules(Family.IPV4)
            if self.backend is Backend.LEGACY
            else RecordedRules(Family.IPV4, self.record)
        )
        return FamilyProxy(Iptables(self.backend, Family.IPV4), rules, render)

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
        while chain not in Iptables(self.backend, Family.IPV4).chain_names("nat"):
            if time.monotonic() > give_up_at:
                return False
        return True

    def view(self) -> NodeView:
        return a_view(localhost_node_ports=self.settings.localhost_node_ports)

    def iptables(self, *arguments: str) -> str:
        return process.run([f"iptables-{self.backend}", "-w", "5", *arguments])

    def rules(self, table: str = "nat") -> str:
        saved = process.run([f"iptables-{self.backend}-save", "-t", table])
        return "\n".join(line for line in saved.splitlines() if not line.startswith("#"))


def succeeded(report: SyncReport) -> SyncReport:
    assert report.error is None
    return report


def test_first_sync_commits_chains_while_others_are_computed(
    kernel: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backend, "section_size_ahead", lambda _backend, _held: 4)
    node = Node(Backend.NFT)
    were_there: list[bool] = []

    def render(template: str, values: dict[str, object]) -> str:
        if "dispatch" in template and not were_there:
            were_there.append(node.comes(WEB_CHAIN))
        return RENDER(template, values)

    node.proxy = node.new_proxy(render)
    succeeded(node.sync())
    assert [True] == were_there
    assert 0 == succeeded(node.sync(verify=True)).chains_written
    assert node.wanted().items() <= parse_chains(node.rules()).items()


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
    waits = node.backend is Backend.LEGACY
    assert report.lock_wait_s == pytest.approx(LOCK_HELD_S if waits else 0.0, abs=0.2)
    assert max(report.stages_s, key=report.stages_s.__getitem__) == "lock_wait" or not waits
    assert report.took_s == pytest.approx(sum(report.stages_s.values()))
    assert report.took_s > report.lock_wait_s


def test_change_in_a_kernel_that_others_emptied_has_all_written_again_at_once(kernel: None) -> None:
    node = Node(Backend.NFT)
    circumstances = Circumstances(node.view(), node.settings)
    succeeded(node.proxy.sync(node.store, node.store.take_dirty(), circumstances, verify=False))
    node.iptables("-t", "nat", "-N", "CNI-OTHER")  # before it is recorded
    node.proxy.record()
    process.run(["iptables-nft-restore"], stdin="*nat\nCOMMIT\n*filter\nCOMMIT\n")
    node.store.apply(Changed(a_slice(an_endpoint("10.128.1.77"))))
    succeeded(node.sync())
    assert node.wanted().items() <= parse_chains(node.rules()).items()


def test_first_sync_whose_program_is_killed_while_it_writes_ahead_is_made_good(
    kernel: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backend, "section_size_ahead", lambda _backend, _held: 2)
    monkeypatch.setattr("kproxy.ruleset.desired._BATCH", 1)
    node = Node(Backend.NFT)
    killed: list[bool] = []

    def render(template: str, values: dict[str, object]) -> str:
        if WEB_CHAIN in str(values) and not killed:
            killed.append(node.comes(API_CHAIN))
            process.end_all()
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        return RENDER(template, values)

    node.proxy = node.new_proxy(render)
    with monkeypatch.context() as about_to_end:
        about_to_end.setattr(process, "_ending", threading.Event())
        report = node.sync()
    assert isinstance(report.error, ProgramFailed)
    assert [True] == killed
    assert (API_CHAIN in node.rules(), WEB_CHAIN in node.rules()) == (True, False)
    assert report.took_s >= report.compute_s >= report.render_s > 0
    assert 0 <= report.chains_written - node.rules().count(":KUBE-") <= 2
    succeeded(node.sync())
    assert node.wanted().items() <= parse_chains(node.rules()).items()
    assert 0 == succeeded(node.sync(verify=True)).chains_written


def test_what_an_error_of_another_kind_interrupted_is_looked_at_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeeded(node.sync())
    before = node.rules()
    restore = Iptables.restore

    def restore_and_fail(iptables: Iptables, sections: Iterable[str]) -> None:
        restore(iptables, sections)
        raise MemoryError

    node.store.apply(Changed(a_slice(an_endpoint("10.128.1.77"))))
    with monkeypatch.context() as failing:
        failing.setattr(Iptables, "restore", restore_and_fail)
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


def test_flushed_tables_are_filled_again(node: Node) -> None:
    succeeded(node.sync())
    before = node.rules(), node.rules("filter")
    process.run([f"iptables-{node.backend}-restore"], stdin="*nat\nCOMMIT\n*filter\nCOMMIT\n")
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

    def refuse(_iptables: Iptables, sections: Iterable[str]) -> None:
        written.append("".join(sections))
        raise ProgramFailed("iptables-restore", 1, "out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(Iptables, "restore", refuse)
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
    """A jump to a chain that is gone fails the restore; looking anew at the kernel mends it in the same sync."""
    ext = "KUBE-EXT" + WEB_CHAIN.removeprefix("KUBE-SVC")
    succeeded(node.sync())
    node.iptables("-t", "nat", "-F", "KUBE-SERVICES")
    node.iptables("-t", "nat", "-F", WEB_CHAIN)
    node.iptables("-t", "nat", "-X", WEB_CHAIN)
    node.store.apply(Changed(a_service("web", external_ips=(Address("203.0.113.5"),))))
    assert () == succeeded(node.sync()).quarantined
    assert f":{ext}" in node.rules()
    assert "default/api cluster IP" in node.rules()


def test_held_xtables_lock_fails_the_sync_and_a_later_one_succeeds(kernel: None) -> None:
    node = Node(Backend.LEGACY)
    succeeded(node.sync())
    node.store.apply(Changed(a_slice(an_endpoint("10.128.1.77"))))
    with Path("/run/xtables.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        error = node.sync().error
        assert isinstance(error, ProgramFailed)
        assert "xtables lock" in error.stderr
    succeeded(node.sync())
    assert "10.128.1.77:8080" in node.rules()


def test_held_xtables_lock_while_jumps_are_checked_adds_no_jump_twice(kernel: None) -> None:
    node = Node(Backend.LEGACY)
    succeeded(node.sync())
    before = node.rules(), node.rules("filter")
    with Path("/run/xtables.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert isinstance(node.sync(verify=True).error, ProgramFailed)
    succeeded(node.sync(verify=True))
    assert before == (node.rules(), node.rules("filter"))


@pytest.fixture
def unreadable(kernel: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Node:
    """A node on nft, synced, with so many chains that iptables-save would take too long, and a record on disk."""
    monkeypatch.setattr("kproxy.kernel.recorded.READABLE_CHAINS", 3)
    node = Node(Backend.NFT)
    node.record = Record(tmp_path / "record")
    node.proxy = node.new_proxy()
    succeeded(node.sync())
    return node


def test_new_agent_knows_recorded_rules_without_reading_them_and_writes_nothing(
    unreadable: Node, tmp_path: Path
) -> None:
    unreadable.record.close()
    unreadable.record = Record(tmp_path / "record")
    unreadable.proxy = unreadable.new_proxy()
    before = unreadable.rules()
    assert 0 == succeeded(unreadable.sync()).rules_written
    assert before == unreadable.rules()


def test_new_agent_on_a_kernel_that_nobody_touched_reads_no_rule(
    unreadable: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable.record.close()
    unreadable.record = Record(tmp_path / "record")
    unreadable.proxy = unreadable.new_proxy()
    read: list[Chain] = []

    def digest(_reader: RuleReader, chain: Chain) -> bytes:
        read.append(chain)
        return b""

    def no_names(_family: Family) -> list[Chain]:
        raise AssertionError

    monkeypatch.setattr(RuleReader, "digest", digest)
    with monkeypatch.context() as without_names:
        without_names.setattr("kproxy.kernel.recorded.chains", no_names)
        assert 0 == succeeded(unreadable.sync(verify=True)).chains_written
        assert 0 == succeeded(unreadable.sync(verify=True)).chains_written
    assert [] == read
    unreadable.iptables("-t", "nat", "-N", "CNI-OTHER")
    succeeded(unreadable.sync(verify=True))
    assert [] != read


def test_new_agent_deletes_what_went_while_there_was_none(unreadable: Node) -> None:
    unreadable.proxy = unreadable.new_proxy()
    unreadable.store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "web")))
    assert succeeded(unreadable.sync()).chains_deleted >= 2
    assert WEB_CHAIN not in unreadable.rules()


def test_change_by_others_is_mended_though_the_agent_that_found_it_was_killed(unreadable: Node) -> None:
    before = unreadable.rules()
    unreadable.iptables("-t", "nat", "-F", WEB_CHAIN)
    found = RecordedRules(Family.IPV4, unreadable.record).look(unreadable.wanted())
    assert found[Chain("nat", WEB_CHAIN)] is None
    unreadable.proxy = unreadable.new_proxy()
    succeeded(unreadable.sync())
    assert before == unreadable.rules()


def test_reading_that_a_commit_of_others_interrupts_once_is_repeated(
    unreadable: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable.iptables("-t", "nat", "-N", "CNI-OTHER")
    unreadable.proxy = unreadable.new_proxy()
    interrupted: set[Chain] = set()
    read = RuleReader.digest

    def digest(reader: RuleReader, chain: Chain) -> bytes:
        if chain not in interrupted:
            interrupted.add(chain)
            raise Interrupted
        return read(reader, chain)

    monkeypatch.setattr(RuleReader, "digest", digest)
    assert 0 == succeeded(unreadable.sync()).chains_written
    assert len(interrupted) > 10


def test_chain_that_commits_of_others_keep_from_being_read_is_not_believed_to_be_ours(
    unreadable: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kproxy.kernel.recorded.FEW_CHAINS", 0)
    read = RuleReader.digest

    def digest(reader: RuleReader, chain: Chain) -> bytes:
        if chain.name == WEB_CHAIN:
            raise Interrupted
        return read(reader, chain)

    monkeypatch.setattr(RuleReader, "digest", digest)
    unreadable.store.apply(Changed(a_slice(an_endpoint("10.128.1.77"))))
    circumstances = Circumstances(unreadable.view(), unreadable.settings)
    dirty = unreadable.store.take_dirty()
    succeeded(unreadable.proxy.sync(unreadable.store, dirty, circumstances, verify=False))
    unreadable.iptables("-t", "nat", "-N", "CNI-OTHER")
    unreadable.proxy.record()
    before = unreadable.rules()
    unreadable.iptables("-t", "nat", "-F", WEB_CHAIN)
    unreadable.proxy = unreadable.new_proxy()
    succeeded(unreadable.sync())
    assert before == unreadable.rules()


def test_change_behind_a_check_that_looks_at_some_chains_each_time_is_found(
    unreadable: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kproxy.kernel.recorded._CHAINS_A_LOOK", 4)
    before = unreadable.rules("filter")
    unreadable.iptables("-t", "nat", "-N", "CNI-OTHER")
    succeeded(unreadable.sync(verify=True))
    unreadable.iptables("-F", "KUBE-FORWARD")
    assert 1 == sum(succeeded(unreadable.sync(verify=True)).chains_written for _ in range(8))
    assert before == unreadable.rules("filter")


def test_new_agent_without_a_record_writes_all_anew(unreadable: Node) -> None:
    unreadable.record = Record(None)
    unreadable.proxy = unreadable.new_proxy()
    before = unreadable.rules()
    assert succeeded(unreadable.sync()).chains_written > 10
    assert before == unreadable.rules()


def test_new_agent_mends_just_the_chain_that_was_changed_while_none_ran(unreadable: Node) -> None:
    before = unreadable.rules()
    unreadable.iptables("-t", "nat", "-F", WEB_CHAIN)
    unreadable.iptables("-t", "nat", "-N", "CNI-OTHER")
    unreadable.iptables("-t", "nat", "-X", "CNI-OTHER")
    unreadable.proxy = unreadable.new_proxy()
    assert 1 == succeeded(unreadable.sync()).chains_written
    assert before == unreadable.rules()


def test_new_agent_writes_what_its_predecessor_was_killed_before_recording(unreadable: Node) -> None:
    key = Chain("nat", WEB_CHAIN)
    unreadable.record.forget(Family.IPV4, [key])
    unreadable.proxy = unreadable.new_proxy()
    assert 1 == succeeded(unreadable.sync()).chains_written


def test_rules_replaced_one_for_one_are_found_and_put_right(unreadable: Node) -> None:
    before = unreadable.rules()
    unreadable.iptables("-t", "nat", "-R", WEB_CHAIN, "2", "-j", "RETURN")
    assert before != unreadable.rules()
    assert 1 == succeeded(unreadable.sync(verify=True)).chains_written
    assert before == unreadable.rules()
    assert 0 == succeeded(unreadable.sync(verify=True)).chains_written


@pytest.mark.parametrize(("few", "rewritten"), [(1000, 14), (0, 1)], ids=["few", "many"])
def test_what_others_did_before_rules_were_read_back_is_not_taken_for_ours(
    unreadable: Node, monkeypatch: pytest.MonkeyPatch, few: int, rewritten: int
) -> None:
    before = unreadable.rules()
    restore = Iptables.restore

    def restore_and_spoil(iptables: Iptables, sections: Iterable[str]) -> None:
        restore(iptables, sections)
        unreadable.iptables("-t", "nat", "-D", WEB_CHAIN, "2")
        unreadable.iptables("-t", "nat", "-I", WEB_CHAIN, "2", "-j", "RETURN")

    monkeypatch.setattr("kproxy.kernel.recorded.FEW_CHAINS", few)
    unreadable.record = Record(None)
    unreadable.proxy = unreadable.new_proxy()
    with monkeypatch.context() as patched:
        patched.setattr(Iptables, "restore", restore_and_spoil)
        assert succeeded(unreadable.sync()).chains_written == 14
    assert rewritten == succeeded(unreadable.sync(verify=True)).chains_written
    assert before == unreadable.rules()


def test_deleted_chain_and_one_that_nobody_knows_are_found(unreadable: Node) -> None:
    before = unreadable.rules()
    unreadable.iptables("-t", "nat", "-F", "KUBE-SERVICES")
    unreadable.iptables("-t", "nat", "-F", WEB_CHAIN)
    unreadable.iptables("-t", "nat", "-X", WEB_CHAIN)
    unreadable.iptables("-t", "nat", "-N", "KUBE-SEP-OLDOLDOLDOLDOLDO")
    succeeded(unreadable.sync(verify=True))
    assert before == unreadable.rules()


def test_packets_that_are_counted_change_no_rule(unreadable: Node) -> None:
    process.run(
        ["iptables-nft-restore", "--noflush", "--counters"], stdin="*nat\n[7:700] -A KUBE-MARK-MASQ\nCOMMIT\n"
    )
    unreadable.iptables("-t", "nat", "-D", "KUBE-MARK-MASQ", "2")
    assert 0 == succeeded(unreadable.sync(verify=True)).rules_written


def test_record_that_another_agent_holds_is_refused(unreadable: Node, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacking, match="locked"):
        Record(tmp_path / "record")


@pytest.mark.parametrize("comment", [b"caf\xe9", b"two\nlines", b"a\x0cb", "a\u2028b".encode(), b"cr\rhere"])
def test_foreign_comment_of_any_bytes_is_passed_over(node: Node, comment: bytes) -> None:
    rule = ["-w", "5", "-t", "nat", "-A", "OUTPUT", "-j", "RETURN", "-m", "comment", "--comment"]
    subprocess.run([f"iptables-{node.backend}".encode(), *map(str.encode, rule), comment], check=True)
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
