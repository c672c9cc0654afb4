"""Services that are left out: why, when they are tried again, and how far a search may go."""

from kproxy.agent import suspects
from kproxy.agent.suspects import FIRST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_SEARCH_S, Suspects, limited
from kproxy.errors import InputError, InvalidField, ProgramFailed
from kproxy.state.events import Cost, Rejection
from kproxy.values import Family, NamespacedName

WEB, API = NamespacedName("default", "web"), NamespacedName("default", "api")
REFUSAL = ProgramFailed("iptables-restore", 1, "iptables-restore: line 3 failed", "", 3)


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_rejection_has_the_field_and_reason_of_what_could_not_be_computed() -> None:
    held = Suspects(Family.IPV6)
    held.computed(
        {WEB, API}, {WEB: InvalidField("spec.ports", "too many"), API: InputError("a.j2, line 3:\n no")}
    )
    assert held.rejections == (
        Rejection("IPv6 rules", "Service", "default/api", "", "a.j2, line 3: no", API, Cost.CHANGE),
        Rejection("IPv6 rules", "Service", "default/web", "spec.ports", "too many", WEB, Cost.CHANGE),
    )
    assert set() == held.refused
    held.computed({WEB}, {})
    assert [API] == [rejection.key for rejection in held.rejections]


def test_pause_doubles_with_each_refusal_and_is_short_again_after_a_change() -> None:
    clock = Clock()
    held = Suspects(Family.IPV4, clock)
    pauses = []
    for _ in range(9):
        held.refuse({WEB: REFUSAL})
        began = clock.now_s
        while WEB not in held.due:
            clock.now_s += 1
        pauses.append(clock.now_s - began)
    assert [FIRST_PAUSE_S * 2**number for number in range(6)] == pauses[:6]
    assert LONGEST_PAUSE_S == pauses[-1]
    held.refuse({WEB: REFUSAL})
    held.reconsider({WEB, API})
    assert {WEB} == held.due
    held.refuse({WEB: REFUSAL})
    clock.now_s += FIRST_PAUSE_S
    assert {WEB} == held.due == held.refused


def test_rules_that_were_computed_release_nobody_whom_the_kernel_refused() -> None:
    held = Suspects(Family.IPV4)
    held.refuse({WEB: REFUSAL})
    held.computed({WEB}, {})
    assert {WEB} == held.refused
    held.release({WEB})
    assert () == held.rejections


def test_search_ends_after_so_many_tries_or_so_long() -> None:
    clock = Clock()
    may_try = limited(clock)
    assert suspects.MOST_TRIES == sum(may_try() for _ in range(2 * suspects.MOST_TRIES))
    may_try = limited(clock)
    assert may_try()
    clock.now_s += LONGEST_SEARCH_S
    assert not may_try()
