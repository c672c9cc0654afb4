"""The next request of a loop, from its position and the last refusal, as client-go's reflector decides it."""

import pytest

from kproxy.errors import ApiFailed
from kproxy.sources.listing import FROM_CACHE
from kproxy.sources.position import Next, Position, as_logged


def position(version: str = "9") -> Position:
    at = Position()
    at.listed(version)
    return at


def test_first_list_may_be_any_and_the_first_stream_is_the_newest() -> None:
    first = Position()
    assert (Next.LIST, FROM_CACHE, "") == (first.next, first.oldest_list, first.oldest_stream)


def test_list_and_events_advance_the_position() -> None:
    at = position("9")
    assert (Next.WATCH, "9") == (at.next, at.resource_version)
    at.moved("12")
    at.moved("")
    assert (Next.WATCH, "12") == (at.next, at.resource_version)


def test_list_without_a_version_requires_the_newest_list() -> None:
    at = position("")
    assert (Next.NEWEST_LIST, "", "") == (at.next, at.oldest_list, at.oldest_stream)


@pytest.mark.parametrize(
    ("failure", "after_a_request", "after_an_event"),
    [
        (ApiFailed("x"), Next.WATCH, Next.LIST),
        (ApiFailed("x", status=410), Next.LIST, Next.LIST),
        (ApiFailed("x", status=429), Next.WATCH, Next.WATCH),
        (ApiFailed("x", status=503), Next.WATCH, Next.WATCH),
        (ApiFailed("x", status=500), Next.WATCH, Next.LIST),
        (ApiFailed("x", status=401), Next.WATCH, Next.LIST),
        (ApiFailed("x", status=400), Next.NEWEST_LIST, Next.NEWEST_LIST),
        (ApiFailed("x", status=422), Next.NEWEST_LIST, Next.NEWEST_LIST),
        (ApiFailed("x", status=504), Next.WATCH, Next.LIST),
        (ApiFailed("x", status=504, is_ahead=True), Next.NEWEST_LIST, Next.NEWEST_LIST),
    ],
)
def test_refusal_decides_the_next_request(
    failure: ApiFailed, after_a_request: Next, after_an_event: Next
) -> None:
    at = position()
    at.refused(failure)
    assert after_a_request is at.next
    at = position()
    at.missed(failure)
    assert after_an_event is at.next
    assert "9" == at.resource_version, "a list may still be no older than that"


def test_lost_position_still_needs_the_newest_list_after_a_refusal() -> None:
    at = position()
    at.lost()
    for status in (410, 429, 500):
        at.refused(ApiFailed("x", status=status))
    assert Next.NEWEST_LIST is at.next
    at.listed("3")
    assert (Next.WATCH, "3") == (at.next, at.resource_version)


@pytest.mark.parametrize(
    ("known", "new", "back"),
    [
        ("9", "8", True),
        ("9", "10", False),
        ("9", "9", False),
        ("", "8", False),
        ("9", "", False),
        ("9", "x", False),
        ("9" * 5000, "8", False),
        ("18446744073709551615", "18446744073709551614", True),
    ],
)
def test_version_goes_back_only_if_both_are_numbers(known: str, new: str, *, back: bool) -> None:
    assert back == position(known).would_go_back(new)


@pytest.mark.parametrize(
    ("version", "told"),
    [("28500", "28500"), ("", "''"), ("1\x1b[2J\nx", r"'1\x1b[2J\nx'"), ("a b", "'a b'"), ("٣", "'٣'")],
)
def test_version_is_logged_on_one_line(version: str, told: str) -> None:
    assert told == as_logged(version)


def test_version_of_any_length_is_logged_shortened() -> None:
    assert 1_000 > len(as_logged("9" * 1_000_000))
