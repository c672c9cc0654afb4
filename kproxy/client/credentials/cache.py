"""Credentials that live longer than a connection.

Each new connection reads the configuration again and finds them here.
"""

import logging
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

from kproxy.client.files import read_bounded
from kproxy.errors import EnvironmentLacking, InputError, KproxyError
from kproxy.state.printable import one_line

_log = logging.getLogger(__name__)

_MOST_KEPT = 16
"""Values. An agent uses one configuration, and a new one replaces it only when a file is edited."""

_LONGEST_FILE_BYTES = 1 << 20
"""Go's servers accept no headers longer than 1 MiB, and a chain of certificates is much shorter."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """One value for each key, made at the first request for it. The least recently used values are dropped."""

    def __init__(self, make: Callable[[Key], Value]) -> None:
        self._make = make
        self._values: dict[Key, Value] = {}
        self._lock = threading.Lock()

    def of(self, key: Key) -> Value:
        """The value for this key. Equal keys get one value, in all threads."""
        with self._lock:
            value = self._values.pop(key) if key in self._values else self._make(key)
            self._values[key] = value
            if len(self._values) > _MOST_KEPT:
                del self._values[next(iter(self._values))]
            return value


class LastGood(Generic[Value]):
    """The last good value that was read from files which others replace. It stays in use while reading fails."""

    def __init__(self) -> None:
        self._value: Value | None = None
        self._reported = ""
        self._lock = threading.Lock()

    def newest(self, read: Callable[[Value | None], Value]) -> Value:
        """Call `read` with the last good value. Its KproxyError is raised only if there has been no good value yet."""
        with self._lock:
            try:
                self._value = read(self._value)
            except KproxyError as failure:
                if self._value is None:
                    raise
                self._report_once(str(failure))
            else:
                self._reported = ""
            return self._value

    def _report_once(self, problem: str) -> None:
        if problem != self._reported:
            _log.warning("%s; the previous one stays in use", problem)
            self._reported = problem


def read_file(path: Path, named: str) -> bytes:
    """The content of a small file. `named` describes the file in messages. EnvironmentLacking if it cannot be read.

    Pipes and devices are refused: each request reads the file again, and a pipe gives its content only once.
    """
    place = f"{named} {one_line(str(path))}"
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{place} is not a regular file; name a regular file")
        return read_bounded(path, _LONGEST_FILE_BYTES)
    except OSError as refused:
        raise EnvironmentLacking(
            f"{place} cannot be read: {refused.strerror}; write it, or name another"
        ) from refused
