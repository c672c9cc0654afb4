"""Credentials that outlive a connection: each connection is made of a configuration that was read anew."""

import logging
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

from kproxy.client.failures import one_line
from kproxy.client.files import read_bounded
from kproxy.errors import EnvironmentLacking, InputError, KproxyError

_log = logging.getLogger(__name__)

_MOST_KEPT = 16
"""An agent uses one configuration. Another one takes its place only when a file is edited, so a few are enough."""

_LONGEST_FILE_BYTES = 1 << 20
"""Go's servers read no longer headers than 1 MiB, and no chain of certificates comes near it."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """One value for each key, made when it is first asked for; of too many, those not asked for lately are forgotten."""

    def __init__(self, make: Callable[[Key], Value]) -> None:
        self._make = make
        self._values: dict[Key, Value] = {}
        self._lock = threading.Lock()

    def of(self, key: Key) -> Value:
        """The same value for equal keys, in all threads."""
        with self._lock:
            value = self._values.pop(key) if key in self._values else self._make(key)
            self._values[key] = value
            if len(self._values) > _MOST_KEPT:
                del self._values[next(iter(self._values))]
            return value


class Renewed(Generic[Value]):
    """The newest good reading of files that others replace: while that fails, the one before it stays in use."""

    def __init__(self) -> None:
        self._value: Value | None = None
        self._told = ""
        self._lock = threading.Lock()

    def newest(self, read: Callable[[Value | None], Value]) -> Value:
        """`read` gets the one before. Its KproxyError is raised only while there was no good reading yet."""
        with self._lock:
            try:
                self._value = read(self._value)
            except KproxyError as failure:
                if self._value is None:
                    raise
                self._tell_once(str(failure))
            else:
                self._told = ""
            return self._value

    def _tell_once(self, problem: str) -> None:
        if problem != self._told:
            _log.warning("%s; the one before it stays in use", problem)
            self._told = problem


def read_file(path: Path, named: str) -> bytes:
    """All of a small file, which `named` describes in messages. EnvironmentLacking if it cannot be read.

    Pipes and devices are refused: each request reads the file again, and they give their content once.
    """
    place = f"{named} {one_line(str(path))}"
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{place} is no regular file; name one")
        return read_bounded(path, _LONGEST_FILE_BYTES)
    except OSError as refused:
        raise EnvironmentLacking(
            f"{place} cannot be read: {refused.strerror}; write it, or name another"
        ) from refused
