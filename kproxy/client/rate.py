"""The pace of an agent's requests, as `--kube-api-qps` and `--kube-api-burst` set it."""

import math
import threading
import time
from collections.abc import Callable

DEFAULT_QPS = 5.0
"""client-go rest/config.go: the rate that a qps of 0 means."""

DEFAULT_BURST = 10
"""client-go rest/config.go: the burst that a burst of 0 means."""

LONGEST_WAIT_S = 86_400.0
"""A day. A rate of one request a year is a mistake, and a request that never comes shows nobody which one."""


class RateLimiter:
    """A token bucket for all connections of an agent; safe to use from any thread.

    It begins with `burst` tokens, gets `qps` new ones a second and holds no more than `burst`. Requests get their
    turns in the order in which they ask. Source: client-go util/flowcontrol/throttle.go, golang.org/x/time/rate.
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
        """Take a token; the seconds until it is there, for which the request must wait. At most a day."""
        with self._lock:
            now = self._clock()
            gained = max(0.0, now - self._filled_at) * self._qps
            self._tokens = min(self._burst, self._tokens + gained) - 1.0
            self._filled_at = now
            missing = max(0.0, -self._tokens)
        return min(missing / self._qps, LONGEST_WAIT_S)


def rate_limiter(qps: float, burst: int) -> RateLimiter | None:
    """The limiter that these settings ask for; 0 stands for the default. None for no limit, which a qps below 0 means."""
    if qps < 0 or math.isinf(qps):
        return None
    return RateLimiter(qps or DEFAULT_QPS, burst or DEFAULT_BURST)
