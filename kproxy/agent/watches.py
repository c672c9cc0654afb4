"""How long the cluster has not been heard of, and whether that is our own fault."""

import time
from collections.abc import Callable, Mapping, Sequence

from kproxy.sources.listwatch import Freshness

_LONGEST_SILENCE_S = 300.0
"""A watch that is silent for 150 s is given up and begun anew; twice that is more than an unlucky moment."""


class Watches:
    """Judges the list/watch loops by the times that they leave behind; may be asked from any thread."""

    def __init__(
        self, freshness: Callable[[], Sequence[Freshness]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._freshness = freshness
        self._clock = clock
        self._began_at = clock()

    def stuck(self) -> tuple[str, ...]:
        """Loops that neither hear anything nor try to: a defect that only a restart ends."""
        return self._silent("the watch of {} has hung for {:.0f} s", lambda each: each.tried_at)

    def outdated(self) -> tuple[str, ...]:
        """Kinds of which the API server has not told anything, whatever we tried."""
        return self._silent("nothing was heard of {} for {:.0f} s", lambda each: each.heard_at)

    def ages_s(self) -> Mapping[str, float]:
        """By kind, how long ago the last word came; since the start, if none came yet."""
        now = self._clock()
        return {
            str(each.kind): now - (self._began_at if each.heard_at is None else each.heard_at)
            for each in self._freshness()
        }

    def _silent(self, sentence: str, last: Callable[[Freshness], float | None]) -> tuple[str, ...]:
        now = self._clock()
        ages = [
            (each.kind, now - (self._began_at if (at := last(each)) is None else at))
            for each in self._freshness()
        ]
        return tuple(sentence.format(kind, age_s) for kind, age_s in ages if age_s >= _LONGEST_SILENCE_S)
