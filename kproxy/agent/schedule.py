"""The time of the next sync: soon after a change, never too often, and sometimes without a change."""

from dataclasses import dataclass

_FIRST_RETRY_S = 1.0
_MOST_DOUBLINGS = 20


@dataclass(slots=True)
class Schedule:
    """Decides from the times that it is given; it has no clock, and never sleeps.

    Times are seconds on any clock that only goes forward. A sync is due `min_interval_s` after the end of the last one
    if a change asks for it, and `max_interval_s` after it in any case. A failed sync is tried again at growing
    intervals. Changes do not wait for that, since only one family may have failed.
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
        """The seconds until the next sync is due; 0 if it is due now."""
        return max(self._due_at() - now, 0.0)

    def began(self) -> None:
        """A sync begins: changes from now on ask for another one."""
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
