"""Every transition of the table of states that iptables mode makes, by its real classes over a kernel in memory."""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from fakekernel.iptablesnode import FakeNode, chain
from kproxy.agent.iptables_write import planned, writing
from kproxy.agent.progress import Progress
from kproxy.errors import ProgramFailed
from kproxy.kernel.programs.iptables import Variant
from kproxy.observed.states import TRANSITIONS, Event, Knowledge, State
from kproxy.ruleset.chain import Chain
from kproxy.transaction.iptables.transaction import Section

ELSEWHERE = "*nat\n:CNI-1 - [0:0]\nCOMMIT\n"


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with closing(FakeNode(Variant.NFT)) as made:
        made.serve("a", "b")
        yield made


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[State, Event]]:
    """Every event that was noted, with the state before it."""
    seen: list[tuple[State, Event]] = []
    note = Knowledge.note

    def watched(knowledge: Knowledge, event: Event) -> None:
        seen.append((knowledge.state, event))
        note(knowledge, event)

    monkeypatch.setattr(Knowledge, "note", watched)
    return seen


def compute(node: FakeNode) -> None:
    node.proxy.desired.update(node.store, node.store.take_dirty(), node.circumstances)


def apply(node: FakeNode, *more: Section) -> None:
    """Write what is pending, and then these sections; a refusal is noted."""
    observed = node.observed
    with (
        suppress(ProgramFailed),
        writing(node.iptables, observed, Progress(lambda: node.now_s)) as write,
    ):
        write.commit(planned(node.iptables, observed, deletes_apart=False))
        write.commit(more)


# one way into each state


def unread(node: FakeNode) -> None:
    compute(node)


def absent(node: FakeNode) -> None:
    assert node.observed.find_no_service()
    compute(node)
    node.observed.look_at_jumps(node.proxy.desired.jumps)


def foreign(node: FakeNode) -> None:
    sure(node)
    node.endpoint("a", "10.128.7.7")
    compute(node)
    node.observed.look_at_all(node.proxy.desired.jumps)


def sure(node: FakeNode) -> None:
    for _ in range(2):
        assert node.sync(verify=True).error is None
    node.observed.verify()


def doubted(node: FakeNode) -> None:
    """A chain that was never recorded cannot be read, so the look is not complete."""
    sure(node)
    node.record.forget(node.kernel.family, [chain("b")])
    node.kernel.somebody_runs(ELSEWHERE)
    node.kernel.faults.fail_reads("texts")
    node.observed.verify()


INTO = {
    State.UNREAD: unread,
    State.ABSENT: absent,
    State.FOREIGN: foreign,
    State.SURE: sure,
    State.DOUBTED: doubted,
}


# one way to each event


def whole(node: FakeNode) -> None:
    apply(node)


def in_part(node: FakeNode) -> None:
    """A section that takes effect, and one that is refused."""
    good = Section("nat", {Chain("nat", "KUBE-SVC-Y"): "-A KUBE-SVC-Y -j RETURN\n"})
    bad = Section("nat", {Chain("nat", "KUBE-SVC-X"): "-A KUBE-SVC-X -j KUBE-SVC-NOWHERE\n"})
    apply(node, good, bad)


def refused(node: FakeNode) -> None:
    node.kernel.faults.refuse("COMMIT")
    apply(node, Section("nat", {Chain("nat", "KUBE-SVC-X"): ""}))


def midway(node: FakeNode) -> None:
    node.kernel.faults.die_in_write(took_effect=True)
    apply(node, Section("nat", {Chain("nat", "KUBE-SVC-X"): ""}))


def others(node: FakeNode) -> None:
    """They commit elsewhere; a verification notices, and some rules cannot be read to prove ours."""
    node.record.forget(node.kernel.family, [chain("b")])
    node.kernel.somebody_runs(ELSEWHERE)
    node.kernel.faults.fail_reads("texts")
    node.observed.verify()


def distrusted(node: FakeNode) -> None:
    node.observed.forget()


def verified(node: FakeNode) -> None:
    built_in = {each: rules for each, rules in node.kernel.chains.items() if each.is_built_in}
    desired = {each: tuple(rules.splitlines()) for each, rules in node.observed.delta.desired.items()}
    node.kernel.chains = built_in | desired
    node.kernel.faults.somebody_commits_now()
    node.observed.look()


def found_changed(node: FakeNode) -> None:
    verified(node)
    node.kernel.somebody_runs(f"*nat\n:{chain('a').name} - [0:0]\nCOMMIT\n")
    node.observed.look()


def found_nothing(node: FakeNode) -> None:
    node.kernel.chains = {each: () for each in node.kernel.chains if each.is_built_in}
    node.kernel.faults.somebody_commits_now()
    node.observed.look()


BY: dict[Event, Callable[[FakeNode], None]] = {
    Event.APPLIED: whole,
    Event.APPLIED_IN_PART: in_part,
    Event.REFUSED: refused,
    Event.FAILED_MIDWAY: midway,
    Event.OTHERS_COMMITTED: others,
    Event.DISTRUSTED: distrusted,
    Event.VERIFIED: verified,
    Event.FOUND_CHANGED: found_changed,
    Event.FOUND_NOTHING: found_nothing,
}

READ_IN_THIS_SYNC = (State.UNREAD, State.ABSENT, State.FOREIGN)
"""Iptables mode asks whether others committed only where rules are remembered from an earlier sync."""

PAIRS = [
    (state, event)
    for state, events in TRANSITIONS.items()
    for event in events
    if not (event is Event.OTHERS_COMMITTED and state in READ_IN_THIS_SYNC)
]


@pytest.mark.parametrize("state", State)
def test_state_is_entered_by_real_syncs(node: FakeNode, state: State) -> None:
    INTO[state](node)
    assert state == node.observed.state


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_transition_is_that_of_the_table(
    node: FakeNode, walked: list[tuple[State, Event]], state: State, event: Event
) -> None:
    INTO[state](node)
    walked.clear()
    BY[event](node)
    assert TRANSITIONS[state][event] == node.observed.state
    assert event in {noted for _, noted in walked}


@pytest.mark.parametrize("state", State)
def test_sync_from_any_state_brings_the_kernel_to_what_is_wanted(node: FakeNode, state: State) -> None:
    INTO[state](node)
    node.kernel.faults.end()
    node.serve("c")
    report = node.sync(verify=True)
    assert (None, ()) == (report.error, report.quarantined)
    assert node.wanted().items() <= node.held().items()
    assert node.observed.state in {State.SURE, State.DOUBTED}
