"""Healthy, eligible, ready: judged on clocks that the test turns."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import pytest

from facts import NODE, a_node, a_service, a_view
from kproxy.agent.observers.health import TO_BE_DELETED_TAINT, Health
from kproxy.agent.observers.observer import SyncOutcome
from kproxy.agent.pages.health_pages import probe_pages
from kproxy.agent.proxy import SyncReport
from kproxy.errors import ProgramFailed
from kproxy.state.events import Changed, Cost, Deleted, Event, Listed, Refused, Rejection
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.values import Family, NamespacedName

TIMEOUT_S = 60.0
BEGAN = datetime(2026, 11, 24, tzinfo=UTC)
CHANGE = Changed(a_service())


class World:
    """A Health with the time and the complaints in the test's hand."""

    def __init__(self) -> None:
        self.time_s = 0.0
        self.stuck: tuple[str, ...] = ()
        self.outdated: tuple[str, ...] = ()
        self.counted: list[tuple[str, HTTPStatus]] = []
        self.health = Health(
            tuple(Family),
            NODE,
            TIMEOUT_S,
            stuck=lambda: self.stuck,
            outdated=lambda: self.outdated,
            clock=lambda: self.time_s,
            now=lambda: BEGAN + timedelta(seconds=self.time_s),
        )
        self._answer = probe_pages(self.health, lambda page, status: self.counted.append((page, status)))

    def sync(self, *, failing: Mapping[Family, bool] | None = None) -> None:
        self.health.syncing()
        outcomes = {
            family: SyncOutcome(
                a_view(family), report(failed=(failing or {}).get(family, False)), verified=True
            )
            for family in Family
        }
        self.health.synced(Store(), set(), outcomes)

    def get(self, path: str) -> tuple[int, dict[str, object]]:
        page = self._answer(path)
        assert page is not None
        return page.status.value, json.loads(page.body)

    def code(self, path: str) -> int:
        return self.get(path)[0]


def report(*, failed: bool) -> SyncReport:
    error = ProgramFailed("iptables-restore", 1, "refused") if failed else None
    return SyncReport(1, 0, 0, 0, 0.0, 0.0, error)


@pytest.fixture
def world() -> World:
    world = World()
    world.health.received(Listed(Kind.NODE, (a_node(),)))
    return world


def test_proxy_that_never_synced_is_healthy_but_not_ready(world: World) -> None:
    world.time_s = 10 * TIMEOUT_S
    assert [200, 200, 503] == [world.code(path) for path in ("/healthz", "/livez", "/readyz")]


def test_synced_proxy_is_healthy_and_ready(world: World) -> None:
    world.sync()
    assert [200, 200, 200] == [world.code(path) for path in ("/healthz", "/livez", "/readyz")]


def test_family_that_was_never_synced_is_not_ready(world: World) -> None:
    world.sync(failing={Family.IPV6: True})
    code, answer = world.get("/readyz")
    failure = "its last sync failed and is tried again: iptables-restore failed with exit code 1: refused"
    assert (503, [f"IPv6 is not programmed yet: {failure}"]) == (code, answer["reasons"])


@pytest.mark.parametrize(("age_s", "code"), [(TIMEOUT_S - 1, 200), (TIMEOUT_S, 503)])
def test_change_that_waits_too_long_is_unhealthy(world: World, age_s: float, code: int) -> None:
    world.sync()
    world.health.received(CHANGE)
    world.time_s = age_s
    world.health.received(CHANGE)  # the oldest counts
    assert [code] * 3 == [world.code(path) for path in ("/healthz", "/livez", "/readyz")]


def test_sync_that_hangs_is_unhealthy_also_without_a_change(world: World) -> None:
    world.sync()
    world.health.syncing()
    world.time_s = TIMEOUT_S
    assert 503 == world.code("/livez")


def test_only_the_family_that_fails_is_unhealthy(world: World) -> None:
    world.sync()
    world.sync(failing={Family.IPV6: True})
    world.time_s = TIMEOUT_S
    code, answer = world.get("/livez")
    assert 503 == code
    assert answer["status"] == {
        "IPv4": {"lastUpdated": "2026-11-24T00:00:00Z", "healthy": True},
        "IPv6": {"lastUpdated": "2026-11-24T00:00:00Z", "healthy": False},
    }
    world.sync()
    assert 200 == world.code("/livez")


