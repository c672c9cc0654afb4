"""The proxy of nftables mode over a kernel in memory: its order, and every fault at every step."""

import logging
import random
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facts import WEB, a_node, a_view
from fakekernel.cluster import Services
from fakekernel.faults import ALWAYS, Faults, When
from fakekernel.nftables import FakeNamespace, FakeTable
from kproxy.agent import suspects
from kproxy.agent.nftables_proxy import NftablesProxy
from kproxy.agent.proxy import SyncReport
from kproxy.agent.suspects import FIRST_PAUSE_S, LONGEST_PAUSE_S
from kproxy.errors import InputError, ProgramFailed
from kproxy.kernel.programs.nft import DoesNotFit
from kproxy.observed.nftables import Commits
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.values import Address, Family, NamespacedName
from scenarios import RENDER

ELSEWHERE = "add table ip other"
API = NamespacedName("default", "api")
CLIENT = "add element ip kproxy affinity/default/sticky/tcp/ { 192.0.2.1 . 7 }"


class Node(Services):
    """A node with `web`, `sticky` and `api`, each with two endpoints, and a proxy that has not synced yet."""

    def __init__(self) -> None:
        super().__init__()
        self.namespace = FakeNamespace()
        self.ours = Commits()
        self.calls: list[str] = []
        self.short_at: AbstractSet[int] = frozenset()
        """The calls, counted from 1, at which a template finds no memory."""
        self.defects: AbstractSet[int] = frozenset()
        """The calls at which a template cannot be rendered."""
        self.now_s = 0.0
        for number, name in enumerate(("web", "sticky", "api")):
            self.serve(name, number, 2)
        self.restart()

    @property
    def faults(self) -> Faults:
        return self.namespace.faults

    def restart(self) -> None:
        self.kernel = FakeTable(self.namespace)
        self.proxy = NftablesProxy(self.kernel, self.render, self.ours, lambda: self.now_s)

    def render(self, template: str, values: dict[str, object]) -> str:
        self.calls.append("render")
        if len(self.calls) in self.short_at:
            raise MemoryError
        if len(self.calls) in self.defects:
            raise InputError("a defect of a template")
        return RENDER(template, values)

    def sync(self, *, verify: bool = False) -> SyncReport:
        self.kernel.applied.clear()
        self.kernel.checked.clear()
        self.kernel.reads.clear()
        return self.proxy.sync(self.store, self.store.take_dirty(), self.circumstances, verify=verify)

    def synced(self) -> "Node":
        assert self.sync().error is None
        return self

    def clean(self) -> FakeTable:
        """The table of a clean node that knows only the present state."""
        kernel = FakeTable(FakeNamespace())
        proxy = NftablesProxy(kernel, RENDER, Commits())
        assert proxy.sync(self.store, {*self.store.services}, self.circumstances, verify=False).error is None
        return kernel

    def as_from_scratch(self) -> dict[str, list[str]]:
        return self.clean().listing()


def addresses(kernel: FakeTable) -> set[str]:
    """Those that lead to endpoints."""
    keys = {element.key for element in kernel.elements("service-ips")}
    return {".".join(map(str, key[:4])) for key in keys}


def change_all(node: Node) -> None:
    """New chains and maps, a verdict that is replaced, and chains that go: each kind of run."""
    node.serve("web", 0, 3)
    node.remove("sticky")
    node.serve("guarded", 7, 1)


def first(_node: Node) -> None:
    """An agent on a clean node."""


def restarted(node: Node) -> None:
    node.synced().restart()


def changed(node: Node) -> None:
    change_all(node.synced())


def doubted(node: Node) -> None:
    change_all(node.synced())
    node.namespace.somebody_runs(ELSEWHERE)


def drifted(node: Node) -> None:
    change_all(node.synced())
    node.namespace.somebody_runs("flush chain ip kproxy services")


def removed(node: Node) -> None:
    change_all(node.synced())
    node.namespace.somebody_runs("delete table ip kproxy")


def moved(node: Node) -> None:
    """All that the circumstances decide."""
    node.synced().node_port_primary = False


SITUATIONS = [first, restarted, changed, doubted, drifted, removed, moved]

HARM = "flush map ip kproxy service-ips\nadd chain ip kproxy stray"
Fault = Callable[[Node], None]


