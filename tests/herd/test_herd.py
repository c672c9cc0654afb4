"""Two hundred and fifty agents and an API server that they lose, in simulated time: the loops are those of an agent.

A seed decides everything, and no time passes, so that the bounds are no matter of luck or of the machine.
"""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.herd.fleet import Fleet
from benchmarks.herd.loops import start_agent
from benchmarks.herd.scenarios import SCENARIOS, Outcome, Policy, simulated
from benchmarks.herd.server import RetryAfter
from benchmarks.herd.tally import Seen
from benchmarks.herd.world import World
from kproxy.sources.timing import Timing

AGENTS = 250
LOOPS = 4 * AGENTS
SEED = 20


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of loops warn of each failure; a defect in one of them is still told."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def outcome(scenario: str, policy: Policy = Policy.KPROXY) -> Outcome:
    return simulated(scenario, policy, AGENTS, SEED)


@pytest.fixture
def world() -> Iterator[World]:
    made = World(SEED)
    yield made
    made.end()


def test_watches_of_quiet_agents_end_and_begin_one_by_one() -> None:
    seen = outcome("steady")
    # each of 1,000 watches lasts 300 to 600 s: 2.2 a second, if they were spread evenly
    assert seen.requests <= 12
    assert (0, 0, 0) == (seen.all_lists, seen.all_refusals, seen.connections)


@pytest.mark.parametrize("scenario", ["rolling", "drained"])
def test_agents_of_one_server_in_three_move_to_the_others_over_seconds(scenario: str) -> None:
    seen = outcome(scenario)
    assert seen.requests <= LOOPS / 3 / 3
    assert (0, 0) == (seen.all_lists, seen.all_refusals)


def test_each_list_of_a_start_is_one_request_that_goes_on_as_a_watch(world: World) -> None:
    fleet = Fleet(world, agents=1, servers=1)
    start_agent(fleet, 0, 0.0, Timing(uniform=world.random.uniform, wait=world.wait, streams=True))
    world.run(60.0)
    seen = [fleet.tally.total(each, 0.0) for each in (Seen.LIST, Seen.REQUEST, Seen.CONNECTION)]
    assert [4, 4, 4] == seen


def test_agents_without_a_server_knock_over_seconds_and_go_on_without_a_list() -> None:
    seen = outcome("kept")
    assert seen.knocks <= LOOPS / 2
    assert seen.requests <= LOOPS / 6
    assert 0 == seen.all_lists


def test_agents_that_are_told_the_same_retry_after_do_not_return_together() -> None:
    assert outcome("overload-30").refusals <= LOOPS / 3


@pytest.mark.parametrize("scenario", ["restart", "outage", "restore"])
def test_agents_that_all_have_to_list_are_not_refused_and_list_once(scenario: str) -> None:
    seen = outcome(scenario)
    assert (LOOPS, 0) == (seen.all_lists, seen.all_refusals)
    assert seen.back_s is not None
    assert seen.back_s <= 75


def test_agents_that_start_in_one_second_are_soon_all_served() -> None:
    seen = outcome("roll-out")
    assert seen.back_s is not None
    assert seen.back_s <= 15


def test_agents_whose_server_vanished_are_back_within_two_minutes() -> None:
    seen = outcome("vanished")
    assert seen.back_s is not None
    assert seen.back_s <= 120


def test_agents_without_jitter_are_seen_as_a_herd() -> None:
    assert outcome("kept", Policy.NO_JITTER).requests >= LOOPS / 2


def test_client_go_comes_at_once_where_a_server_goes() -> None:
    assert outcome("drained", Policy.CLIENT_GO).requests >= LOOPS / 3


def test_same_seed_gives_the_same_outcome_and_another_one_another() -> None:
    assert outcome("restart") == outcome("restart")
    assert outcome("restart") != simulated("restart", Policy.KPROXY, AGENTS, SEED + 1)


def test_every_scenario_says_something_of_itself() -> None:
    assert all(each.text for each in SCENARIOS.values())


def test_watch_that_a_balancer_cuts_again_and_again_is_soon_resumed_each_time(world: World) -> None:
    fleet = Fleet(world, agents=1, servers=1)
    pauses: list[float] = []

    def wait(stopping: threading.Event, seconds: float) -> None:
        pauses.append(seconds)
        world.wait(stopping, seconds)

    timing = Timing(uniform=world.random.uniform, wait=wait)
    start_agent(fleet, 0, 0.0, timing)
    for cut_at in range(35, 35 * 41, 35):
        world.run(cut_at)
        (server,) = fleet.servers
        server.cut_watches()
    assert len(pauses) > 4 * 30
    assert max(pauses) <= timing.backoff_first_s


@pytest.mark.parametrize(("refused_a_second", "expected"), [(1, 1), (100, 32)])
def test_retry_after_grows_to_its_bound_only_while_many_are_refused(
    refused_a_second: int, expected: int
) -> None:
    retry_after = RetryAfter()
    for second in range(120):
        told: Any = [retry_after.refused(second + 0.5) for _ in range(refused_a_second)]
    assert {expected} == set(told)
