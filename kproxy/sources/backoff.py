"""How long to wait before the next attempt, so that many nodes do not all come back at once."""

from collections.abc import Callable


class Backoff:
    """Decorrelated jitter: each pause is drawn between `base_s` and three times the pause before it.

    No pause exceeds `cap_s`, except to honour a server's wish. A failure that comes `healthy_s` or more
    after the one before starts from `base_s` again: what worked that long was in order.
    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(
        self,
        *,
        base_s: float,
        cap_s: float,
        healthy_s: float,
        clock: Callable[[], float],
        uniform: Callable[[float, float], float],
    ) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._healthy_s = healthy_s
        self._clock = clock
        self._uniform = uniform
        self._pause_s = base_s
        self._resumed_at: float | None = None

    def next_pause_s(self, at_least_s: float = 0.0) -> float:
        """The pause after a failure that happens now, `at_least_s` being what the server asked for."""
        now = self._clock()
        if self._resumed_at is not None and now - self._resumed_at >= self._healthy_s:
            self._pause_s = self._base_s
        self._pause_s = min(self._cap_s, self._uniform(self._base_s, 3 * self._pause_s))
        pause_s = max(self._pause_s, at_least_s)
        self._resumed_at = now + pause_s
        return pause_s