def beside(when: When, number: int, text: str, of: str = "") -> Fault:
    def switch(node: Node) -> None:
        def act() -> None:
            if "add table" in text or any(node.kernel.listing()):
                node.namespace.harm(text)()

        node.faults.somebody_commits(act, when=when, number=number, of=of)

    return switch


def dies(number: int, *, took_effect: bool) -> Fault:
    return lambda node: node.faults.die_in_write(number, took_effect=took_effect)


def refuses(words: str, times: int = ALWAYS, said: str = "is not wanted here") -> Fault:
    return lambda node: node.faults.refuse(words, times=times, said=said)


def cannot_read(of: str, times: int) -> Fault:
    return lambda node: node.faults.fail_reads(of, times=times)


def holds(characters: int) -> Fault:
    return lambda node: node.faults.hold_at_most(characters)


BUSY = "Could not process rule: Device or resource busy"
BY_OTHERS = {"elsewhere": ELSEWHERE, "harm": HARM, "removal": "delete table ip kproxy"}
READS = ("generation", "blocks", "digests", "elements", "expressions", "is_dormant")


def faults() -> Iterator[tuple[str, Fault]]:
    for number in range(1, 5):
        yield f"dies before write {number}", dies(number, took_effect=False)
        yield f"dies after write {number}", dies(number, took_effect=True)
        for when in (When.BEFORE_WRITE, When.AFTER_WRITE):
            for name, text in BY_OTHERS.items():
                yield f"{name} {when} {number}", beside(when, number, text)
    for words in ("chain services", "element", " hook ", "delete chain", "flush", ""):
        for times in (1, 2, 3, ALWAYS):
            yield f"{words!r} refused {times} times", refuses(words, times)
        yield f"{words!r} busy", refuses(words, said=BUSY)
    for of in READS:
        for times in (1, 2):
            yield f"{of} unreadable {times} times", cannot_read(of, times)
        for name, text in BY_OTHERS.items():
            yield f"{name} after {of}", beside(When.AFTER_READ, 1, text, of)
    for characters in (50, 500, 5000):
        yield f"holds {characters}", holds(characters)


FAULTS = dict(faults())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kproxy.observed.nftables._PAUSES_S", (0.0,) * 4)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_sync_after_any_fault_at_any_step_leaves_the_table_of_a_clean_node(
    situation: Callable[[Node], None], fault: Fault
) -> None:
    node = Node()
    situation(node)
    fault(node)
    node.sync(verify=True)
    node.faults.end()
    node.now_s += LONGEST_PAUSE_S
    report = node.sync(verify=True)
    assert (None, (), False) == (report.error, report.quarantined, report.left_something)
    assert node.as_from_scratch() == node.kernel.listing()
    assert (None, 0, []) == ((last := node.sync(verify=True)).error, last.drifted, node.kernel.applied)


