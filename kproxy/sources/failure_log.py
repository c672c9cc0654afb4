"""Logs one cause once: all kinds come from one server, and a fault of the server concerns each of them."""

import threading
from collections.abc import Callable
from http import HTTPStatus

from kproxy.errors import ApiFailed

_STILL_FRESH_S = 10.0
"""Seconds in which the reader of the log still sees the line. Loops that wait longer log the cause themselves."""


class FailureLog:
    """The last failures that the loops logged. Any thread may ask."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._told: dict[str, tuple[str, float]] = {}

    def is_new(self, teller: str, failure: Exception) -> bool:
        """Whether no other kind has just logged this cause. If so, the cause counts as logged by this kind."""
        cause, now = _cause(failure), self._clock()
        with self._lock:
            by, at = self._told.get(cause, (teller, now))
            if by != teller and now - at < _STILL_FRESH_S:
                return False
            self._told = {each: told for each, told in self._told.items() if now - told[1] < _STILL_FRESH_S}
            self._told[cause] = teller, now
            return True


def _cause(failure: Exception) -> str:
    """The cause as text.

    A 401 or a server error is one cause for all kinds; other refusals, such as 403 and 404, concern one kind.
    """
    if isinstance(failure, ApiFailed) and (
        failure.status == HTTPStatus.UNAUTHORIZED or failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    ):
        return str(int(failure.status))
    return str(failure)
