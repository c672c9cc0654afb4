"""The agent's loop: with proxies that do as they are told, and with the real one over a kernel in memory."""
# ruff: noqa: ARG002 # proxies and observers are told more than each of them needs

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import closing
from itertools import count

import pytest

from facts import CLUSTER_CIDRS, a_service, a_slice, an_endpoint
from fakekernel.iptablesnode import FakeNode, key
from kproxy.agent.loop import Agent
from kproxy.agent.observers.observer import Observer, SyncOutcome
from kproxy.agent.proxy import Proxy, SyncReport
from kproxy.agent.schedule import Schedule
from kproxy.errors import KproxyError, ProgramFailed
from kproxy.kernel.programs.iptables import Variant
from kproxy.model.settings import Settings
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.layout import FLAT
from kproxy.state.events import Changed, Event, Listed
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.values import Address, Family, NamespacedName

KINDS = (Kind.SERVICE, Kind.ENDPOINT_SLICE)
FAILED = ProgramFailed("iptables-restore", 1, "it did not work")


def report(error: ProgramFailed | None = None, chains_written: int = 1) -> SyncReport:
    return SyncReport(
        services=1,
        chains_written=chains_written,
        chains_deleted=0,
        rules_written=1,
        compute_s=0.0,
        apply_s=0.0,
        error=error,
    )


class FakeProxy:
    """Answers with the results in turn, the last of them for ever; `calls` has what it was asked to do."""

    def __init__(self, family: Family, calls: list[str], *results: SyncReport | Exception) -> None:
        self.family = family
        self.calls = calls
        self.results = list(results) or [report()]
        self.dirty: list[set[str]] = []
        self.verified: list[bool] = []
        self.cannot_record: Exception | None = None

    def sync(
        self, store: Store, dirty: AbstractSet[NamespacedName], circumstances: Circumstances, *, verify: bool
    ) -> SyncReport:
        self.calls.append(f"sync {self.family}")
        self.dirty.append({each.name for each in dirty})
        self.verified.append(verify)
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return result

    def record(self) -> None:
        self.calls.append(f"record {self.family}")
        if self.cannot_record is not None:
            raise self.cannot_record


