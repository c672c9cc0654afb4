"""One cause told once: all kinds come from one server, and what is wrong with that is wrong for each of them."""

import threading
from collections.abc import Callable
from http import HTTPStatus

from kproxy.errors import ApiFailed

_STILL_FRESH_S = 10.0
"""As long as a person who reads the log still sees the line; loops that wait longer tell it themselves."""


class Told:
    """The failures that the loops have told last; may be asked from any thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._told: dict[str, tuple[str, float]] = {}

    def is_news(self, teller: str, failure: Exception) -> bool:
        """Whether no other kind has just told the same; then it counts as told by this one."""
        cause, now = _cause(failure), self._clock()
        with self._lock:
            by, at = self._told.get(cause, (teller, now))
            if by != teller and now - at < _STILL_FRESH_S:
                return False
            self._told = {each: told for each, told in self._told.items() if now - told[1] < _STILL_FRESH_S}
            self._told[cause] = teller, now
            return True


def _cause(failure: Exception) -> str:
    """A refusal that names a kind is the same for each; one by rights (403) or of a kind (404) is about that alone."""
    if isinstance(failure, ApiFailed) and (
        failure.status == HTTPStatus.UNAUTHORIZED or failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    ):
        return str(int(failure.status))
    return str(failure)
