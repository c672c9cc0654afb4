"""The pause before the next attempt, drawn so that many nodes do not all come back at once."""

from collections.abc import Callable


class Backoff:
    """Decorrelated jitter: each pause is drawn between `base_s` and three times the pause before it.

    The first pause is drawn between `base_s` and `first_s`. So is the first pause after a success that lasted
    `healthy_s` or longer. No pause exceeds `cap_s`, unless the server asks for a longer one. A pause that the server
    asks for is drawn between this time and twice this time, or `cap_s` more, because a server asks all clients that it
    refuses in one second for the same pause. Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
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
        """The pause after a failure.

        `worked_s` is how long the connection had worked, `at_least_s` the server's wish.
        """
        if worked_s >= self._healthy_s:
            self._longest_s = self._first_s
        pause_s = min(self._cap_s, self._uniform(self._base_s, self._longest_s))
        self._longest_s = 3 * pause_s
        return max(pause_s, self.honoured_s(at_least_s))

    def honoured_s(self, at_least_s: float) -> float:
        """The pause for a server's wish alone."""
        return self._uniform(at_least_s, at_least_s + min(at_least_s, self._cap_s))
