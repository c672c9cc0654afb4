"""Scenarios against a real agent and a real kernel: one by hand; random ones, some the same at each run."""

from collections import Counter
from dataclasses import replace

import pytest

from kproxy.values import Family
from seeds import DRAWN_SEED, FIXED_SEED
from statemachine.cluster import Pod, Shape, SliceKey
from statemachine.filters import Filter
from statemachine.flags import Flags
from statemachine.search import Search, play
from statemachine.steps import AgentStopped, Change, DeleteService, DeleteSlice, PutService, PutSlice, Step
from wire import Wire

pytestmark = [pytest.mark.netns, pytest.mark.long, pytest.mark.timeout(400)]

STEPS = 25
FAMILIES = (Family.IPV4, Family.IPV6)
SLICES = tuple(SliceKey("a", family, "x") for family in FAMILIES)
SERVED = tuple(PutSlice(key, (Pod(number=0), Pod(number=1))) for key in SLICES)
LOCAL_ONLY = tuple(PutSlice(key, (Pod(number=2),)) for key in SLICES)
REMOTE_ONLY = tuple(PutSlice(key, (Pod(number=3),)) for key in SLICES)
UNSERVED = tuple(DeleteSlice(key) for key in SLICES)


@pytest.mark.parametrize("seed", [FIXED_SEED, DRAWN_SEED], ids=["fixed", "drawn"])
@pytest.mark.parametrize("chosen", Filter)
def test_agent_keeps_its_promises_whatever_happens(chosen: Filter, seed: int) -> None:
    print(f"scripts/soak --backend {chosen} --seed {seed}")  # noqa: T201 # how to search again
    search = Search(chosen, seed)
    broken = search.run(lambda: search.tally["steps"] >= STEPS)
    assert broken is None, f"seed {search.seed}: {broken}"
    assert search.tally["packets"] > 200 * STEPS


@pytest.mark.parametrize("chosen", Filter)
@pytest.mark.parametrize("local", [False, True])
def test_packets_go_by_the_old_or_the_new_state_however_slowly_it_changes(
    chosen: Filter, local: bool
) -> None:
    shape = Shape(slot=0, families=FAMILIES, node_port=True, external_ip=True, vip=True, external_local=local)
    moved = replace(shape, slot=1, internal_local=local, source_ranges=True)
    states: list[tuple[Change, ...]] = [
        (PutService("b", replace(shape, slot=3)),),
        (PutService("a", shape),),
        SERVED,
        LOCAL_ONLY,
        UNSERVED,
        REMOTE_ONLY,
        SERVED,
        (PutService("a", moved),),
        (DeleteService("a"),),
        (PutService("a", shape),),
    ]
    with Wire() as wire:
        play(chosen, [Step(changes=changes, slowly=True) for changes in states], wire, Counter())


@pytest.mark.parametrize("chosen", Filter)
def test_conversations_outlive_other_endpoints_a_restart_for_new_flags_and_their_service(
    chosen: Filter,
) -> None:
    shape = Shape(slot=0, families=FAMILIES, node_port=True)
    restart = AgentStopped(changes=LOCAL_ONLY, flags=Flags(masquerade_all=True, dispatch="tree"))
    states: list[tuple[Change, ...]] = [(PutService("a", shape), *SERVED), REMOTE_ONLY, (DeleteService("a"),)]
    first, *others = (Step(changes=changes) for changes in states)
    tally = Counter[str]()
    with Wire() as wire:
        play(chosen, [first, restart, *others], wire, tally)
    assert tally["conversations"] >= 6
    assert tally["turns in conversations"] >= 18
