"""How long to wait before the next attempt, so that many nodes do not all come back at once."""

from collections.abc import Callable


class Backoff:
    """Decorrelated jitter: each pause is drawn between `base_s` and three times the pause before it.

    The first is drawn between `base_s` and `first_s`, and so is the first after something that worked for `healthy_s`
    or longer. No pause exceeds `cap_s`, except to honour a server's wish: then it is drawn between that wish and twice
    as long, or `cap_s` more, as a server tells all whom it refuses in a second the same.
    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(
        self,
        *,
        base_s: float,
        first_s: float,
        cap_s: float,
        healthy_s: float,
        uniform: Callable[[float, float], float],
    ) -> None:
        self._base_s = base_s
        self._first_s = first_s
        self._cap_s = cap_s
        self._healthy_s = healthy_s
        self._uniform = uniform
        self._longest_s = first_s

    def next_pause_s(self, at_least_s: float = 0.0, *, worked_s: float = 0.0) -> float:
        """The pause after a failure of what had worked for `worked_s`, `at_least_s` being the server's wish."""
        if worked_s >= self._healthy_s:
            self._longest_s = self._first_s
        pause_s = min(self._cap_s, self._uniform(self._base_s, self._longest_s))
        self._longest_s = 3 * pause_s
        return max(pause_s, self.honoured_s(at_least_s))

    def honoured_s(self, at_least_s: float) -> float:
        """The pause that a server's wish alone asks for."""
        return self._uniform(at_least_s, at_least_s + min(at_least_s, self._cap_s))
