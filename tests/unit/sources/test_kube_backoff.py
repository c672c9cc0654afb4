"""The pauses between attempts, with a clock and a random source that the test holds."""

from kproxy.sources.backoff import Backoff


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def backoff(clock: Clock, *, highest: bool = True) -> Backoff:
    return Backoff(base_s=1.0, cap_s=30.0, healthy_s=120.0, clock=clock, uniform=max if highest else min)


def test_pauses_grow_threefold_at_most_up_to_the_cap() -> None:
    pauses = backoff(Clock())
    assert [3.0, 9.0, 27.0, 30.0, 30.0] == [pauses.next_pause_s() for _ in range(5)]


def test_pause_is_never_shorter_than_the_base() -> None:
    pauses = backoff(Clock(), highest=False)
    assert [1.0, 1.0] == [pauses.next_pause_s() for _ in range(2)]


def test_failure_after_a_healthy_period_starts_from_the_base() -> None:
    clock = Clock()
    pauses = backoff(clock)
    pauses.next_pause_s()
    clock.now += 3.0 + 120.0
    assert 3.0 == pauses.next_pause_s()


def test_pause_itself_does_not_count_as_healthy() -> None:
    clock = Clock()
    pauses = backoff(clock)
    pauses.next_pause_s(at_least_s=500.0)
    clock.now += 500.0 + 119.0
    assert 9.0 == pauses.next_pause_s()


def test_server_wish_lengthens_one_pause_only() -> None:
    pauses = backoff(Clock())
    assert 60.0 == pauses.next_pause_s(at_least_s=60.0)
    assert 9.0 == pauses.next_pause_s(at_least_s=2.0)
