"""Events that a fleet meets, the policies by which its agents come back, and the requests that servers see."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from benchmarks.herd.fleet import Fleet
from benchmarks.herd.loops import start_agent
from benchmarks.herd.reflectors import start_reflectors
from benchmarks.herd.server import Condition
from benchmarks.herd.tally import Seen
from benchmarks.herd.world import World
from kproxy.sources.timing import Timing

_EVENT_S = 1_200.0
"""The agents start one after another in ten minutes; by then their watches end at different times."""

_SPREAD_S = 600.0
_BACK_SHARE = 0.99


class Policy(StrEnum):
    """The policy by which agents come back."""

    KPROXY = "kproxy"
    CLIENT_GO = "client-go"
    NO_JITTER = "no jitter"


@dataclass(frozen=True, slots=True)
class Scenario:
    """An event that happens `_EVENT_S` after the start, and is over `away_s` later."""

    text: str
    happens: Callable[[Fleet], None] = lambda _: None
    is_over: Callable[[Fleet], None] = lambda _: None
    away_s: float = 0.0
    watched_s: float = 900.0
    """How long the agents are watched afterwards."""
    servers: int = 1
    starts_together: bool = False


def _goes(condition: Condition) -> Callable[[Fleet], None]:
    return lambda fleet: fleet.servers[0].end(condition)


def _returns(*, forgets: bool) -> Callable[[Fleet], None]:
    return lambda fleet: fleet.servers[0].begin(forgets=forgets)


def _refuses(retry_after_s: int) -> Callable[[Fleet], None]:
    return lambda fleet: fleet.servers[0].refuse_all(retry_after_s)


SCENARIOS: Mapping[str, Scenario] = {
    "steady": Scenario("nothing happens; watches end and begin"),
    "restart": Scenario(
        "the server is away for 30 s and forgets: its cache starts empty, so all agents have to list",
        _goes(Condition.DOWN),
        _returns(forgets=True),
        away_s=30,
    ),
    "outage": Scenario(
        "the same after 10 minutes", _goes(Condition.DOWN), _returns(forgets=True), away_s=600
    ),
    "kept": Scenario(
        "the server is away for 30 s, and can serve the watches from before",
        _goes(Condition.DOWN),
        _returns(forgets=False),
        away_s=30,
    ),
    "rolling": Scenario(
        "one of three servers goes for a minute; its agents move to the others",
        _goes(Condition.DOWN),
        _returns(forgets=True),
        away_s=60,
        servers=3,
    ),
    "drained": Scenario(
        "one of three servers ends its watches in order, as at a shutdown, and goes for a minute",
        _goes(Condition.DRAINED),
        _returns(forgets=True),
        away_s=60,
        servers=3,
    ),
    "overload": Scenario(
        "the server cuts all watches and answers 429 with Retry-After: 1 for a minute",
        _refuses(1),
        _returns(forgets=False),
        away_s=60,
    ),
    "overload-30": Scenario(
        "the same with Retry-After: 30, for two minutes",
        _refuses(30),
        _returns(forgets=False),
        away_s=120,
    ),
    "roll-out": Scenario("all agents start in the same second", starts_together=True),
    "restore": Scenario(
        "the server is restored from a backup, within a second: all agents have to list",
        _goes(Condition.DOWN),
        _returns(forgets=True),
        away_s=1,
    ),
    "vanished": Scenario(
        "the server's machine vanishes without closing connections, and is back after two minutes",
        _goes(Condition.GONE),
        _returns(forgets=True),
        away_s=120,
    ),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counts are of the worst second from the event on; `back_s` is from the event's end until 99 % watched again."""

    scenario: str
    policy: str
    agents: int
    requests: int
    lists: int
    refusals: int
    knocks: int
    connections: int
    all_lists: int
    all_refusals: int
    back_s: float | None
    request_series: tuple[int, ...]


def simulated(name: str, policy: Policy, agents: int, seed: int) -> Outcome:
    """Play one scenario. The same seed gives the same outcome."""
    scenario = SCENARIOS[name]
    world = World(seed)
    fleet = Fleet(world, agents, scenario.servers)
    try:
        _start(fleet, policy, 1.0 if scenario.starts_together else _SPREAD_S)
        event_s = 0.0 if scenario.starts_together else _EVENT_S
        world.run(event_s)
        scenario.happens(fleet)
        world.run(event_s + scenario.away_s)
        scenario.is_over(fleet)
        world.run(event_s + scenario.away_s + scenario.watched_s)
    finally:
        world.end()
    return _outcome(name, policy, fleet, event_s, event_s + scenario.away_s)


def _start(fleet: Fleet, policy: Policy, spread_s: float) -> None:
    draw = fleet.world.random.uniform
    timing = Timing(uniform=draw, wait=fleet.world.wait, streams=True)
    if policy is Policy.NO_JITTER:
        timing = replace(timing, uniform=lambda low, high: (low + high) / 2)
    for number in range(fleet.agents):
        at_s = draw(0.0, spread_s)
        if policy is Policy.CLIENT_GO:
            start_reflectors(fleet, number, at_s)
        else:
            start_agent(fleet, number, at_s, timing)


def _outcome(name: str, policy: Policy, fleet: Fleet, event_s: float, over_s: float) -> Outcome:
    tally = fleet.tally
    return Outcome(
        name,
        policy,
        fleet.agents,
        requests=tally.peak(Seen.REQUEST, event_s),
        lists=tally.peak(Seen.LIST, event_s),
        refusals=tally.peak(Seen.REFUSAL, event_s),
        knocks=tally.peak(Seen.KNOCK, event_s),
        connections=tally.peak(Seen.CONNECTION, event_s),
        all_lists=tally.total(Seen.LIST, event_s),
        all_refusals=tally.total(Seen.REFUSAL, event_s),
        back_s=tally.complete_after_s(over_s, _BACK_SHARE),
        request_series=tuple(tally.series(Seen.REQUEST, event_s)),
    )


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """The rows of a table in Markdown."""
    rows = [
        "| scenario | policy | requests/s | lists/s | 429/s | connects refused/s | new connections/s | lists | 429 | 99 % back after |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for each in outcomes:
        back = "never" if each.back_s is None else f"{each.back_s:,.0f} s"
        counts = (each.requests, each.lists, each.refusals, each.knocks, each.connections, each.all_lists)
        cells = (
            each.scenario,
            each.policy,
            *(f"{count:,}" for count in (*counts, each.all_refusals)),
            back,
        )
        rows.append(f"| {' | '.join(cells)} |")
    return rows
