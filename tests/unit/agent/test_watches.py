"""Which silence is our own fault, on a clock that the test turns."""

import pytest

from kproxy.agent.watches import Watches
from kproxy.sources.listwatch import Freshness
from kproxy.state.objects import Kind

LONG_S = 300.0


@pytest.mark.parametrize(
    ("heard_at", "tried_at", "now", "stuck", "outdated"),
    [
        (10.0, 10.0, 10.0 + LONG_S - 1, False, False),
        (10.0, 200.0, 10.0 + LONG_S, False, True),
        (10.0, 10.0, 10.0 + LONG_S, True, True),
        (None, 200.0, LONG_S, False, True),
        (None, None, LONG_S, True, True),
        (None, None, LONG_S - 1, False, False),
    ],
)
def test_silence_is_a_defect_only_where_nothing_was_tried(
    heard_at: float | None, tried_at: float | None, now: float, stuck: bool, outdated: bool
) -> None:
    time_s = [0.0]
    watches = Watches(lambda: (Freshness(Kind.SERVICE, "1", heard_at, tried_at),), clock=lambda: time_s[0])
    time_s[0] = now
    assert stuck == bool(watches.stuck())
    assert outdated == bool(watches.outdated())
    assert {"Service": now - (heard_at or 0.0)} == watches.ages_s()


def test_complaint_names_the_kind_and_the_time() -> None:
    time_s = [0.0]
    watches = Watches(lambda: (Freshness(Kind.NODE, "", None, 350.0),), clock=lambda: time_s[0])
    time_s[0] = 400.0
    assert ("nothing was heard of Node for 400 s",) == watches.outdated()
