"""When a sync is due, on a clock that the test turns."""

import pytest

from kproxy.agent.schedule import Schedule


def synced(at: float, *, failed: bool = False) -> Schedule:
    schedule = Schedule(min_interval_s=1.0, max_interval_s=30.0)
    schedule.began()
    schedule.ended(at, failed=failed)
    return schedule


def test_first_sync_is_due_at_once() -> None:
    assert Schedule(1.0, 30.0).wait_s(now=100.0) == 0.0


def test_change_right_after_a_sync_waits_for_the_minimum() -> None:
    schedule = synced(at=100.0)
    schedule.request()
    assert schedule.wait_s(now=100.4) == pytest.approx(0.6)


def test_change_long_after_a_sync_is_due_at_once() -> None:
    schedule = synced(at=100.0)
    schedule.request()
    assert schedule.wait_s(now=105.0) == 0.0


def test_without_a_change_a_sync_is_due_at_the_maximum() -> None:
    assert synced(at=100.0).wait_s(now=110.0) == 20.0


def test_change_during_a_sync_asks_for_another() -> None:
    schedule = Schedule(1.0, 30.0)
    schedule.began()
    schedule.request()
    schedule.ended(100.0, failed=False)
    assert schedule.wait_s(now=100.0) == 1.0


def test_retries_after_failures_come_at_growing_intervals_up_to_the_maximum() -> None:
    schedule = synced(at=0.0, failed=True)
    waits = [schedule.wait_s(now=0.0)]
    for _ in range(6):
        schedule.ended(0.0, failed=True)
        waits.append(schedule.wait_s(now=0.0))
    assert [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] == waits


def test_change_after_failures_is_not_held_up_by_their_retries() -> None:
    schedule = synced(at=0.0, failed=True)
    schedule.ended(0.0, failed=True)
    schedule.ended(0.0, failed=True)
    schedule.request()
    assert schedule.wait_s(now=0.4) == pytest.approx(0.6)


def test_success_ends_the_retries() -> None:
    schedule = synced(at=0.0, failed=True)
    schedule.ended(10.0, failed=False)
    assert schedule.wait_s(now=10.0) == 30.0


def test_failures_may_go_on_for_days() -> None:
    schedule = synced(at=0.0, failed=True)
    for _ in range(5000):
        schedule.ended(0.0, failed=True)
    assert 30.0 == schedule.wait_s(now=0.0)
