"""Services whose rules cannot be rendered or are refused, in a real kernel: found, left out alone, tried again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from facts import CLUSTER_CIDRS, a_service, a_slice, a_view, an_endpoint
from kproxy import process
from kproxy.agent import suspects
from kproxy.agent.iptables_proxy import IptablesProxy
from kproxy.agent.proxy import SyncReport
from kproxy.agent.suspects import FIRST_PAUSE_S, LONGEST_PAUSE_S
from kproxy.errors import ProgramFailed
from kproxy.kernel.netlink.accounting import COUNTERS, ensure_counters, have_counters
from kproxy.kernel.netlink.nfnetlink import NFPROTO_UNSPEC, Netlink, text_attribute
from kproxy.kernel.programs.iptables import Iptables, Variant
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
from kproxy.ruleset.layout import FLAT, TREE
from kproxy.state.events import Changed, Cost, Deleted
from kproxy.state.objects import Kind, ServicePort
from kproxy.state.store import Store
from kproxy.values import Address, Family, NamespacedName, Protocol, ServicePortName
from namespaces import fresh_namespace, inside
from restores import restore, restoring_by

pytestmark = pytest.mark.netns

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
RENDER = rule_templates()

GOOD, BAD = 80, 81
"""The templates of these tests have something against port 81."""

NOT_RENDERED = {
    "undefined": "{{ nosuch }}",
    "division": "{{ 1 / 0 }}",
    "no rule": "iptables -F",
    "foreign chain": "-A FORWARD -j ACCEPT",
}
REFUSED = {
    "by iptables": "-A {{ internal_chain }} -p tcp -m tcp --dport 99999999 -j RETURN",
    "by iptables in a dispatch chain": "-A KUBE-SERVICES -d {{ cluster_ip }}/32 -p tcp -m tcp --dport 99999999 -j RETURN",
    "by iptables at the commit": "-A {{ internal_chain }} -j KUBE-NO-SUCH-CHAIN",
    "by the kernel": "-A {{ internal_chain }} -p tcp -m nfacct --nfacct-name late -j RETURN",
    "by the kernel in filter": "*filter\n-A KUBE-EXTERNAL-SERVICES -p tcp -m nfacct --nfacct-name late -j RETURN",
}
NFNL_MSG_ACCT_DEL, NFACCT_NAME = 7 << 8 | 3, 1
BY_KERNEL = REFUSED["by the kernel"]


def against_bad(directory: Path, text: str) -> Render:
    """The templates, with this text for each Service that has port 81."""
    (directory / "iptables").mkdir(exist_ok=True)
    ours = (TEMPLATES / "iptables" / "service-port.j2").read_text()
    (directory / "iptables" / "service-port.j2").write_text(
        f"{ours}*nat\n{{% if port == {BAD} %}}\n{text}\n{{% endif %}}\n"
    )
    return rule_templates(directory)


class Node:
    """Services by name, each with an endpoint of its own, and a proxy that has not synced yet."""

    def __init__(self, variant: Variant, render: Render = RENDER) -> None:
        self.variant = variant
        self.layout = FLAT
        self.settings = Settings(cluster_cidrs=CLUSTER_CIDRS)
        self.record = Record(None)
        self.store = Store()
        self.numbers: dict[str, int] = {}
        self.now_s = 0.0
        self.restart(render)

    def close(self) -> None:
        self.record.close()

    def restart(self, render: Render, counters: Callable[[], bool] = ensure_counters) -> None:
        rules = (
            LegacyChains(Family.IPV4)
            if self.variant is Variant.LEGACY
            else NftChains(Family.IPV4, self.record)
        )
        self.iptables = Counting(self.variant, Family.IPV4)
        self.proxy = IptablesProxy(self.iptables, rules, render, lambda: self.now_s, counters)

    def serve(self, *names: str, port: int = GOOD) -> None:
        for name in names:
            number = self.numbers.setdefault(name, len(self.numbers))
            ports = (ServicePort("", Protocol.TCP, port),)
            address = Address(f"10.96.{number >> 8}.{number & 255}")
            self.store.apply(Changed(a_service(name, cluster_ips=(address,), ports=ports)))
            self.endpoint(name, f"10.128.{number >> 8}.{number & 255}")

    def endpoint(self, name: str, address: str) -> None:
        self.store.apply(Changed(a_slice(an_endpoint(address), name=f"{name}-a", service=name)))

    def delete(self, name: str) -> None:
        self.store.apply(Deleted(Kind.SERVICE, key(name)))

    def sync(self, *, verify: bool = False) -> SyncReport:
        self.iptables.restores = 0
        circumstances = Circumstances(a_view(), self.settings, self.layout)
        report = self.proxy.sync(self.store, self.store.take_dirty(), circumstances, verify=verify)
        self.proxy.record()
        return report

    def quarantined(self, *, verify: bool = False) -> list[str]:
        """After a sync that succeeded."""
        report = self.sync(verify=verify)
        assert report.error is None
        return [rejection.name.removeprefix("default/") for rejection in report.quarantined]

    def rules(self) -> dict[Chain, str]:
        saved = (process.run([f"iptables-{self.variant}-save", "-t", table]) for table in ("filter", "nat"))
        return parse_chains("".join(saved).replace("--nfacct-name  ", "--nfacct-name "))

    def serves(self) -> dict[str, int]:
        """On which port each Service is dispatched to a chain that sends to an endpoint."""
        held = self.rules()
        return {
            name: port
            for name in self.numbers
            for port in (GOOD, BAD)
            if f'"default/{name} cluster IP" -m tcp --dport {port} -j {chain(name)}\n'
            in held.get(Chain("nat", "KUBE-SERVICES"), "")
            and held.get(Chain("nat", chain(name)))
        }

    def address(self, name: str) -> str:
        return f"10.96.{self.numbers[name] >> 8}.{self.numbers[name] & 255}"

    def is_as_of(self, render: Render, *, without: Iterable[str] = ()) -> bool:
        """Whether the chains of nat are those that the state asks for, without some Services."""
        afresh = DesiredRuleset(render)
        keys = self.store.services.keys() - {key(name) for name in without}
        store = Store()
        for each in keys:
            store.apply(Changed(self.store.services[each]))
            for piece in self.store.slices_of(each):
                store.apply(Changed(piece))
        afresh.update(store, keys, Circumstances(a_view(), self.settings, self.layout))
        wanted = {each: rules for each, rules in afresh.chains.items() if each.table == "nat"}
        held = {
            each: rules
            for each, rules in self.rules().items()
            if each.table == "nat" and each.name.startswith("KUBE-")
        }
        return wanted == held


class Counting(Iptables):
    """The real programs, counted."""

    restores = 0

    @contextmanager
    def restoring(self) -> Iterator[Callable[[str], None]]:
        self.restores += 1
        with super().restoring() as write:
            yield write


def key(name: str) -> NamespacedName:
    return NamespacedName("default", name)


def chain(name: str) -> str:
    return CLUSTER_POLICY + service_port_hash(ServicePortName(key(name), "", Protocol.TCP))


@pytest.fixture
def kernel() -> Iterator[None]:
    """This thread in a namespace of its own."""
    with fresh_namespace() as name, inside(name):
        yield


@pytest.fixture(params=Variant)
def node(request: pytest.FixtureRequest, kernel: None) -> Iterator[Node]:
    with closing(Node(request.param)) as made:
        yield made


every_fault = pytest.mark.parametrize(
    "fault", [*NOT_RENDERED.values(), *REFUSED.values()], ids=[*NOT_RENDERED, *REFUSED]
)


@every_fault
def test_culprit_at_the_first_sync_is_told_and_all_others_are_programmed(
    node: Node, tmp_path: Path, fault: str
) -> None:
    node.restart(against_bad(tmp_path, fault))
    node.serve("api", "db", "web")
    node.serve("culprit", port=BAD)
    report = node.sync()
    assert report.error is None
    (rejection,) = report.quarantined
    assert ("IPv4 rules", "Service", key("culprit"), Cost.CHANGE) == (
        rejection.place,
        rejection.kind,
        rejection.key,
        rejection.cost,
    )
    assert "\n" not in rejection.reason
    assert node.is_as_of(RENDER, without=["culprit"])


@every_fault
def test_culprit_in_mid_life_keeps_its_rules_until_it_is_good_again(
    node: Node, tmp_path: Path, fault: str
) -> None:
    node.restart(against_bad(tmp_path, fault))
    node.serve("api", "culprit", "web")
    assert [] == node.quarantined()
    node.serve("culprit", port=BAD)
    node.endpoint("web", "10.128.9.9")
    assert ["culprit"] == node.quarantined()
    assert "10.128.9.9" in str(node.rules())
    assert {"api": GOOD, "culprit": GOOD, "web": GOOD} == node.serves()
    node.serve("late")
    assert ["culprit"] == node.quarantined()
    assert {"api": GOOD, "culprit": GOOD, "late": GOOD, "web": GOOD} == node.serves()
    assert 1 == node.iptables.restores
    assert ["culprit"] == node.quarantined(verify=True)
    assert 0 == node.iptables.restores
    node.serve("culprit")
    node.endpoint("culprit", "10.128.8.8")
    assert [] == node.quarantined()
    assert node.is_as_of(RENDER)
    assert 0 == node.sync(verify=True).chains_written


@every_fault
def test_culprit_that_is_deleted_is_told_no_more_and_leaves_nothing(
    node: Node, tmp_path: Path, fault: str
) -> None:
    node.restart(against_bad(tmp_path, fault))
    node.serve("api", "culprit")
    node.sync()
    node.serve("culprit", port=BAD)
    assert ["culprit"] == node.quarantined()
    node.delete("culprit")
    assert [] == node.quarantined()
    assert node.is_as_of(RENDER)


@pytest.mark.parametrize("layout", [FLAT, TREE], ids=["flat", "tree"])
@pytest.mark.parametrize("fault", REFUSED.values(), ids=REFUSED)
def test_many_culprits_among_many_services_are_all_found(
    node: Node, tmp_path: Path, fault: str, layout: object
) -> None:
    node.layout = TREE if layout is TREE else FLAT
    node.restart(against_bad(tmp_path, fault))
    culprits = [f"culprit-{number}" for number in range(5)]
    for number, name in enumerate(culprits):
        node.serve(*(f"good-{number}-{each}" for each in range(8)))
        node.serve(name, port=BAD)
    assert culprits == node.quarantined()
    assert node.is_as_of(RENDER, without=culprits)
    node.now_s += FIRST_PAUSE_S
    node.endpoint("good-0-0", "10.128.9.9")
    assert culprits == node.quarantined()
    assert node.is_as_of(RENDER, without=culprits)


@pytest.mark.parametrize("fault", REFUSED.values(), ids=REFUSED)
def test_search_that_needs_more_tries_than_one_sync_has_goes_on_with_the_next(
    node: Node, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspects, "MOST_TRIES", 3)
    node.restart(against_bad(tmp_path, fault))
    culprits = [f"culprit-{number}" for number in range(4)]
    node.serve(*culprits, port=BAD)
    node.serve(*(f"good-{number}" for number in range(12)))
    errors = [node.sync().error]
    while errors[-1] is not None and len(errors) < 20:
        later = f"later-{len(errors)}"
        node.serve(later)
        errors.append(node.sync().error)
        assert node.iptables.restores <= 3 + 4
        assert later in node.serves()
    assert isinstance(errors[0], ProgramFailed)
    assert errors[-1] is None
    assert culprits == node.quarantined()
    assert node.is_as_of(RENDER, without=culprits)


@every_fault
def test_where_all_services_are_culprits_nothing_of_the_node_is_missing(
    node: Node, tmp_path: Path, fault: str
) -> None:
    node.restart(against_bad(tmp_path, fault))
    node.serve("one", "two", "three", port=BAD)
    assert ["one", "three", "two"] == node.quarantined()
    assert node.is_as_of(RENDER, without=["one", "two", "three"])


def test_culprit_is_tried_again_after_pauses_that_grow_until_the_kernel_takes_it(
    node: Node, tmp_path: Path
) -> None:
    render = against_bad(tmp_path, BY_KERNEL)
    node.restart(render)
    node.serve("api")
    node.serve("culprit", port=BAD)
    node.sync()
    pause_s = FIRST_PAUSE_S
    while pause_s < 2 * LONGEST_PAUSE_S:
        node.now_s += min(pause_s, LONGEST_PAUSE_S) - 1
        assert (["culprit"], 0) == (node.quarantined(verify=True), node.iptables.restores)
        node.now_s += 1
        assert ["culprit"] == node.quarantined()
        assert 1 <= node.iptables.restores <= 3
        pause_s *= 2
    assert ensure_counters(["late"])
    node.now_s += LONGEST_PAUSE_S
    assert [] == node.quarantined()
    assert node.is_as_of(render)


def test_retry_that_is_refused_holds_up_no_change_of_others(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.restart(against_bad(tmp_path, BY_KERNEL))
    node.serve("api")
    node.serve("culprit", port=BAD)
    node.sync()
    node.now_s += FIRST_PAUSE_S
    node.serve("late")
    seen: list[dict[str, int]] = []

    def look_and_restore(iptables: Iptables, sections: Sequence[str]) -> None:
        seen.append(node.serves())
        restore(iptables, sections)

    monkeypatch.setattr(Counting, "restoring", restoring_by(look_and_restore))
    assert ["culprit"] == node.quarantined()
    assert ["late" in serves for serves in seen] == [False, *[True] * (len(seen) - 1)]
    assert len(seen) > 1


@pytest.mark.parametrize("is_told", [True, False])
def test_rules_that_are_refused_without_any_service_at_fault_blame_none(
    node: Node, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    """The refused line is the first COMMIT, or one that was never written."""
    node.serve("api", "web")
    node.sync()
    node.endpoint("web", "10.128.9.9")

    def refuse(_iptables: Iptables, sections: Sequence[str]) -> None:
        line = sections[0].count("\n") if is_told else 1_000_000
        raise ProgramFailed("iptables-restore", 1, f"iptables-restore: line {line} failed", line=line)

    with monkeypatch.context() as refusing:
        refusing.setattr(Counting, "restoring", restoring_by(refuse))
        reports = [node.sync() for _ in range(3)]
    assert [((), False)] * 3 == [(report.quarantined, report.error is None) for report in reports]
    assert [] == node.quarantined()
    assert node.is_as_of(RENDER)


@pytest.mark.parametrize("runs", range(1, 7))
def test_refusals_that_come_to_an_end_leave_no_service_without_its_rules_if_it_was_alone(
    node: Node, monkeypatch: pytest.MonkeyPatch, runs: int
) -> None:
    """As of a kernel that is short of memory for a moment, of which iptables-legacy tells no more than the line."""
    node.serve("api")
    node.sync()
    node.serve("web")
    tries = iter(range(100))

    def refuse_first(iptables: Iptables, sections: Sequence[str]) -> None:
        if next(tries) < runs:
            first = next(iter(sections))
            line = first.count("\n")
            raise ProgramFailed("iptables-restore", 1, f"iptables-restore: line {line} failed", line=line)
        restore(iptables, sections)

    with monkeypatch.context() as refusing:
        refusing.setattr(Counting, "restoring", restoring_by(refuse_first))
        for _ in range(3):
            report = node.sync()
    assert (None, ()) == (report.error, report.quarantined)
    assert node.is_as_of(RENDER)


@pytest.mark.parametrize("code", [None, -9, -11, 1, 3, 4])
def test_program_that_was_killed_or_names_no_line_blames_no_service(
    node: Node, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    node.serve("api", "web")
    tries: list[object] = []

    def fail(_iptables: Iptables, sections: Sequence[str]) -> None:
        tries.append(next(iter(sections)))
        raise ProgramFailed("iptables-restore", code, "it did not work")

    with monkeypatch.context() as failing:
        failing.setattr(Counting, "restoring", restoring_by(fail))
        report = node.sync()
    assert (True, (), 1) == (report.error is not None, report.quarantined, len(tries))
    assert [] == node.quarantined()
    assert node.is_as_of(RENDER)


def test_program_that_dies_in_the_midst_of_a_search_loses_no_change(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names_nobody = {Variant.NFT: "by iptables at the commit", Variant.LEGACY: "by the kernel"}
    render = against_bad(tmp_path, REFUSED[names_nobody[node.variant]])
    tries = [0]

    def die_at_last(iptables: Iptables, sections: Sequence[str]) -> None:
        tries[0] -= 1
        if not tries[0]:
            raise ProgramFailed("iptables-restore", -9, "")
        restore(iptables, sections)

    monkeypatch.setattr(Counting, "restoring", restoring_by(die_at_last))
    errors = 0
    for dies_at in range(1, 8):
        node.restart(render)
        node.serve(*(f"good-{dies_at}-{number}" for number in range(6)))
        node.serve("culprit", port=BAD)
        tries[0] = dies_at
        errors += node.sync().error is not None
        assert ["culprit"] == node.quarantined()
        assert node.is_as_of(RENDER, without=["culprit"])
    assert errors > 3


@pytest.mark.parametrize("what", ["admit", "withdraw", "owner"])
def test_shortage_of_memory_in_the_midst_of_a_search_loses_no_change(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    node.restart(against_bad(tmp_path, BY_KERNEL))
    node.serve(*(f"good-{number}" for number in range(6)))
    node.serve("culprit", port=BAD)
    does = getattr(DesiredRuleset, what)

    def half(ruleset: DesiredRuleset, *arguments: object) -> None:
        does(ruleset, *arguments)
        raise MemoryError

    with monkeypatch.context() as short:
        short.setattr(DesiredRuleset, what, half)
        with pytest.raises(MemoryError):
            node.sync()
    assert ["culprit"] == node.quarantined()
    assert node.is_as_of(RENDER, without=["culprit"])


def test_new_agent_knows_the_rules_beside_a_culprit_and_rewrites_none(node: Node, tmp_path: Path) -> None:
    render = against_bad(tmp_path, BY_KERNEL)
    node.restart(render)
    node.serve("api", "db", "web")
    node.serve("culprit", port=BAD)
    node.sync()
    node.endpoint("web", "10.128.9.9")
    node.sync()
    before = node.rules()
    node.restart(render)
    assert ["culprit"] == node.quarantined()
    assert before == node.rules()
    assert [] == [each for each in node.sync(verify=True).quarantined if each.key != key("culprit")]


@pytest.mark.parametrize("room", [1 << 13, 1 << 20])
def test_new_agent_beside_a_culprit_deletes_what_is_stale_where_sockets_are_small(
    kernel: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(Iptables, "commit_room", lambda _: room)
    with closing(Node(Variant.NFT)) as node:
        node.serve("api", "web", "gone")
        assert [] == node.quarantined()
        node.delete("gone")
        node.serve("culprit", port=BAD)
        node.restart(against_bad(tmp_path, REFUSED["by iptables"]))
        assert ["culprit"] == node.quarantined()
        assert node.is_as_of(RENDER, without=["culprit"])


def test_what_a_service_was_is_not_kept_longer_than_needed(node: Node, tmp_path: Path) -> None:
    node.restart(against_bad(tmp_path, BY_KERNEL))
    node.serve("api", "web")
    node.serve("culprit", port=BAD)
    node.sync()
    assert [] == node.proxy.desired.changed
    node.serve("culprit")
    node.endpoint("web", "10.128.9.9")
    node.sync()
    assert [] == node.proxy.desired.changed


def test_change_of_the_node_while_a_culprit_is_left_out_reaches_all_others(
    node: Node, tmp_path: Path
) -> None:
    node.restart(against_bad(tmp_path, BY_KERNEL))
    node.serve("api", "web")
    node.serve("culprit")
    node.sync()
    node.serve("culprit", port=BAD)
    assert ["culprit"] == node.quarantined()
    node.settings = Settings(cluster_cidrs=CLUSTER_CIDRS, masquerade_all=True)
    assert ["culprit"] == node.quarantined()
    assert {"api": GOOD, "culprit": GOOD, "web": GOOD} == node.serves()
    rule = f"-A {chain('api')} -d {node.address('api')}/32"
    assert rule in node.rules()[Chain("nat", chain("api"))]
    node.serve("culprit")
    assert [] == node.quarantined()
    assert node.is_as_of(RENDER)


def test_culprit_is_found_though_a_stale_chain_that_others_hold_cannot_be_deleted(
    node: Node, tmp_path: Path
) -> None:
    node.restart(against_bad(tmp_path, BY_KERNEL))
    node.serve("api", "culprit", "web")
    node.sync()
    process.run([f"iptables-{node.variant}", "-t", "nat", "-A", "OUTPUT", "-j", chain("web")])
    node.delete("web")
    node.endpoint("api", "10.128.9.9")
    node.serve("culprit", port=BAD)
    for _ in range(2):
        report = node.sync()
        assert report.error is not None
    assert [key("culprit")] == [rejection.key for rejection in report.quarantined]
    assert {"api": GOOD, "culprit": GOOD} == node.serves()
    assert "10.128.9.9" in str(node.rules())
    process.run([f"iptables-{node.variant}", "-t", "nat", "-D", "OUTPUT", "-j", chain("web")])
    assert ["culprit"] == node.quarantined()
    assert Chain("nat", chain("web")) not in node.rules()


def test_rules_that_the_kernel_took_and_takes_no_more_once_it_lost_all_cost_only_their_service(
    node: Node, tmp_path: Path
) -> None:
    """A match whose module went: here a counter that is deleted."""
    render = against_bad(tmp_path, BY_KERNEL)
    node.restart(render)
    assert ensure_counters(["late"])
    node.serve("api", "web")
    node.serve("culprit", port=BAD)
    assert [] == node.quarantined()
    flush(node, "late")
    node.serve("new")
    assert ["culprit"] == node.quarantined(verify=True)
    assert node.is_as_of(render, without=["culprit"])
    assert ["culprit"] == node.quarantined(verify=True)
    assert ensure_counters(["late"])
    node.now_s += FIRST_PAUSE_S
    assert [] == node.quarantined(verify=True)
    assert node.is_as_of(render)


def test_rules_that_a_culprit_kept_and_the_kernel_lost_are_tried_like_those_of_others(
    node: Node, tmp_path: Path
) -> None:
    render = against_bad(tmp_path, REFUSED["by iptables"])
    node.restart(render)
    node.serve("api", "culprit")
    node.sync()
    node.serve("culprit", port=BAD)
    assert ["culprit"] == node.quarantined()
    flush(node)
    node.serve("new")
    assert ["culprit"] == node.quarantined(verify=True)
    assert {"api": GOOD, "culprit": GOOD, "new": GOOD} == node.serves()


@pytest.mark.parametrize("fault", REFUSED.values(), ids=REFUSED)
def test_culprit_among_chains_that_are_committed_while_others_are_computed_is_found(
    kernel: None, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Variant, "early_section_size", lambda _variant, _held: 4)
    monkeypatch.setattr(Variant, "section_size", lambda _variant, _held: 6)
    monkeypatch.setattr("kproxy.ruleset.iptables.desired._BATCH", 2)
    with closing(Node(Variant.NFT, against_bad(tmp_path, fault))) as node:
        names = [f"s{number:02}" for number in range(20)]
        node.serve(*names)
        node.serve("s03", "s11", port=BAD)
        assert ["s03", "s11"] == node.quarantined()
        assert node.is_as_of(RENDER, without=["s03", "s11"])
        assert ["s03", "s11"] == node.quarantined(verify=True)
        assert node.is_as_of(RENDER, without=["s03", "s11"])


def counted(node: Node) -> str:
    return node.rules()[Chain("filter", "KUBE-FORWARD")]


def test_flushed_rules_whose_counters_are_deleted_come_back_with_counters(node: Node) -> None:
    node.settings = Settings(cluster_cidrs=CLUSTER_CIDRS, accounting=True)
    node.serve("api", "web")
    node.sync()
    assert "nfacct" in counted(node)
    flush(node)
    assert not have_counters()
    assert [] == node.quarantined(verify=True)
    assert have_counters()
    assert "nfacct" in counted(node)
    assert node.is_as_of(RENDER)


@pytest.mark.parametrize("verify", [True, False])
def test_counters_that_cannot_be_had_cost_no_rule(node: Node, verify: bool) -> None:
    node.settings = Settings(cluster_cidrs=CLUSTER_CIDRS, accounting=True)
    can = [True]
    node.restart(RENDER, lambda: can[0] and ensure_counters())
    node.serve("api", "web")
    node.sync()
    can[0] = False
    flush(node)
    node.serve("late")
    assert [] == node.quarantined(verify=verify)
    assert "nfacct" not in counted(node)
    assert {"api": GOOD, "late": GOOD, "web": GOOD} == node.serves()
    can[0] = True
    assert [] == node.quarantined(verify=True)
    assert "nfacct" in counted(node)


def test_match_for_counters_that_the_kernel_lacks_costs_no_rule(node: Node) -> None:
    """As if the kernel had counters, but no match for them: here it has the match, and no counters."""
    node.settings = Settings(cluster_cidrs=CLUSTER_CIDRS, accounting=True)
    node.restart(RENDER, lambda: True)
    node.serve("api", "web")
    assert [] == node.quarantined()
    assert "nfacct" not in counted(node)
    assert node.is_as_of(RENDER)
    node.sync()
    node.serve("late")
    assert [] == node.quarantined()
    assert 1 == node.iptables.restores


def test_counters_that_somebody_deletes_amid_a_sync_count_again_after_the_next(node: Node) -> None:
    node.settings = Settings(cluster_cidrs=CLUSTER_CIDRS, accounting=True)
    amid = [True]

    def ensure() -> bool:
        made = ensure_counters()
        if amid[0]:
            delete_counters()
        return made

    node.restart(RENDER, ensure)
    node.serve("web")
    assert [] == node.quarantined()
    assert {"web": GOOD} == node.serves()
    assert "nfacct" not in counted(node)
    amid[0] = False
    assert [] == node.quarantined(verify=True)
    assert "nfacct" in counted(node)
    assert node.is_as_of(RENDER)


def delete_counters(*more: str) -> None:
    for counter in (*more, *(COUNTERS if have_counters() else ())):
        with Netlink() as netlink:
            netlink.tell(NFNL_MSG_ACCT_DEL, NFPROTO_UNSPEC, text_attribute(NFACCT_NAME, counter))


def flush(node: Node, *counters: str) -> None:
    """All rules, then the counters that nothing uses any more."""
    if node.variant is Variant.NFT:
        process.run(["nft", "flush", "ruleset"])
    else:
        for table in ("filter", "nat"):
            process.run(["iptables-legacy", "-t", table, "-F"])
            process.run(["iptables-legacy", "-t", table, "-X"])
    delete_counters(*counters)