@pytest.mark.parametrize(
    "event",
    [
        Changed(a_node(being_deleted=True)),
        Changed(a_node(taints=("other", TO_BE_DELETED_TAINT))),
        Deleted(Kind.NODE, NamespacedName("", NODE)),
        Listed(Kind.NODE, ()),
    ],
)
def test_node_that_goes_makes_healthz_fail_and_livez_stay(world: World, event: Event) -> None:
    world.sync()
    world.health.received(event)
    world.sync()
    code, answer = world.get("/healthz")
    assert (503, False, True) == (code, answer["nodeEligible"], answer["healthy"])
    code, answer = world.get("/livez")
    assert 200 == code
    assert "nodeEligible" not in answer


REFUSED = Rejection("nodes", "Node", NODE, "spec", "is wrong", NamespacedName("", NODE))


@pytest.mark.parametrize("event", [Refused(Kind.NODE, REFUSED), Listed(Kind.NODE, (), (REFUSED,))])
def test_node_that_cannot_be_read_is_not_taken_for_gone(world: World, event: Event) -> None:
    world.health.received(event)
    assert 200 == world.code("/healthz")


def test_other_taint_is_no_reason(world: World) -> None:
    world.health.received(Changed(a_node(taints=("node.kubernetes.io/not-ready",))))
    assert 200 == world.code("/healthz")


def test_last_update_of_a_healthy_proxy_is_now(world: World) -> None:
    world.sync()
    world.time_s = 5.0
    _, answer = world.get("/healthz")
    assert ["lastUpdated", "currentTime", "nodeEligible", "healthy", "status"] == list(answer)
    assert answer["lastUpdated"] == answer["currentTime"] == "2026-11-24T00:00:05Z"


def test_hung_watch_is_unhealthy_and_an_unreachable_server_only_not_ready(world: World) -> None:
    world.sync()
    world.outdated = ("nothing was heard of Service for 400 s",)
    assert [200, 200, 503] == [world.code(path) for path in ("/healthz", "/livez", "/readyz")]
    world.stuck = ("the watch of Service has hung for 400 s",)
    assert [503, 503, 503] == [world.code(path) for path in ("/healthz", "/livez", "/readyz")]


def test_answers_are_counted(world: World) -> None:
    world.code("/livez")
    world.health.received(Listed(Kind.NODE, ()))
    world.code("/healthz")
    assert world.counted == [("livez", HTTPStatus.OK), ("healthz", HTTPStatus.SERVICE_UNAVAILABLE)]


def test_family_whose_last_sync_failed_is_not_ready_at_once_and_lives(world: World) -> None:
    world.sync()
    world.sync(failing={Family.IPV6: True})
    code, answer = world.get("/readyz")
    reason = str(answer["reasons"])
    assert 503 == code
    assert "IPv6 is not what is wanted: its last sync failed and is tried again: iptables-restore" in reason
    assert [200, 200] == [world.code("/livez"), world.code("/healthz")]
    world.sync()
    assert 200 == world.code("/readyz")


def test_drift_that_was_found_and_not_put_right_is_a_reason(world: World) -> None:
    world.sync()
    failed = SyncReport(1, 0, 0, 0, 0.0, 0.0, ProgramFailed("nft", 1, "no\nmore"), drifted=3)
    world.health.synced(Store(), set(), {Family.IPV4: SyncOutcome(a_view(), failed, verified=True)})
    reason = str(world.get("/readyz")[1]["reasons"])
    assert "3 changes by others are not put right yet: nft failed with exit code 1: no" in reason
    repaired = SyncReport(1, 3, 0, 3, 0.0, 0.0, drifted=3)
    world.health.synced(Store(), set(), {Family.IPV4: SyncOutcome(a_view(), repaired, verified=True)})
    assert 200 == world.code("/readyz")


def test_sync_that_met_a_defect_is_a_reason(world: World) -> None:
    world.sync()
    world.health.synced(Store(), set(), {Family.IPV4: SyncOutcome(a_view(), None, verified=True)})
    reason = str(world.get("/readyz")[1]["reasons"])
    assert "IPv4 is not what is wanted" in reason
    assert "the log says why" in reason


def test_service_in_quarantine_makes_no_node_unready(world: World) -> None:
    quarantined = (Rejection("IPv4 rules", "Service", "default/web", "", "refused", cost=Cost.CHANGE),)
    world.sync()
    left_behind = SyncReport(1, 0, 0, 0, 0.0, 0.0, quarantined=quarantined)
    world.health.synced(Store(), set(), {Family.IPV4: SyncOutcome(a_view(), left_behind, verified=True)})
    assert 200 == world.code("/readyz")