class Script(Observer):
    """Lets one step happen after each sync, and ends the agent after the last one."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self.steps = list(steps)
        self.outcomes: list[Mapping[Family, SyncOutcome]] = []
        self.lost_events: list[Event] = []
        self.agent: Agent | None = None

    def lost(self, event: Event) -> None:
        self.lost_events.append(event)

    def synced(
        self, store: Store, dirty: AbstractSet[NamespacedName], outcomes: Mapping[Family, SyncOutcome]
    ) -> None:
        assert self.agent is not None
        self.outcomes.append(outcomes)
        if self.steps:
            self.steps.pop(0)()
        else:
            self.agent.stop()


def ticking(step_s: float) -> Callable[[], float]:
    """A clock that goes on by as much at each look, so that no pause is waited for."""
    ticks = count()
    return lambda: next(ticks) * step_s


def an_agent(
    proxies: Iterable[Proxy],
    script: Script,
    *more: Observer,
    step_s: float = 10.0,
    verify_every_s: float = 1e9,
) -> Agent:
    agent = Agent(
        tuple(proxies),
        Schedule(0.0, verify_every_s),
        Settings(cluster_cidrs=CLUSTER_CIDRS),
        node_name="node-1",
        kinds=KINDS,
        layout=FLAT,
        read_addresses=lambda: (Address("10.199.0.2"),),
        observers=(script, *more),
        clock=ticking(step_s),
    )
    script.agent = agent
    return agent


def listed(agent: Agent, *names: str) -> None:
    services = tuple(
        a_service(name, cluster_ips=(Address(f"10.96.0.{at}"),)) for at, name in enumerate(names)
    )
    slices = tuple(
        a_slice(an_endpoint(f"10.128.0.{at}"), name=f"{name}-a", service=name)
        for at, name in enumerate(names)
    )
    agent.emit(Listed(Kind.SERVICE, services))
    agent.emit(Listed(Kind.ENDPOINT_SLICE, slices))


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def pair(calls: list[str]) -> tuple[FakeProxy, FakeProxy]:
    return FakeProxy(Family.IPV4, calls), FakeProxy(Family.IPV6, calls)


def test_loop_syncs_nothing_before_every_list_is_there(pair: tuple[FakeProxy, FakeProxy]) -> None:
    script = Script()
    agent = an_agent(pair, script)
    agent.emit(Listed(Kind.SERVICE, (a_service("a"),)))
    agent.emit(Changed(a_service("b", cluster_ips=(Address("10.96.0.11"),))))
    agent.emit(Listed(Kind.ENDPOINT_SLICE, ()))
    agent.run()
    assert [{"a", "b"}] == pair[0].dirty == pair[1].dirty


def test_loop_hands_events_of_one_burst_to_one_sync(pair: tuple[FakeProxy, FakeProxy]) -> None:
    def change() -> None:
        for name in "bcd":
            agent.emit(Changed(a_service(name, cluster_ips=(Address(f"10.96.1.{ord(name)}"),))))

    script = Script(change)
    agent = an_agent(pair, script)
    listed(agent, "a")
    agent.run()
    assert [{"a"}, {"b", "c", "d"}] == pair[0].dirty


def test_loop_records_each_family_after_its_sync_and_all_at_the_end(
    pair: tuple[FakeProxy, FakeProxy], calls: list[str]
) -> None:
    agent = an_agent(pair, Script())
    listed(agent, "a")
    agent.run()
    assert ["sync IPv4", "record IPv4", "sync IPv6", "record IPv6", "record IPv4", "record IPv6"] == calls


def test_loop_records_many_chains_only_when_all_families_are_done(
    pair: tuple[FakeProxy, FakeProxy], calls: list[str]
) -> None:
    pair[0].results = [report(chains_written=100_000)]
    agent = an_agent(pair, Script())
    listed(agent, "a")
    agent.run()
    assert ["sync IPv4", "sync IPv6", "record IPv6", "record IPv4", "record IPv6"] == calls


@pytest.mark.parametrize("failure", [report(FAILED), FAILED, KproxyError("no"), ZeroDivisionError()])
def test_failure_of_one_family_stops_no_other_and_is_tried_again(
    pair: tuple[FakeProxy, FakeProxy], failure: SyncReport | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    pair[0].results = [failure, report()]
    script = Script(lambda: None)
    agent = an_agent(pair, script)
    listed(agent, "a")
    agent.run()
    assert [(False, True), (True, True)] == [
        (each[Family.IPV4].succeeded, each[Family.IPV6].succeeded) for each in script.outcomes
    ]
    assert any(record.levelno == logging.ERROR for record in caplog.records)


def test_record_that_cannot_be_made_stops_nothing(pair: tuple[FakeProxy, FakeProxy]) -> None:
    pair[0].cannot_record = ZeroDivisionError()
    pair[1].cannot_record = FAILED
    script = Script()
    agent = an_agent(pair, script)
    listed(agent, "a")
    agent.run()
    assert [(True, True)] == [
        tuple(each.succeeded for each in outcome.values()) for outcome in script.outcomes
    ]


def test_stop_amid_a_sync_leaves_the_next_family_alone(
    pair: tuple[FakeProxy, FakeProxy], calls: list[str]
) -> None:
    script = Script()
    agent = an_agent(pair, script)

    class Stops(FakeProxy):
        def record(self) -> None:
            agent.stop()

    stops = Stops(Family.IPV4, calls)
    agent = an_agent([stops, pair[1]], script)
    listed(agent, "a")
    agent.run()
    assert ["sync IPv4"] == [each for each in calls if each.startswith("sync")]
    assert {Family.IPV4} == script.outcomes[0].keys()


def test_observer_with_a_defect_costs_no_sync(pair: tuple[FakeProxy, FakeProxy]) -> None:
    class Broken(Observer):
        def stored(self, event: Event) -> None:
            raise ZeroDivisionError

        def syncing(self) -> None:
            raise ZeroDivisionError

        def synced(
            self,
            store: Store,
            dirty: AbstractSet[NamespacedName],
            outcomes: Mapping[Family, SyncOutcome],
        ) -> None:
            raise ZeroDivisionError

    agent = an_agent(pair, Script(), Broken())
    listed(agent, "a")
    agent.run()
    assert [{"a"}] == pair[0].dirty


def test_loop_verifies_at_once_and_then_once_an_interval(pair: tuple[FakeProxy, FakeProxy]) -> None:
    def change() -> None:
        agent.emit(Changed(a_service("a")))

    script = Script(*[change] * 5)
    agent = an_agent(pair, script, step_s=10.0, verify_every_s=100.0)
    listed(agent, "a")
    agent.run()
    verified = pair[0].verified
    assert verified == pair[1].verified
    assert (True, False, True) == (verified[0], verified[1], any(verified[2:]))


# with the real proxy; the node's own store has the same objects, so that it can tell what is wanted


@pytest.fixture(params=Variant)
def node(request: pytest.FixtureRequest) -> Iterator[FakeNode]:
    with closing(FakeNode(request.param)) as made:
        yield made


def changed_endpoint(agent: Agent, node: FakeNode, name: str, address: str) -> None:
    node.endpoint(name, address)
    agent.emit(Changed(a_slice(an_endpoint(address), name=f"{name}-a", service=name)))


def test_agent_brings_the_kernel_to_what_lists_and_changes_say(node: FakeNode) -> None:
    script = Script(lambda: changed_endpoint(agent, node, "a", "10.128.7.7"))
    agent = an_agent([node.proxy], script)
    node.serve("a", "b")
    listed(agent, "a", "b")
    agent.run()
    assert node.wanted() == node.held()
    assert [True, True] == [outcome[Family.IPV4].succeeded for outcome in script.outcomes]


@pytest.mark.parametrize("took_effect", [False, True])
def test_agent_makes_good_what_a_program_that_died_left(node: FakeNode, took_effect: bool) -> None:
    def die_at_the_next() -> None:
        node.kernel.faults.die_in_write(took_effect=took_effect)
        changed_endpoint(agent, node, "a", "10.128.7.7")

    script = Script(die_at_the_next, lambda: None)
    agent = an_agent([node.proxy], script)
    node.serve("a", "b")
    listed(agent, "a", "b")
    agent.run()
    assert [True, False, True] == [outcome[Family.IPV4].succeeded for outcome in script.outcomes]
    assert node.wanted() == node.held()


def test_agent_goes_on_while_the_kernel_gives_no_answer(node: FakeNode) -> None:
    def answer_again() -> None:
        node.kernel.faults.end()
        changed_endpoint(agent, node, "a", "10.128.7.8")

    node.kernel.faults.fail_reads(times=1000)
    script = Script(lambda: changed_endpoint(agent, node, "a", "10.128.7.7"), answer_again)
    agent = an_agent([node.proxy], script)
    node.serve("a")
    listed(agent, "a")
    agent.run()
    assert [False, False, True] == [outcome[Family.IPV4].succeeded for outcome in script.outcomes]
    assert node.wanted() == node.held()


def test_agent_tells_observers_of_a_service_that_the_kernel_refuses(node: FakeNode) -> None:
    node.serve("a", "b")
    node.kernel.faults.refuse('"default/b')
    script = Script()
    agent = an_agent([node.proxy], script)
    listed(agent, "a", "b")
    agent.run()
    outcome = script.outcomes[0][Family.IPV4]
    assert outcome.report is not None
    assert [key("b")] == [each.key for each in outcome.report.quarantined]
    assert node.wanted(without=["b"]) == node.held()
