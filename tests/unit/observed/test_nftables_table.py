"""The observed table over a kernel in memory: every state and event, and what is known after each fault."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from facts import a_service
from fakekernel.cluster import Cluster
from fakekernel.faults import When
from fakekernel.nftables import FakeNamespace, FakeTable
from kproxy.errors import KernelRefused, ProgramFailed
from kproxy.kernel.programs.nft import DoesNotFit
from kproxy.observed.nftables import Commits, ObservedTable
from kproxy.observed.states import TRANSITIONS, Event, Knowledge, State
from kproxy.ruleset.nftables.compiler import remembered
from kproxy.ruleset.nftables.table import Block
from kproxy.state.events import Changed
from kproxy.state.objects import ServiceType
from kproxy.transaction.nftables.change import change
from kproxy.transaction.nftables.transaction import Transaction
from kproxy.transaction.nftables.whole import install, refill, replace_all
from kproxy.values import Address, Family, Network

if TYPE_CHECKING:
    from kproxy.observed.observed import Observed

STRAY = "add table ip kproxy\nadd chain ip kproxy stray"
ELSEWHERE = "add table ip other"
CLIENTS = "affinity/default/sticky/tcp/"


class Node:
    """A cluster, a kernel in memory and the observed table; `web` and `sticky` have two endpoints each."""

    def __init__(self, namespace: FakeNamespace | None = None, ours: Commits | None = None) -> None:
        self.namespace = namespace or FakeNamespace()
        self.faults = self.namespace.faults
        self.kernel = FakeTable(self.namespace)
        self.cluster = Cluster()
        self.observed = ObservedTable(self.kernel, ours or Commits(), self.cluster.delta)
        self.cluster.serve("web", 0, 2)
        self.cluster.serve("sticky", 1, 2)

    def state(self) -> State:
        return self.observed.state

    def plan(self) -> Transaction:
        """The transaction for the present state."""
        family, table = Family.IPV4, self.cluster.table
        if self.observed.state is State.ABSENT:
            return install(family, table.blocks, table.contents())
        if self.observed.state is State.FOREIGN:
            return refill(family, self.observed.found, table.blocks, table.contents(), set())
        return change(family, table.blocks, self.observed.delta.change())

    def apply(self) -> None:
        self.observed.apply(self.plan())

    def settled(self) -> "Node":
        self.observed.look()
        self.apply()
        self.kernel.applied.clear()
        return self

    def in_state(self, state: State) -> "Node":
        if state is State.ABSENT:
            self.observed.look()
        elif state is State.FOREIGN:
            self.namespace.somebody_runs(STRAY)
            self.observed.look()
        elif state is not State.UNREAD:
            self.settled()
        if state is State.DOUBTED:
            self.namespace.somebody_runs(ELSEWHERE)
            self.observed.listen()
        assert state is self.state()
        return self

    def change_some_elements(self) -> None:
        self.cluster.serve("web", 0, 2)
        self.cluster.remove("sticky")
        self.cluster.serve("api", 4, 2)


def apply(node: Node) -> None:
    node.change_some_elements()
    node.apply()


def apply_refused(node: Node) -> None:
    node.change_some_elements()
    is_remembered = node.state() in {State.SURE, State.DOUBTED}
    node.faults.refuse("10.96.0.4" if is_remembered else "map service-ips {", times=1)
    with pytest.raises(ProgramFailed, match="not wanted"):
        node.apply()


def apply_and_die(node: Node) -> None:
    node.change_some_elements()
    node.faults.die_in_write()
    with pytest.raises(ProgramFailed, match="SIGKILL"):
        node.apply()


def others_commit(node: Node) -> None:
    node.namespace.somebody_runs("add table ip another")
    node.observed.listen()


def distrust(node: Node) -> None:
    node.observed.forget()


def look_at_a_table(node: Node) -> None:
    node.namespace.somebody_runs(STRAY)
    node.observed.look()


def look_at_nothing(node: Node) -> None:
    node.namespace.somebody_runs("flush ruleset")
    node.observed.look()


def remove(node: Node) -> None:
    node.observed.remove()


def verify(node: Node) -> None:
    assert 0 == node.observed.verify()


def verify_what_changed(node: Node) -> None:
    node.namespace.somebody_runs("flush chain ip kproxy services")
    assert 1 == node.observed.verify()


def verify_what_went(node: Node) -> None:
    node.namespace.somebody_runs("delete table ip kproxy")
    assert 0 < node.observed.verify()


WRITES: dict[Event, Callable[[Node], None]] = {
    Event.APPLIED: apply,
    Event.REFUSED: apply_refused,
    Event.FAILED_MIDWAY: apply_and_die,
}
DRIVEN: list[tuple[State, Event, Callable[[Node], None]]] = [
    *((state, Event.OTHERS_COMMITTED, others_commit) for state in State),
    *((state, Event.DISTRUSTED, distrust) for state in State),
    *((state, Event.FOUND_NOTHING, remove) for state in State),
    *(
        (state, event, write)
        for state in State
        if state is not State.UNREAD
        for event, write in WRITES.items()
    ),
    (State.UNREAD, Event.FOUND_NOTHING, look_at_nothing),
    (State.UNREAD, Event.FOUND_CHANGED, look_at_a_table),
    (State.DOUBTED, Event.VERIFIED, verify),
    (State.DOUBTED, Event.FOUND_CHANGED, verify_what_changed),
    (State.DOUBTED, Event.FOUND_NOTHING, verify_what_went),
]
NEVER = {
    *(
        (state, Event.APPLIED_IN_PART) for state in State
    ),  # a run is refused as a whole, and then all is looked at
    *(
        (state, Event.VERIFIED) for state in State if state is not State.DOUBTED
    ),  # nothing is read without a doubt
    *(
        (state, Event.FOUND_CHANGED) for state in (State.ABSENT, State.FOREIGN, State.SURE)
    ),  # `look` forgets first
}


@pytest.mark.parametrize(
    ("state", "event", "drive"),
    DRIVEN,
    ids=[f"{state}-{event}-{drive.__name__}" for state, event, drive in DRIVEN],
)
def test_event_leads_from_each_state_to_the_one_in_the_table(
    state: State, event: Event, drive: Callable[[Node], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, noted = Node().in_state(state), list[tuple[State, Event]]()
    note = Knowledge.note

    def listen(knowledge: Knowledge, event: Event) -> None:
        noted.append((knowledge.state, event))
        note(knowledge, event)

    monkeypatch.setattr(Knowledge, "note", listen)
    drive(node)
    assert (state, event) in noted
    assert TRANSITIONS[noted[-1][0]][noted[-1][1]] is node.state()
    if noted[0] == noted[-1]:
        assert TRANSITIONS[state][event] is node.state()


def test_every_transition_of_the_table_is_driven_or_never_made_in_nftables_mode() -> None:
    pairs = {(state, event) for state, events in TRANSITIONS.items() for event in events}
    driven = {(state, event) for state, event, _ in DRIVEN}
    assert pairs - NEVER == driven
    assert set() == driven & NEVER


def test_observed_table_keeps_the_interface_of_both_modes() -> None:
    observed: Observed = Node().observed  # what mypy compares
    assert State.UNREAD is observed.state


def test_nothing_is_read_until_somebody_else_commits() -> None:
    node = Node().settled()
    node.kernel.reads.clear()
    node.cluster.serve("web", 0, 3)
    node.apply()
    assert 0 == node.observed.verify()
    assert {"digests"} == set(node.kernel.reads)
    node.namespace.somebody_runs(ELSEWHERE)
    assert 0 == node.observed.verify()
    assert {"digests", "blocks", "elements", "is_dormant"} == set(node.kernel.reads)
    node.kernel.reads.clear()
    assert (0, []) == (node.observed.verify(), node.kernel.reads)


HARMS = {
    "flush chain ip kproxy services": ["chain services"],
    "add rule ip kproxy services accept": ["chain services"],
    "add chain ip kproxy stray": ["chain stray"],
    "flush map ip kproxy service-ips": ["map service-ips"],
    "delete element ip kproxy endpoints-2 { 10.96.0.0 . tcp . 80 . 1 }": ["map endpoints-2"],
    "add element ip kproxy cluster-ips { 10.96.0.99 }": ["set cluster-ips"],
    "add chain ip kproxy filter-forward { policy drop; }": ["chain filter-forward"],
    "add table ip kproxy { flags dormant; }": ["table kproxy, which is dormant"],
    f"add element ip kproxy {CLIENTS} {{ 192.0.2.1 . 7 }}": [],
}


@pytest.mark.parametrize(("harm", "altered"), HARMS.items())
@pytest.mark.parametrize("is_changing", [False, True])
def test_what_somebody_else_changed_is_told_also_while_a_change_of_ours_is_pending(
    harm: str, altered: list[str], is_changing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node().settled()
    if is_changing:
        node.change_some_elements()
    node.namespace.somebody_runs(harm)
    with caplog.at_level(logging.WARNING):
        assert len(altered) == node.observed.verify() == node.observed.drifted
    assert all(f"somebody else changed our table ({each})" in caplog.text for each in altered)
    assert (State.FOREIGN if altered else State.SURE) is node.state()
    assert not altered or node.observed.found == set(node.kernel.blocks())


def test_look_that_fails_leaves_nothing_known_and_verification_that_fails_the_doubt() -> None:
    node = Node()
    node.faults.fail_reads("blocks")
    with pytest.raises(KernelRefused, match="list of our table"):
        node.observed.look()
    assert State.UNREAD is node.state()
    node.in_state(State.DOUBTED)
    for of in ("blocks", "digests", "elements", "is_dormant"):
        node.faults.fail_reads(of)
        with pytest.raises(KernelRefused, match="list of our table"):
            node.observed.verify()
        assert State.DOUBTED is node.state()
    assert 0 == node.observed.verify()
    assert State.SURE is node.state()


def test_commit_count_that_is_not_told_changes_no_state() -> None:
    node = Node().settled()
    node.faults.fail_reads("generation")
    with pytest.raises(KernelRefused, match="commit count"):
        node.observed.listen()
    assert State.SURE is node.state()


@pytest.mark.parametrize("of", ["digests", "generation"])
def test_change_after_which_the_kernel_cannot_be_read_is_not_trusted(of: str) -> None:
    node = Node().settled()
    node.cluster.serve("web", 0, 3)
    node.faults.fail_reads(of)
    with pytest.raises(KernelRefused):
        node.apply()
    assert State.UNREAD is node.state()


@pytest.mark.parametrize("harm", ["flush chain ip kproxy internal-3", ELSEWHERE])
def test_chain_that_somebody_else_may_have_changed_right_after_us_is_written_again(harm: str) -> None:
    """A digest of the chain could be of their rules."""
    node = Node().settled()
    node.cluster.serve("web", 0, 3)
    transaction = node.plan()
    assert "internal-3" in transaction.written
    node.faults.somebody_commits(node.namespace.harm(harm), when=When.AFTER_WRITE)
    node.observed.apply(transaction)
    assert State.DOUBTED is node.state()
    assert 0 == node.observed.verify()
    assert State.SURE is node.state()
    again = node.plan()
    assert "internal-3" in again.written
    assert "pick-3" not in again.written
    node.observed.apply(again)
    node.namespace.somebody_runs("add table ip another")
    assert 0 == node.observed.verify()
    assert not node.plan()
    assert "goto pick-3" in node.kernel.listing()["chain internal-3"][-1]


def test_endpoint_chain_that_somebody_else_changed_right_after_us_is_found_by_comparison() -> None:
    node = Node().settled()
    node.cluster.serve("web", 0, 3)
    harm = node.namespace.harm("flush chain ip kproxy pick-3")
    node.faults.somebody_commits(harm, when=When.AFTER_WRITE)
    node.apply()
    assert 1 == node.observed.verify()
    assert State.FOREIGN is node.state()


def test_refusal_at_the_check_leaves_the_table_as_it_was() -> None:
    node = Node().settled()
    before = node.kernel.listing()
    node.cluster.serve("web", 0, 3)
    transaction = node.plan()
    assert 3 == len(transaction.runs)
    node.faults.refuse("delete element ip kproxy service-ips", times=1)
    with pytest.raises(ProgramFailed, match="not wanted"):
        node.observed.apply(transaction)
    assert ([], before) == (node.kernel.applied, node.kernel.listing())
    assert State.SURE is node.state()
    assert transaction == node.plan()
    node.apply()


def test_nft_that_dies_at_the_check_leaves_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node().settled()
    node.cluster.serve("web", 0, 3)

    def die(_text: str) -> None:
        raise ProgramFailed("nft --check -f -", -11, "", signal="SIGSEGV")

    monkeypatch.setattr(node.kernel, "check", die)
    with pytest.raises(ProgramFailed, match="SIGSEGV"):
        node.apply()
    assert State.SURE is node.state()


def test_nft_that_dies_at_the_check_does_not_hinder_elements_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load balancer gets an address, whose guard comes one run before what it guards; no chain changes."""
    node = Node()
    for count in (1, 2):
        vips = tuple(Address(f"203.0.113.{number}") for number in range(count))
        service = a_service(
            "web",
            cluster_ips=(Address("10.96.0.0"),),
            type=ServiceType.LOAD_BALANCER,
            source_ranges=(Network("192.0.2.0/24"),),  # which the node is not in
            load_balancer_vips=vips,
        )
        node.cluster.store.apply(Changed(service))
        node.cluster.update()
        if count == 1:
            node.settled()

    def die(_text: str) -> None:
        raise ProgramFailed("nft --check -f -", -11, "", signal="SIGSEGV")

    monkeypatch.setattr(node.kernel, "check", die)
    transaction = node.plan()
    assert 2 == sum(run.may_blame_a_service for run in transaction.runs)
    assert all(run.commands for run in transaction.runs)
    node.observed.apply(transaction)
    assert State.SURE is node.state()


