"""When to sync: soon after a change, never too often, and now and then without any."""

from dataclasses import dataclass

_FIRST_RETRY_S = 1.0
_MOST_DOUBLINGS = 20


@dataclass(slots=True)
class Schedule:
    """Decides from times that it is given; it never looks at a clock, and never sleeps.

    Times are seconds on any clock that only goes forward. A sync is due `min_interval_s` after the
    last one ended if a change asks for it, `max_interval_s` after it in any case. After a failure it is tried
    again at growing intervals; changes are not held up by that, since what failed may be one family only.
    """

    min_interval_s: float
    max_interval_s: float
    _requested: bool = False
    _ended_at: float = float("-inf")
    _failures: int = 0

    def request(self) -> None:
        """A change asks for a sync."""
        self._requested = True

    def wait_s(self, now: float) -> float:
        """How long until the next sync is due; 0 if it is."""
        return max(self._due_at() - now, 0.0)

    def began(self) -> None:
        """A sync begins: changes from here on ask for another."""
        self._requested = False

    def ended(self, now: float, *, failed: bool) -> None:
        self._ended_at = now
        self._failures = self._failures + 1 if failed else 0

    def _due_at(self) -> float:
        intervals = [self.max_interval_s]
        if self._requested:
            intervals.append(self.min_interval_s)
        if self._failures:
            intervals.append(_FIRST_RETRY_S * 2.0 ** min(self._failures - 1, _MOST_DOUBLINGS))
        return self._ended_at + min(intervals)
