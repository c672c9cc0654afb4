"""A delta of desired and observed values: what is pending, and what it costs."""

import tracemalloc

from kproxy.transaction.delta import Delta


def many(number: int, word: str) -> dict[str, str]:
    return {f"key-{each}": f"{word}-{each}-{'x' * 50}" for each in range(number)}


def test_delta_of_equal_views_holds_each_text_once() -> None:
    delta = Delta[str, str]()
    for key, value in many(5_000, "rules").items():
        delta.desired[key] = value
    tracemalloc.start()
    try:
        delta.found(many(5_000, "rules"))  # other objects, the same texts
        delta.holds(many(5_000, "rules"))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0 == len(delta.pending)
    assert held < 20_000


def test_key_that_is_desired_again_as_observed_is_pending_no_more() -> None:
    delta = Delta[str, str]()
    delta.desired["a"] = "one"
    delta.settle()
    delta.desired["a"] = "two"
    assert ["a"] == [*delta.pending]
    delta.desired["a"] = "one"
    assert [] == [*delta.pending]


def test_key_of_unknown_value_is_pending_until_it_is_told() -> None:
    delta = Delta[str, str]()
    delta.desired["a"] = "one"
    delta.settle()
    delta.holds({"a": None})
    assert ({"a": "one"}, {"a": None}) == (delta.wanted, delta.unwanted)
    delta.holds({"a": "one"})
    assert ({}, {}) == (delta.wanted, delta.unwanted)


def test_key_that_goes_before_it_was_applied_leaves_nothing() -> None:
    delta = Delta[str, str]()
    delta.desired["a"] = "one"
    del delta.desired["a"]
    assert [] == [*delta.pending]