def test_chains_of_a_table_that_went_are_expected_no_more() -> None:
    node = Node().settled()
    node.cluster.remove("sticky")
    node.namespace.somebody_runs("delete table ip kproxy")
    assert 0 < node.observed.verify()
    node.apply()
    node.namespace.somebody_runs(ELSEWHERE)
    assert (0, State.SURE) == (node.observed.verify(), node.state())


@pytest.mark.parametrize("took_effect", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_program_that_dies_midway_leaves_nothing_known(number: int, took_effect: bool) -> None:
    node = Node().settled()
    node.cluster.serve("web", 0, 3)
    node.faults.die_in_write(number, took_effect=took_effect)
    with pytest.raises(ProgramFailed, match="SIGKILL"):
        node.apply()
    assert State.UNREAD is node.state()


def test_shortage_of_memory_midway_leaves_nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node().settled()
    node.cluster.serve("web", 0, 3)

    def fail(_chains: object) -> None:
        raise MemoryError

    monkeypatch.setattr(node.kernel, "digests", fail)
    with pytest.raises(MemoryError):
        node.apply()
    assert State.UNREAD is node.state()


@pytest.mark.parametrize(("busy", "state"), [(1, State.SURE), (3, State.SURE), (4, State.UNREAD)])
def test_kernel_that_is_busy_is_asked_again_to_remove_and_then_left_to_the_next_sync(
    busy: int, state: State, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    paused = list[float]()
    monkeypatch.setattr("kproxy.observed.nftables.time.sleep", paused.append)
    node = Node().settled()
    node.cluster.remove("sticky")
    said = "Could not process rule: Device or resource busy"
    node.faults.refuse("delete chain", said=said, times=busy)
    with caplog.at_level(logging.WARNING):
        node.apply()
    assert state is node.state()
    assert [0.0, 0.1, 0.4, 1.0][: busy + 1] == paused
    assert ("written again with the next sync" in caplog.text) == (state is State.UNREAD)


def test_removal_that_is_refused_for_another_reason_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paused = list[float]()
    monkeypatch.setattr("kproxy.observed.nftables.time.sleep", paused.append)
    node = Node().settled()
    node.cluster.remove("sticky")
    node.faults.refuse("delete chain")
    node.apply()
    assert ([0.0], State.UNREAD) == (paused, node.observed.state)


def test_clients_of_an_endpoint_that_went_are_forgotten_and_that_commit_is_ours() -> None:
    node = Node().settled()
    ((clients, numbers),) = remembered(["endpoint/default/sticky/tcp//10.128.1.0/8080"]).items()
    node.namespace.somebody_runs(
        f"add element ip kproxy {clients} {{ 192.0.2.1 . {min(numbers)}, 192.0.2.2 . 7 }}"
    )
    node.observed.verify()
    node.cluster.serve("sticky", 1, 1)
    node.cluster.serve("sticky", 1, 3)
    node.apply()
    assert 2 == len(node.kernel.elements(clients))
    node.cluster.serve("sticky", 1, 0)
    node.cluster.serve("sticky", 1, 1)
    node.apply()
    node.cluster.endpoints("sticky", "10.128.2.1")
    node.apply()
    assert 1 == len(node.kernel.elements(clients))
    node.observed.listen()
    assert State.SURE is node.state()


def test_clients_that_cannot_be_forgotten_are_told_and_hinder_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node().settled()

    def refuse(_clients: str, _endpoints: object) -> bool:
        raise KernelRefused("to forget clients", 5, "no")

    monkeypatch.setattr(node.kernel, "forget", refuse)
    node.cluster.endpoints("sticky", "10.128.2.1")
    with caplog.at_level(logging.WARNING):
        node.apply()
    assert "clients may go back to endpoints that went" in caplog.text
    assert State.SURE is node.state()


def test_commits_of_the_other_family_are_ours_and_those_of_an_uncounted_agent_are_not() -> None:
    ours = Commits()
    node = Node(ours=ours).settled()
    other = ObservedTable(FakeTable(node.namespace, Family.IPV6), ours, Cluster(Family.IPV6).delta)
    table = Cluster(Family.IPV6).table
    other.look()
    other.apply(install(Family.IPV6, table.blocks, table.contents()))
    node.observed.listen()
    assert [State.SURE, State.SURE] == [node.observed.state, other.state]
    node.namespace.somebody_runs(ELSEWHERE)
    for observed in (node.observed, other):
        observed.listen()
    assert [State.DOUBTED, State.DOUBTED] == [node.observed.state, other.state]


def test_first_table_is_divided_until_it_fits_and_counts_as_ours() -> None:
    node = Node()
    node.observed.look()
    transaction = node.plan()
    prepare, fill, opening = transaction.runs
    longest = max(len(opening.text), *(len(part) for part in prepare.parts))
    assert len(prepare.text) > longest
    node.faults.hold_at_most(longest)
    node.observed.apply(transaction)
    assert len(node.kernel.applied) > len(transaction.runs)
    node.observed.listen()
    assert State.SURE is node.state()
    assert node.kernel.listing() == Node().settled().kernel.listing()
    assert fill.text


def test_change_that_does_not_fit_changes_nothing_and_after_removal_the_table_is_absent() -> None:
    node = Node().settled()
    node.cluster.serve("sticky", 1, 3)
    before = node.kernel.listing()
    node.faults.hold_at_most(40)
    with pytest.raises(DoesNotFit):
        node.apply()
    assert before == node.kernel.listing()
    node.observed.remove()
    assert (State.ABSENT, {}) == (node.observed.state, node.kernel.listing())
    node.faults.end()
    node.apply()
    assert State.SURE is node.state()


def test_endpoint_chains_are_intact_until_somebody_changes_their_rules() -> None:
    node = Node().settled()
    for harm, intact in (("", {Block("chain", "pick-2")}), ("insert rule ip kproxy pick-2 drop", set())):
        if harm:
            node.namespace.somebody_runs(harm)
        node.observed.look()
        assert intact == node.observed.intact_endpoint_chains(node.cluster.table.blocks)
        node.observed.listen()
        assert State.FOREIGN is node.state(), "the commits of the comparison are ours"


@pytest.mark.parametrize("number", [1, 2])
def test_endpoint_chains_are_not_intact_where_nft_dies_in_the_comparison(number: int) -> None:
    node = Node().settled()
    node.observed.look()
    node.faults.die_in_write(number)
    assert set() == node.observed.intact_endpoint_chains(node.cluster.table.blocks)


def test_replaced_table_holds_nothing_of_the_one_before() -> None:
    node = Node().settled()
    node.namespace.somebody_runs(
        f"add element ip kproxy {CLIENTS} {{ 192.0.2.1 . 7 }}\nadd chain ip kproxy stray"
    )
    assert 1 == node.observed.verify()
    table = node.cluster.table
    node.observed.apply(replace_all(Family.IPV4, table.blocks, table.contents()))
    assert node.kernel.listing() == Node().settled().kernel.listing()
    assert (State.SURE, 0) == (node.observed.state, node.observed.verify())
