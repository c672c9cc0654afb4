"""The pauses between attempts, with random numbers that the test chooses."""

from collections.abc import Callable

import pytest

from kproxy.sources.backoff import Backoff


def backoff(uniform: Callable[[float, float], float] = max) -> Backoff:
    return Backoff(base_s=1.0, first_s=5.0, cap_s=30.0, healthy_s=120.0, uniform=uniform)


def test_pauses_grow_threefold_at_most_up_to_the_cap() -> None:
    pauses = backoff()
    assert [5.0, 15.0, 30.0, 30.0] == [pauses.next_pause_s() for _ in range(4)]


def test_pause_is_never_shorter_than_the_base() -> None:
    pauses = backoff(min)
    assert [1.0, 1.0] == [pauses.next_pause_s() for _ in range(2)]


@pytest.mark.parametrize(("worked_s", "expected"), [(119.0, 15.0), (120.0, 5.0), (5_000.0, 5.0)])
def test_failure_after_a_long_success_counts_as_the_first(worked_s: float, expected: float) -> None:
    pauses = backoff()
    pauses.next_pause_s()
    assert expected == pauses.next_pause_s(worked_s=worked_s)


def test_server_wish_lengthens_only_one_pause() -> None:
    pauses = backoff(min)
    assert 60.0 == pauses.next_pause_s(at_least_s=60.0)
    assert 1.0 == pauses.next_pause_s()


@pytest.mark.parametrize(("wish_s", "longest_s"), [(10.0, 20.0), (30.0, 60.0), (100.0, 130.0)])
def test_pause_after_a_server_wish_is_drawn_up_to_twice_as_long_or_the_cap_more(
    wish_s: float, longest_s: float
) -> None:
    assert longest_s == backoff().next_pause_s(at_least_s=wish_s)
    assert wish_s == backoff(min).next_pause_s(at_least_s=wish_s)
