"""Room for JSON that is nested as deeply as an API server lets anybody nest it."""

import resource
import sys
import threading

DEEPEST_LEVEL = 10_000
"""An API server refuses what is nested deeper. The parser needs half a MB of stack for it."""

_STACK_BYTES = 2 << 20
"""A thread usually has 8 MB. With less than this there is no room: what overflows a stack ends the process."""

_OUR_CALLS = 500
"""A parser begins at most so deep in calls of our own."""


class _Room:
    """While anybody is inside, the parser goes through depths by itself instead of giving up on them.

    That takes a hundredth of the time of `kproxy.state.shallow`, to which what is deeper still is left. Only for
    parsing: Python up to 3.11 counts a parser's levels against its recursion limit, which is one for all threads, and
    other code needs more stack for each level. So it is entered for one object or page at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._usual_limit = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._usual_limit = sys.getrecursionlimit()
                if _has_stack():
                    sys.setrecursionlimit(max(self._usual_limit, DEEPEST_LEVEL + _OUR_CALLS))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                sys.setrecursionlimit(self._usual_limit)


def _has_stack() -> bool:
    limit, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return limit == resource.RLIM_INFINITY or limit >= _STACK_BYTES


room_for_depth = _Room()
