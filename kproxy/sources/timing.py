"""The times of the list/watch loops, and the clock and random numbers that they use."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Times in seconds. The backoff is client-go's: from 0.8 s up to 30 s.

    - `backoff_first_s`: all nodes of a cluster lose a server at the same moment, and their first attempts are spread over
      this time. 5,000 nodes with four kinds each then send 5,000 requests per second.
    - `healthy_s`: a failure after a success of this length counts as the first failure. Load balancers end silent
      connections after 20 s or more, and each of these ends is a first failure.
    - `idle_s`: how long a watch may be silent until it counts as dead. Bookmarks come about once a minute.
    - `lacking_s`: the pause until an optional resource is asked for again.
    - `streams`: whether lists are fetched as streams (KEP-3157). After a server refused a stream, the next stream is tried
      after `streams_again_s`: the server may be a newer version then.
    - `stream_idle_s`: how long a stream may send no further object before its list is complete. A server sends all objects
      without pauses, and then the end.
    - `uniform(low, high)` draws the lifetime of a watch and the pauses; `wait(stopping, seconds)` spends a pause.
    """

    page_size: int = 500
    list_timeout_s: float = 60.0
    idle_s: float = 150.0
    watch_min_s: float = 300.0
    watch_max_s: float = 600.0
    backoff_base_s: float = 0.8
    backoff_first_s: float = 5.0
    backoff_cap_s: float = 30.0
    healthy_s: float = 10.0
    retry_after_cap_s: float = 120.0
    lacking_s: float = 120.0
    streams: bool = False
    streams_again_s: float = 3600.0
    stream_idle_s: float = 20.0
    clock: Callable[[], float] = time.monotonic
    uniform: Callable[[float, float], float] = random.uniform
    wait: Callable[[threading.Event, float], object] = threading.Event.wait

    def watch_lifetime_s(self) -> int:
        """A new lifetime for a watch, drawn so that not all watches end at once."""
        return int(self.uniform(self.watch_min_s, self.watch_max_s))
