"""Scenarios that once broke a promise, as short as they got."""

from collections import Counter
from collections.abc import Iterator

import pytest

from kproxy.values import Family
from statemachine.cluster import Pod, Shape, SliceKey
from statemachine.filters import Filter
from statemachine.foreign import RulesSpoiled, Spoiling, When
from statemachine.programs import Fault
from statemachine.search import play
from statemachine.steps import AgentStopped, PutService, PutSlice, RestoreFails, Step
from wire import Wire

pytestmark = pytest.mark.netns

BY_IPTABLES = [each for each in Filter if each.variant]

SERVED = Step(
    changes=(
        PutService("a", Shape(slot=0, node_port=True)),
        PutSlice(SliceKey("a", Family.IPV4, "x"), (Pod(number=0), Pod(number=1))),
    )
)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as built:
        yield built


@pytest.mark.parametrize("chosen", BY_IPTABLES)
def test_chains_that_somebody_altered_inside_are_put_right_at_the_next_periodic_sync(
    wire: Wire, chosen: Filter
) -> None:
    spoiled = [
        RulesSpoiled(family=Family.IPV4, table="nat", how=how, which=which)
        for how in Spoiling
        for which in (1, 7)
    ]
    play(chosen, [SERVED, *spoiled], wire, Counter())


@pytest.mark.parametrize("chosen", BY_IPTABLES)
@pytest.mark.parametrize("runs", [3, 10, 15])
def test_check_that_fails_for_another_reason_adds_no_jump_twice(
    wire: Wire, chosen: Filter, runs: int
) -> None:
    failing = RestoreFails(changes=(PutService("b", Shape(slot=1)),), fault=Fault.REFUSES, runs=runs)
    play(chosen, [SERVED, failing], wire, Counter())


@pytest.mark.parametrize("chosen", Filter)
def test_agent_that_is_asked_to_end_does_so_although_its_program_hangs(wire: Wire, chosen: Filter) -> None:
    hanging = AgentStopped(changes=(PutService("b", Shape(slot=1)),), fault=Fault.HANGS)
    play(chosen, [SERVED, hanging], wire, Counter())


@pytest.mark.parametrize("chosen", BY_IPTABLES)
def test_chain_that_somebody_alters_before_it_is_recorded_is_put_right(wire: Wire, chosen: Filter) -> None:
    def spoiled(slot: int) -> Step:
        service = PutService("a", Shape(slot=slot, families=tuple(Family)))
        return RulesSpoiled(
            changes=(service,),
            family=Family.IPV4,
            table="nat",
            how=Spoiling.FLUSH_CHAIN,
            which=-1,
            when=When.AMID,
        )

    play(chosen, [SERVED, *map(spoiled, range(1, 5))], wire, Counter())
