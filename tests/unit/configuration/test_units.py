"""Durations in Go's notation."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.configuration.units import Seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("30s", 30.0),
        ("+30s", 30.0),
        ("500ms", 0.5),
        ("1h5m", 3900.0),
        ("1h0m0s", 3600.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("1ns", 1e-9),
        ("0.1s0.2s", 0.3),
    ],
)
def test_duration_is_read_as_go_reads_it(text: str, expected: float) -> None:
    assert expected == Seconds.parse(text)


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-1s", "1 s", "1d", "1s ", "0x1s", ".s", "1e3s", "٣s", "1m-1s", "+"]
)
def test_duration_that_go_refuses_or_that_is_negative_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write 500ms, 30s or 1h5m"):
        Seconds.parse(text)


def test_duration_longer_than_go_can_count_is_refused() -> None:
    assert 2562047 * 3600.0 == Seconds.parse("2562047h")
    with pytest.raises(ValueError, match="292 years"):
        Seconds.parse("2562048h")


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert Seconds.parse(text) >= 0