@given(draw=st.randoms(use_true_random=False))
@settings(max_examples=settings().max_examples // 2)
def test_random_changes_and_faults_leave_the_table_of_a_clean_node(draw: random.Random) -> None:
    node = Node()
    for _ in range(draw.randrange(2, 8)):
        act = draw.randrange(7)
        name = draw.choice(("web", "sticky", "api", "guarded"))
        if act < 3:
            node.serve(name, draw.randrange(9), draw.randrange(4))
        elif act == 3:
            node.remove(name)
        elif act == 4:
            node.restart()
        else:
            FAULTS[draw.choice([*FAULTS])](node)
        node.sync(verify=draw.random() < 0.3)
        if draw.random() < 0.5:
            node.faults.end()
    node.faults.end()
    node.now_s += LONGEST_PAUSE_S
    report = node.sync(verify=True)
    assert (None, ()) == (report.error, report.quarantined)
    assert node.as_from_scratch() == node.kernel.listing()


class CallingTable(FakeTable):
    """Tells of each call."""

    def __init__(self, node: Node) -> None:
        super().__init__(node.namespace)
        self._calls = node.calls

    def __getattribute__(self, name: str) -> object:
        if name in {"apply", "check", "generation", "blocks", "digests", "elements", "is_dormant"}:
            self._calls.append(name)
        return super().__getattribute__(name)


def in_groups(calls: list[str]) -> list[str]:
    """Without what only repeats."""
    return [call for call, before in zip(calls, ["", *calls], strict=False) if call != before]


def test_sync_updates_observes_plans_applies_and_settles_in_that_order() -> None:
    node = Node()
    node.proxy = NftablesProxy(CallingTable(node), node.render, node.ours)
    node.calls.clear()
    assert node.sync().error is None
    assert ["render", "generation", "blocks", "apply", "digests", "generation"] == in_groups(node.calls)
    change_all(node)
    node.namespace.somebody_runs(ELSEWHERE)
    node.calls.clear()
    assert node.sync(verify=True).error is None
    assert [
        *("render", "generation", "blocks", "digests", "elements", "is_dormant"),
        *("check", "apply", "digests", "generation"),
    ] == in_groups(node.calls)


def test_first_sync_reports_what_it_wrote() -> None:
    report = Node().sync()
    assert (None, 3, 0, 0) == (report.error, report.services, report.drifted, report.chains_deleted)
    assert report.chains_written > 10
    assert report.rules_written > report.chains_written


def test_sync_without_a_change_neither_reads_nor_writes_the_table() -> None:
    node = Node().synced()
    for verify in (False, True):
        report = node.sync(verify=verify)
        assert (None, [], []) == (report.error, node.kernel.applied, node.kernel.reads)
        assert (0, 0) == (report.chains_written, report.rules_written)


def test_commits_elsewhere_cost_a_change_no_look_until_a_sync_verifies() -> None:
    node = Node().synced()
    node.namespace.somebody_runs(ELSEWHERE)
    node.endpoints("web", "10.128.1.8", "10.128.2.8")
    assert node.sync().error is None
    assert ["digests"] == [*dict.fromkeys(node.kernel.reads)] or [] == node.kernel.reads
    assert (None, 0) == ((report := node.sync(verify=True)).error, report.drifted)
    assert "blocks" in node.kernel.reads


def with_refused_api(situation: Callable[[Node], None]) -> Node:
    node = Node()
    situation(node)
    node.serve("api", 9, 2)
    node.faults.refuse("10.96.0.9")
    return node


@pytest.mark.parametrize("situation", SITUATIONS)
def test_refused_service_is_found_in_any_state_and_costs_no_other(situation: Callable[[Node], None]) -> None:
    node = with_refused_api(situation)
    report = node.sync()
    assert (None, [API]) == (report.error, [each.key for each in report.quarantined])
    assert "10.96.0.9 . tcp . 80" in report.quarantined[0].reason
    others = addresses(node.clean()) - {"10.96.0.9"}
    assert others <= addresses(node.kernel) <= others | {"10.96.0.2"}, "which api had before"
    node.faults.end()
    node.now_s += FIRST_PAUSE_S
    assert () == node.sync().quarantined
    assert node.as_from_scratch() == node.kernel.listing()


def test_search_in_doubt_looks_once_and_goes_by_small_changes() -> None:
    """Nobody changed our table, so a whole table need not be checked at each try."""
    node = with_refused_api(doubted)
    report = node.sync()
    assert (None, [API], 0) == (report.error, [each.key for each in report.quarantined], report.drifted)
    assert 1 == node.kernel.reads.count("blocks")
    assert node.kernel.checked
    assert not any(" hook " in text for text in (*node.kernel.checked, *node.kernel.applied))


def test_refusal_because_somebody_else_changed_the_table_is_mended_at_once() -> None:
    node = Node().synced()
    node.namespace.somebody_runs("flush map ip kproxy endpoints-2")
    node.endpoints("web", "10.128.1.8", "10.128.2.8")
    report = node.sync()
    assert (None, 1, ()) == (report.error, report.drifted, report.quarantined)
    assert node.as_from_scratch() == node.kernel.listing()


@pytest.mark.parametrize("when", [When.AFTER_READ, When.BEFORE_WRITE])
@pytest.mark.parametrize("situation", [restarted, changed, doubted])
def test_refusal_because_of_a_commit_between_look_and_write_blames_no_service(
    situation: Callable[[Node], None], when: When
) -> None:
    node = Node()
    situation(node)
    harm = node.namespace.harm("flush map ip kproxy endpoints-2\ndelete table ip kproxy")
    node.faults.somebody_commits(harm, when=when, number=1)
    report = node.sync()
    assert (None, ()) == (report.error, report.quarantined)
    assert node.as_from_scratch() == node.kernel.listing()


def test_table_of_another_make_that_cannot_be_filled_again_is_replaced() -> None:
    node = Node()
    node.namespace.somebody_runs(
        "add table ip kproxy\nadd map ip kproxy service-ips { typeof ip saddr : verdict; }"
    )
    assert node.sync().error is None
    assert node.kernel.applied[0].startswith("add table ip kproxy\ndelete table ip kproxy\n")
    assert node.as_from_scratch() == node.kernel.listing()


@pytest.mark.parametrize(
    ("harm", "keeps_clients"), [("", True), ("add table ip kproxy { flags dormant; }", False)]
)
def test_restarted_agent_keeps_clients_where_the_kernel_lets_it(harm: str, keeps_clients: bool) -> None:
    node = Node().synced()
    node.namespace.somebody_runs(CLIENT)
    if harm:
        node.namespace.somebody_runs(harm)
    node.restart()
    assert node.sync().error is None
    assert not node.kernel.is_dormant()
    assert keeps_clients == bool(node.kernel.elements("affinity/default/sticky/tcp/"))


def test_restarted_agent_keeps_the_maps_that_packets_on_their_way_ask() -> None:
    node = Node().synced()
    node.restart()
    assert node.sync().error is None
    text = node.kernel.applied[-1]
    assert "flush map ip kproxy endpoints-2\n" in text
    assert "delete map ip kproxy endpoints-2\n" not in text
    node.namespace.somebody_runs("insert rule ip kproxy pick-2 drop")
    node.restart()
    assert node.sync().error is None
    assert "delete map ip kproxy endpoints-2\n" in node.kernel.applied[-1]
    assert node.as_from_scratch() == node.kernel.listing()


def test_change_that_does_not_fit_is_written_in_steps_and_that_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = Node().synced()
    node.faults.hold_at_most(8_000)
    node.serve("sticky", 1, 100)
    with caplog.at_level(logging.WARNING):
        report = node.sync()
    assert report.error is None
    assert "removed and written in steps" in caplog.text
    node.faults.end()
    assert node.as_from_scratch() == node.kernel.listing()


def test_first_table_that_fits_in_no_way_is_an_error_and_is_tried_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = Node()
    node.faults.hold_at_most(30)
    with caplog.at_level(logging.WARNING):
        assert isinstance(node.sync().error, DoesNotFit)
    assert ([], "") == (node.kernel.applied, caplog.text)


def test_kernel_that_refuses_what_its_check_took_is_an_error_and_loses_no_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = Node()
    changed(node)

    def refuse(_run: object) -> None:
        raise ProgramFailed("nft -f -", 1, "/dev/stdin:1:1-9: Error: no")

    with monkeypatch.context() as refusing:
        refusing.setattr(node.kernel, "apply", refuse)
        report = node.sync()
    assert (True, ()) == (report.error is not None, report.quarantined)
    assert (None, ()) == ((again := node.sync()).error, again.quarantined)
    assert node.as_from_scratch() == node.kernel.listing()


def test_search_whose_end_fails_too_loses_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is short when half of the Services are tried, and still short when all are to be placed again."""
    node = with_refused_api(changed)
    checks, check = 0, node.kernel.check

    def fail(*_: object) -> None:
        raise MemoryError

    def check_and_run_short(text: str) -> None:
        nonlocal checks
        checks += 1
        if checks == 3:
            short.setattr(DesiredTable, "place", fail)
            raise MemoryError
        check(text)

    with monkeypatch.context() as short:
        short.setattr(node.kernel, "check", check_and_run_short)
        with pytest.raises(MemoryError):
            node.sync()
    assert [API] == [each.key for each in node.sync().quarantined]
    node.faults.end()
    node.now_s += LONGEST_PAUSE_S
    node.synced()
    assert node.as_from_scratch() == node.kernel.listing()


@pytest.mark.parametrize("what", ["the Service", "the circumstances"])
def test_refused_service_is_tried_at_once_when_something_changes(what: str) -> None:
    node = with_refused_api(changed)
    assert [API] == [each.key for each in node.sync().quarantined]
    node.faults.end()
    assert [API] == [each.key for each in node.sync().quarantined]
    if what == "the Service":
        node.serve("api", 9, 3)
    else:
        node.node_port_primary = False
    assert () == node.sync().quarantined
    assert node.as_from_scratch() == node.kernel.listing()


def test_others_that_never_stop_do_not_keep_a_sync_from_its_end() -> None:
    """They delete the table whenever we have written some of it, and the kernel refuses what lets packets in."""
    node = Node()
    node.faults.refuse("chain nat-prerouting")
    for number in range(1, 200):
        node.faults.somebody_commits(
            node.namespace.ruleset.tables.clear, when=When.AFTER_WRITE, number=number
        )
    report = node.sync()
    assert isinstance(report.error, ProgramFailed)
    assert len(node.kernel.applied) < 20
    assert () == report.quarantined


def test_families_share_the_commit_count() -> None:
    node = Node()
    six = Services(Family.IPV6)
    kernel = FakeTable(node.namespace, Family.IPV6)
    other = NftablesProxy(kernel, RENDER, node.ours)
    for verify in (False, True):
        for _ in range(2):
            assert node.sync(verify=verify).error is None
            kernel.reads.clear()
            assert (
                other.sync(six.store, six.store.take_dirty(), six.circumstances, verify=verify).error is None
            )
    assert ([], []) == (node.kernel.reads, kernel.reads)
    six.node_port_primary = False
    assert other.sync(six.store, set(), six.circumstances, verify=False).error is None
    assert (None, []) == (node.sync(verify=True).error, node.kernel.reads)


def test_busy_kernel_is_told_and_the_next_sync_removes_what_was_left() -> None:
    node = Node().synced()
    node.remove("sticky")
    node.faults.refuse("delete chain", said="Could not process rule: Device or resource busy", times=4)
    report = node.sync()
    assert (None, True) == (report.error, report.left_something)
    assert "10.96.0.1" not in addresses(node.kernel)
    report = node.sync()
    assert (None, False) == (report.error, report.left_something)
    assert node.as_from_scratch() == node.kernel.listing()


def test_search_that_runs_out_of_tries_goes_on_with_the_next_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "MOST_TRIES", 4)
    node = Node().synced()
    for number in range(20, 26):
        node.serve(f"culprit-{number}", number, 1)
    node.faults.refuse("10.96.0.2", times=0)
    for number in range(20, 26):
        node.faults.refuse(f"10.96.0.{number} ")
    errors = [node.sync().error]
    node.serve("late", 9, 1)
    while errors[-1] is not None and len(errors) < 20:
        errors.append(node.sync().error)
        assert "10.96.0.9" in addresses(node.kernel)
    report = node.sync()
    assert (True, None) == (errors[0] is not None, report.error)
    assert [f"culprit-{number}" for number in range(20, 26)] == [
        each.key.name for each in report.quarantined if each.key
    ]


@pytest.mark.parametrize("at", range(1, 5))
def test_shortage_of_memory_in_a_search_loses_no_change(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    node = with_refused_api(changed)
    checks, check = 0, node.kernel.check

    def fail(text: str) -> None:
        nonlocal checks
        checks += 1
        if checks == at:
            raise MemoryError
        check(text)

    with monkeypatch.context() as short:
        short.setattr(node.kernel, "check", fail)
        with pytest.raises(MemoryError):
            node.sync()
    report = node.sync()
    assert (None, [API]) == (report.error, [each.key for each in report.quarantined])
    node.faults.end()
    node.now_s += LONGEST_PAUSE_S
    node.synced()
    assert node.as_from_scratch() == node.kernel.listing()


@pytest.mark.parametrize("at", range(1, 16))
def test_shortage_of_memory_while_the_whole_table_is_refused_loses_no_service(at: int) -> None:
    node = Node()
    node.faults.refuse("services")
    node.short_at = {at}
    with suppress(MemoryError):
        assert node.sync().error is not None
    assert len(node.calls) >= at
    node.faults.end()
    node.synced()
    assert node.as_from_scratch() == node.kernel.listing()


def test_service_that_cannot_be_computed_stays_a_suspect_after_a_sync_that_failed() -> None:
    node = Node().synced()
    node.defects = {len(node.calls) + 1}
    node.serve("guarded", 7, 1)
    node.serve("web", 0, 3)
    node.faults.die_in_write()
    assert node.sync().error is not None
    report = node.sync()
    assert (None, ["guarded"]) == (report.error, [each.key.name for each in report.quarantined if each.key])
    node.now_s += FIRST_PAUSE_S
    assert () == node.synced().sync().quarantined
    assert node.as_from_scratch() == node.kernel.listing()


@pytest.mark.parametrize("situation", SITUATIONS)
def test_shortage_of_memory_at_any_template_loses_no_rule(situation: Callable[[Node], None]) -> None:
    """The table is torn then: it is built again, though no Service changed since."""
    at = 0
    while True:
        at += 1
        node = Node()
        situation(node)
        node.short_at = {len(node.calls) + at}
        with suppress(MemoryError):
            node.sync()
        if len(node.calls) < min(node.short_at):
            break
        node.short_at = frozenset()
        report = node.sync(verify=True)
        assert (None, ()) == (report.error, report.quarantined)
        assert node.as_from_scratch() == node.kernel.listing()
    assert at > 1


@pytest.mark.parametrize("at", range(1, 12))
def test_shortage_of_memory_while_a_torn_table_is_built_again_loses_no_rule(at: int) -> None:
    node = Node().synced()
    change_all(node)
    node.node_port_primary = False
    began = len(node.calls)
    node.short_at = {began + 7, began + 7 + at}
    for _ in range(2):
        with suppress(MemoryError):
            node.sync()
    node.short_at = frozenset()
    node.synced()
    assert node.as_from_scratch() == node.kernel.listing()


@pytest.mark.parametrize("at", range(1, 8))
def test_shortage_of_memory_on_a_node_without_services_keeps_the_table_of_the_node(at: int) -> None:
    """The table is torn by the first Service, and then the template of the node finds no memory either."""
    node = Node()
    for name in ("web", "sticky", "api"):
        node.remove(name)
    before = node.synced().kernel.listing()
    node.serve("guarded", 7, 1)
    node.short_at = {len(node.calls) + at, len(node.calls) + at + 1}
    for _ in range(3):
        with suppress(MemoryError):
            node.sync()
        assert before.keys() <= node.kernel.listing().keys()
    assert node.as_from_scratch() == node.kernel.listing()


def test_table_that_is_refused_as_a_whole_changes_nothing_and_is_tried_again() -> None:
    node = Node().synced()
    before, good = node.kernel.listing(), node.circumstances
    view = a_view(node=a_node(addresses=(Address("10.199.0.256"),)), node_port_primary=True)
    node.serve("more", 5, 2)
    bad = Circumstances(view, good.settings)
    for verify in (False, True):
        report = node.proxy.sync(node.store, node.store.take_dirty(), bad, verify=verify)
        assert (True, ()) == (report.error is not None, report.quarantined)
        assert before == node.kernel.listing()
    node.namespace.somebody_runs("flush chain ip kproxy services")
    assert node.proxy.sync(node.store, set(), bad, verify=True).error is not None
    assert node.sync(verify=True).error is None
    assert node.as_from_scratch() == node.kernel.listing()


def test_drift_is_told_and_mended_also_while_a_change_is_refused() -> None:
    """What is observed and what is desired are two views, so a pending change does not hide what others did."""
    node = with_refused_api(changed)
    node.faults.refuse("10.96.0.0 ", times=0)
    assert [API] == [each.key for each in node.sync().quarantined]
    node.namespace.somebody_runs("flush chain ip kproxy services")
    report = node.sync(verify=True)
    assert (None, 1) == (report.error, report.drifted)
    assert "vmap @service-ips" in node.kernel.listing()["chain services"][1]


def test_program_that_dies_blames_no_service() -> None:
    node = Node().synced()
    node.serve("web", 0, 3)
    node.faults.die_in_write()
    report = node.sync()
    assert (True, ()) == (report.error is not None, report.quarantined)
    assert (None, ()) == ((again := node.sync()).error, again.quarantined)
    assert WEB not in {each.key for each in again.quarantined}
    assert node.as_from_scratch() == node.kernel.listing()
