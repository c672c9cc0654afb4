"""The rate of an agent's requests, as `--kube-api-qps` and `--kube-api-burst` set it."""

import math
import threading
import time
from collections.abc import Callable

DEFAULT_QPS = 5.0
"""The rate in requests per second if qps is 0 (client-go rest/config.go)."""

DEFAULT_BURST = 10
"""The burst in requests if burst is 0 (client-go rest/config.go)."""

LONGEST_WAIT_S = 86_400.0
"""A day, in seconds. A rate of one request a year is a mistake, and a request that is never sent hides this mistake."""


class RateLimiter:
    """A token bucket for all connections of an agent; safe to use from any thread.

    The bucket starts with `burst` tokens, gets `qps` new tokens per second and holds at most `burst`. Requests get
    their turns in the order in which they ask. Source: client-go util/flowcontrol/throttle.go, golang.org/x/time/rate.
    """

    def __init__(
        self,
        qps: float = DEFAULT_QPS,
        burst: int = DEFAULT_BURST,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._qps = qps
        self._burst = float(burst)
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = self._burst
        self._filled_at = clock()

    def reserve_s(self) -> float:
        """Take a token. Returns how many seconds the request must wait for the token, at most a day."""
        with self._lock:
            now = self._clock()
            gained = max(0.0, now - self._filled_at) * self._qps
            self._tokens = min(self._burst, self._tokens + gained) - 1.0
            self._filled_at = now
            missing = max(0.0, -self._tokens)
        return min(missing / self._qps, LONGEST_WAIT_S)


def rate_limiter(qps: float, burst: int) -> RateLimiter | None:
    """The limiter for these settings.

    0 stands for the default. None if qps is below 0 or infinite, which means no limit.
    """
    if qps < 0 or math.isinf(qps):
        return None
    return RateLimiter(qps or DEFAULT_QPS, burst or DEFAULT_BURST)
