"""Counts for each second, from which a scenario's figures are made."""

from collections import Counter
from enum import StrEnum


class Seen(StrEnum):
    """An action of a client that an API server counts."""

    REQUEST = "requests"
    LIST = "lists"
    REFUSAL = "429"
    KNOCK = "knocks"
    """A connect to a server that is away."""
    CONNECTION = "connections"


class Tally:
    """How often each thing was seen in each second, and how many agents watched all their kinds."""

    def __init__(self, agents: int, kinds: int) -> None:
        self._seen: dict[Seen, Counter[int]] = {each: Counter() for each in Seen}
        self._open = [0] * agents
        self._kinds = kinds
        self._complete = 0
        self._complete_at: list[tuple[float, int]] = [(0.0, 0)]

    def note(self, seen: Seen, now: float) -> None:
        self._seen[seen][int(now)] += 1

    def opened(self, agent: int, now: float) -> None:
        self._open[agent] += 1
        if self._open[agent] == self._kinds:
            self._complete += 1
            self._complete_at.append((now, self._complete))

    def closed(self, agent: int, now: float) -> None:
        if self._open[agent] == self._kinds:
            self._complete -= 1
            self._complete_at.append((now, self._complete))
        self._open[agent] -= 1

    def peak(self, seen: Seen, since_s: float) -> int:
        """The largest count in one second."""
        return max(self.series(seen, since_s), default=0)

    def total(self, seen: Seen, since_s: float) -> int:
        return sum(count for second, count in self._seen[seen].items() if second >= int(since_s))

    def series(self, seen: Seen, since_s: float) -> list[int]:
        """The counts of all seconds from this one on."""
        counts = self._seen[seen]
        return [counts[second] for second in range(int(since_s), max(counts, default=-1) + 1)]

    def complete_after_s(self, since_s: float, share: float) -> float | None:
        """Seconds from this time until this many agents watched all their kinds again; None if they never did."""
        wanted = share * len(self._open)
        before = [count for at, count in self._complete_at if at <= since_s][-1]
        if before >= wanted:
            return 0.0
        return next(
            (at - since_s for at, count in self._complete_at if at > since_s and count >= wanted), None
        )
