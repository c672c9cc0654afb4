"""Which silence is our own fault, on a clock that the test turns."""

import pytest

from kproxy.agent.watches import Watches
from kproxy.sources.freshness import Freshness
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
        (None, None, LONG_S - 1, False, True),
    ],
)
def test_silence_is_a_defect_only_where_nothing_was_tried(
    heard_at: float | None, tried_at: float | None, now: float, stuck: bool, outdated: bool
) -> None:
    time_s = [0.0]
    watches = Watches(
        lambda: (Freshness(Kind.SERVICE, "1", heard_at, tried_at, heard_at),), clock=lambda: time_s[0]
    )
    time_s[0] = now
    assert stuck == bool(watches.stuck())
    assert outdated == bool(watches.outdated())
    assert {"Service": now - (heard_at or 0.0)} == watches.ages_s()


def test_complaint_names_the_kind_and_the_time() -> None:
    time_s = [0.0]
    watches = Watches(lambda: (Freshness(Kind.NODE, "", None, 350.0),), clock=lambda: time_s[0])
    time_s[0] = 400.0
    (complaint,) = watches.outdated()
    assert complaint.startswith(
        "nothing was heard of Node for 400 s; see whether the API server can be reached"
    )


def test_kind_without_a_first_list_is_named_from_the_start() -> None:
    watches = Watches(lambda: (Freshness(Kind.NODE, "", None, 1.0),), clock=lambda: 1.0)
    assert ("no list of Node has come yet; where that lasts, the log says why",) == watches.outdated()
    assert () == watches.stuck()


class Loop:
    """A list/watch loop of one kind, as its times tell, on a clock that the test turns."""

    def __init__(self) -> None:
        self.time_s = 0.0
        self.heard_at: float | None = None
        self.understood_at: float | None = None
        self.watches = Watches(lambda: (self._freshness(),), clock=lambda: self.time_s)

    def _freshness(self) -> Freshness:
        return Freshness(Kind.SERVICE, "1", self.heard_at, self.time_s, self.understood_at)

    def go_on(self, for_s: float, *, hears: bool, understands: bool) -> None:
        """Asked every ten seconds, as a kubelet probes."""
        for _ in range(int(for_s / 10)):
            self.time_s += 10.0
            if hears:
                self.heard_at = self.time_s
            if understands:
                self.understood_at = self.time_s
            self.watches.stuck()


@pytest.mark.parametrize("understood_before", [True, False])
def test_kind_that_is_heard_but_not_understood_is_outdated_and_then_stuck(*, understood_before: bool) -> None:
    loop = Loop()
    loop.go_on(100, hears=understood_before, understands=understood_before)
    loop.go_on(LONG_S - 10, hears=True, understands=False)
    assert () == loop.watches.stuck()
    loop.go_on(20, hears=True, understands=False)
    (outdated,), (stuck,) = loop.watches.outdated(), loop.watches.stuck()
    assert "nothing of Service was understood" in outdated
    assert "the API server's answers about Service have not been understood for 3" in stuck
    loop.go_on(10, hears=True, understands=True)
    assert ((), ()) == (loop.watches.outdated(), loop.watches.stuck())


def test_server_that_comes_back_after_a_long_outage_is_given_time_to_be_understood() -> None:
    loop = Loop()
    loop.go_on(100, hears=True, understands=True)
    loop.go_on(2 * LONG_S, hears=False, understands=False)
    assert (1, ()) == (len(loop.watches.outdated()), loop.watches.stuck())
    loop.go_on(50, hears=True, understands=False)
    assert () == loop.watches.stuck()


def test_server_that_falls_silent_after_nonsense_is_no_reason_to_restart() -> None:
    loop = Loop()
    loop.go_on(LONG_S - 50, hears=True, understands=False)
    loop.go_on(3 * LONG_S, hears=False, understands=False)
    assert () == loop.watches.stuck()
