"""The table of states: it is complete, each state can be reached, and a missing pair is told."""

from itertools import product

import pytest

from kproxy.observed.states import TRANSITIONS, Event, Evidence, Knowledge, State, after, weigh

WRITES = {Event.APPLIED, Event.APPLIED_IN_PART, Event.REFUSED, Event.FAILED_MIDWAY}
LOOKS = {
    Event.VERIFIED: State.SURE,
    Event.FOUND_CHANGED: State.FOREIGN,
    Event.FOUND_NOTHING: State.ABSENT,
}


@pytest.mark.parametrize(("state", "event"), [*product(State, Event)])
def test_pair_is_in_the_table_unless_it_writes_to_rules_that_nobody_has_read(
    state: State, event: Event
) -> None:
    assert (state is State.UNREAD and event in WRITES) == (event not in TRANSITIONS[state])


@pytest.mark.parametrize(("state", "event"), [*product(State, LOOKS)])
def test_look_tells_the_state_whatever_was_known_before(state: State, event: Event) -> None:
    assert LOOKS[event] == after(state, event)


@pytest.mark.parametrize(("state", "event"), [*product(State, [Event.APPLIED, Event.OTHERS_COMMITTED])])
def test_state_never_becomes_sure_by_a_commit_of_others_nor_from_doubt_by_an_apply(
    state: State, event: Event
) -> None:
    is_sure = after(state, event) is State.SURE if event in TRANSITIONS[state] else False
    assert is_sure == (event is Event.APPLIED and state in {State.ABSENT, State.FOREIGN, State.SURE})


@pytest.mark.parametrize("goal", State)
def test_state_can_be_reached_from_the_first_one(goal: State) -> None:
    reached = {Knowledge().state}
    for _ in State:
        reached |= {then for state in reached for then in TRANSITIONS[state].values()}
    assert goal in reached


def test_write_to_rules_that_nobody_has_read_is_told_and_changes_no_state() -> None:
    knowledge = Knowledge()
    with pytest.raises(KeyError):
        knowledge.note(Event.APPLIED)
    assert State.UNREAD == knowledge.state


def test_knowledge_goes_the_way_of_an_agent_that_starts_and_meets_others() -> None:
    knowledge = Knowledge()
    seen = []
    for event in (
        Event.FOUND_NOTHING,
        Event.APPLIED,
        Event.OTHERS_COMMITTED,
        Event.APPLIED,
        Event.FOUND_CHANGED,
        Event.FAILED_MIDWAY,
    ):
        knowledge.note(event)
        seen.append(knowledge.state)
    assert [State.ABSENT, State.SURE, State.DOUBTED, State.DOUBTED, State.FOREIGN, State.UNREAD] == seen


@pytest.mark.parametrize(
    ("recorded", "held", "evidence"),
    [
        (None, b"1", Evidence.NEVER_RECORDED),
        (None, b"", Evidence.NEVER_RECORDED),
        (b"", b"1", Evidence.DOUBTED),
        (b"1", b"", Evidence.DOUBTED),
        (b"", b"", Evidence.DOUBTED),
        (b"1", b"1", Evidence.EQUAL),
        (b"1", b"2", Evidence.CHANGED),
    ],
)
def test_chain_is_weighed_by_what_is_recorded_and_what_the_kernel_holds(
    recorded: bytes | None, held: bytes, evidence: Evidence
) -> None:
    assert evidence == weigh(recorded, held)
