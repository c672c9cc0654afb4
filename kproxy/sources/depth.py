"""Room on the stack for JSON that is nested as deeply as an API server accepts."""

import resource
import sys
import threading

DEEPEST_LEVEL = 10_000
"""Levels. An API server refuses deeper JSON. The parser needs half a MB of stack for this depth."""

_STACK_BYTES = 2 << 20
"""A thread usually has 8 MB. A smaller stack than this gets no room, because a stack overflow ends the process."""

_OUR_CALLS = 500
"""The most calls of our own code below the parser."""


class _Room:
    """A context manager. Inside it, the parser reads deep JSON by itself instead of refusing it.

    This takes a hundredth of the time of `kproxy.state.nesting`, which still handles even deeper JSON. Use it only for
    parsing: Python up to 3.11 counts a parser's levels against the recursion limit, which is one limit for all threads,
    and other code needs more stack for each level. So enter it for one object or page at a time.
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
