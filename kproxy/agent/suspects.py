"""Services whose newest rules are left out: why, and when each is tried again."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import count

from kproxy.errors import KproxyError, ProgramFailed
from kproxy.ruleset.failures import place_of, why
from kproxy.state.events import Cost, Rejection
from kproxy.transaction.refusal import in_words
from kproxy.values import Family, NamespacedName

_log = logging.getLogger(__name__)

FIRST_PAUSE_S = 60.0
"""A template that was put right, or a kernel module that was loaded, is noticed within a minute."""

LONGEST_PAUSE_S = 3600.0
"""Rules that were refused for hours will hardly be taken soon; a try in iptables-legacy writes the whole table."""

MOST_TRIES = 100
"""The number of tries in one search for Services at fault. One Service among 10,000 takes 15 to 30 tries; the next sync
goes on with the rest."""

LONGEST_SEARCH_S = 20.0
"""Seconds that changes of other Services wait for a search, or a little longer: a try in iptables-legacy may take
seconds."""


def limited(clock: Callable[[], float]) -> Callable[[], bool]:
    """A function that a search, which begins now, calls before each try; it says whether the try is allowed."""
    tries, ends_at = count(1), clock() + LONGEST_SEARCH_S
    return lambda: next(tries) <= MOST_TRIES and clock() < ends_at


@dataclass(slots=True)
class _Suspect:
    field: str
    reason: str
    is_refused: bool
    due_at: float
    pause_s: float


class Suspects:
    """The Services of one family that keep the rules that they had.

    A Service that changes is due at once, any other after pauses that grow from `FIRST_PAUSE_S` to `LONGEST_PAUSE_S`.
    """

    def __init__(self, family: Family, clock: Callable[[], float] = time.monotonic) -> None:
        self._place = place_of(family)
        self._clock = clock
        self._held: dict[NamespacedName, _Suspect] = {}
        self.not_computed_now: AbstractSet[NamespacedName] = frozenset()
        """The Services whose rules could not be made the last time."""

    @property
    def refused(self) -> AbstractSet[NamespacedName]:
        """The Services whose rules the kernel refused; no other Service may wait for a try of these."""
        return {key for key, suspect in self._held.items() if suspect.is_refused}

    @property
    def due(self) -> AbstractSet[NamespacedName]:
        """The Services that are to be tried now."""
        now = self._clock()
        return {key for key, suspect in self._held.items() if suspect.due_at <= now}

    @property
    def waiting(self) -> AbstractSet[NamespacedName]:
        """The Services whose pause is not over."""
        return self._held.keys() - self.due

    def reconsider(self, keys: AbstractSet[NamespacedName]) -> None:
        """These have changed, so the reasons may be gone."""
        for key in self._held.keys() & keys:
            suspect = self._held[key]
            suspect.due_at, suspect.pause_s = self._clock(), 0.0

    def reconsider_all(self) -> None:
        """The circumstances of all rules have changed."""
        self.reconsider(self._held.keys())

    def computed(
        self, keys: AbstractSet[NamespacedName], failures: Mapping[NamespacedName, Exception]
    ) -> None:
        """The newest rules of these were made, except those in `failures`, which has the reasons."""
        self.not_computed_now = failures.keys()
        for key in (self._held.keys() & keys) - failures.keys():
            if not self._held[key].is_refused:
                del self._held[key]
        for key, failed in failures.items():
            if not isinstance(failed, KproxyError):
                _log.error("%s: Service %s meets a defect in kproxy", self._place, key, exc_info=failed)
            field, reason = why(failed)
            self._hold(key, field, reason, is_refused=False)

    def refuse(self, refusals: Mapping[NamespacedName, ProgramFailed]) -> None:
        """The kernel does not take the newest rules of these."""
        for key, failed in refusals.items():
            self._hold(key, "", f"its rules are refused: {in_words(failed)}", is_refused=True)

    def release(self, keys: Iterable[NamespacedName]) -> None:
        """The kernel holds what was last computed of these; one whose newest rules could not be computed stays."""
        for key in keys:
            if key in self._held and self._held[key].is_refused:
                del self._held[key]

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        return tuple(
            Rejection(self._place, "Service", str(key), held.field, held.reason, key, Cost.CHANGE)
            for key, held in sorted(self._held.items())
        )

    def _hold(self, key: NamespacedName, field: str, reason: str, *, is_refused: bool) -> None:
        before = self._held.get(key)
        pause_s = min(2 * before.pause_s, LONGEST_PAUSE_S) if before and before.pause_s else FIRST_PAUSE_S
        self._held[key] = _Suspect(field, reason, is_refused, self._clock() + pause_s, pause_s)
