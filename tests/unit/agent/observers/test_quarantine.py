"""One list of what is left out, however it was found: each thing is said once."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from facts import WEB, a_service, a_view
from kproxy.agent.observers.observer import SyncOutcome
from kproxy.agent.observers.quarantine import Quarantine
from kproxy.agent.proxy import SyncReport
from kproxy.sources.recorder import ClusterEvent
from kproxy.state.events import Changed, Cost, Deleted, Listed, Refused, Rejection
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.values import Family, NamespacedName

BAD = Rejection("/api/v1/services", "Service", "default/web", "spec.ports[0].port", "0 is not a port", WEB)
REPORT = SyncReport(1, 0, 0, 0, 0.0, 0.0)


def refusals(count: int) -> tuple[Rejection, ...]:
    keys = [NamespacedName("default", f"web-{number}") for number in range(count)]
    return tuple(replace(BAD, name=str(key), key=key) for key in keys)


@dataclass
class World:
    has_room: bool = True
    now_s: float = 0.0
    store: Store = field(default_factory=Store)
    events: list[ClusterEvent] = field(default_factory=list)
    counts: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.quarantine = Quarantine(self.record, self.count, lambda: self.now_s)

    def record(self, event: ClusterEvent) -> bool:
        if self.has_room:
            self.events.append(event)
        return self.has_room

    def count(self, counts: Mapping[str, int]) -> None:
        self.counts = counts

    def sync(self, *refused: Rejection, family: Family = Family.IPV4) -> None:
        report = replace(REPORT, quarantined=refused)
        self.quarantine.synced(self.store, set(), {family: SyncOutcome(a_view(), report, verified=False)})


@pytest.fixture
def world(caplog: pytest.LogCaptureFixture) -> World:
    caplog.set_level(logging.INFO)
    return World()


def test_object_is_told_once_and_once_more_when_it_is_mended(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.store.apply(Refused(Kind.SERVICE, BAD))
    for _ in range(3):
        world.sync()
        world.store.apply(Listed(Kind.SERVICE, (), (BAD,)))
    assert [str(BAD)] == caplog.messages
    assert [("Quarantined", WEB, True)] == [(each.reason, each.about, each.warning) for each in world.events]
    assert "spec.ports[0].port: 0 is not a port" in world.events[0].note
    assert {"Service": 1} == world.counts
    world.store.apply(Changed(a_service()))
    world.sync()
    assert [str(BAD), f"no longer in quarantine: {BAD}"] == caplog.messages
    assert {} == world.counts


def test_new_reason_of_an_object_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.store.apply(Refused(Kind.SERVICE, BAD))
    world.sync()
    other = replace(BAD, reason="99999 is not a port")
    world.store.apply(Refused(Kind.SERVICE, other))
    world.sync()
    assert [str(BAD), str(other), f"no longer in quarantine: {BAD}"] == caplog.messages
    assert [BAD.reason, other.reason] == [each.note.rpartition(": ")[2] for each in world.events]


def test_service_that_both_families_refuse_counts_once_and_has_one_event(world: World) -> None:
    by_kernel = replace(BAD, place="IPv4 rules", field="", reason="no such match", cost=Cost.CHANGE)
    world.sync(by_kernel)
    world.sync(replace(by_kernel, place="IPv6 rules"), family=Family.IPV6)
    assert {"Service": 1} == world.counts
    assert 1 == len(world.events)
    world.sync()
    world.sync(family=Family.IPV6)
    assert {} == world.counts


@pytest.mark.parametrize("kind", ["", "List", "ServiceList"])
def test_object_of_no_kind_that_metrics_know_counts_as_unknown(world: World, kind: str) -> None:
    deep = Rejection("web.yaml, document 1", kind, "", "items", "is too deep")
    world.store.apply(Listed(Kind.SERVICE, (), (deep, BAD)))
    world.sync()
    assert {"Service": 1, "unknown": 1} == world.counts


def test_family_whose_sync_failed_keeps_its_objects_in_quarantine(world: World) -> None:
    world.sync(BAD)
    world.quarantine.synced(world.store, set(), {Family.IPV4: SyncOutcome(a_view(), None, verified=False)})
    assert {"Service": 1} == world.counts


def test_thousands_of_objects_are_few_lines_and_few_events(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.store.apply(Listed(Kind.SERVICE, (), refusals(5_000)))
    world.sync()
    assert 21 == len(caplog.messages)
    assert caplog.messages[-1].startswith("4980 more objects are in quarantine; /debug/quarantine")
    assert 100 == len(world.events)
    assert {"Service": 5_000} == world.counts
    world.now_s += 3_600.0
    world.sync()
    assert 200 == len(world.events) == len({each.about for each in world.events})


def test_event_that_finds_no_room_is_posted_later(world: World) -> None:
    world.has_room = False
    world.store.apply(Refused(Kind.SERVICE, BAD))
    world.sync()
    assert [] == world.events
    world.has_room = True
    world.sync()
    world.sync()
    assert [WEB] == [each.about for each in world.events]


def test_object_that_is_mended_before_its_event_has_none(world: World) -> None:
    world.has_room = False
    world.store.apply(Refused(Kind.SERVICE, BAD))
    world.sync()
    world.store.apply(Deleted(Kind.SERVICE, WEB))
    world.has_room = True
    world.sync()
    assert [] == world.events


@pytest.mark.parametrize("name", ["A b", "a\nb", "../x", ""])
def test_object_that_no_api_server_can_have_gets_no_event(world: World, name: str) -> None:
    world.store.apply(Refused(Kind.SERVICE, replace(BAD, key=NamespacedName("default", name))))
    world.sync()
    assert [] == world.events
    assert {"Service": 1} == world.counts


def test_page_shows_each_object_with_field_and_reason_and_no_more_than_people_read(world: World) -> None:
    world.store.apply(Listed(Kind.SERVICE, (), refusals(2_000)))
    world.sync()
    page = json.loads(world.quarantine.page().body)
    assert (2_000, 1_000) == (page["total"], len(page["objects"]))
    assert {
        "kind": "Service",
        "namespace": "default",
        "name": "web-0",
        "place": BAD.place,
        "field": BAD.field,
        "reason": BAD.reason,
        "effect": "is left out",
    } == page["objects"][0]
