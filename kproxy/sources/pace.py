"""How fast the list/watch loops go, and the clock and randomness that they use."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Times in seconds; the backoff is client-go's: from 0.8 s up to 30 s.

    All nodes of a cluster lose a server at the same moment, so their first attempts are spread over `backoff_first_s`:
    5,000 nodes with four kinds each then come with 5,000 requests a second. What had worked for `healthy_s` fails for
    the first time; load balancers end silent connections after 20 s or more, and each time is a first one.
    `idle_s` is how long a watch may be silent before it counts as dead: bookmarks come about once a minute. What we
    can do without is asked for again after `lacking_s`. With `streams` lists are asked for as such (KEP-3157), and where
    a server has none, again only after `streams_again_s`: it may be a newer one then. Until its list is complete, a
    stream may go without a further object for `stream_idle_s`: a server sends what there is without pauses, and then
    the end. `uniform(low, high)` draws the lifetime of a watch and the pauses of the backoff; `wait(stopping, seconds)`
    spends such a pause.
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
