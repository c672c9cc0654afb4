"""Credentials that outlive a connection: each connection is made of a configuration that was read anew."""

import logging
import os
import stat
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

from kproxy.client.failures import one_line
from kproxy.errors import EnvironmentLacking, InputError, KproxyError

_log = logging.getLogger(__name__)

_MOST_KEPT = 16
"""An agent uses one configuration. Another one takes its place only when a file is edited, so a few are enough."""

_LONGEST_FILE_BYTES = 1 << 20
"""Go's servers read no longer headers than 1 MiB, and no chain of certificates comes near it."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """One value for each key, made when it is first asked for; the oldest of too many are forgotten."""

    def __init__(self, make: Callable[[Key], Value]) -> None:
        self._make = make
        self._values: dict[Key, Value] = {}
        self._lock = threading.Lock()

    def of(self, key: Key) -> Value:
        """The same value for equal keys, in whichever thread."""
        with self._lock:
            if key not in self._values:
                self._values[key] = self._make(key)
                if len(self._values) > _MOST_KEPT:
                    del self._values[next(iter(self._values))]
            return self._values[key]


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

    Pipes and devices are refused: to read them could take for ever.
    """
    place = f"{named} {one_line(str(path))}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InputError(f"{place} is no regular file; name one")
            content = file.read(_LONGEST_FILE_BYTES + 1)
    except OSError as refused:
        raise EnvironmentLacking(
            f"{place} cannot be read: {refused.strerror}; write it, or name another"
        ) from refused
    except ValueError as malformed:
        raise InputError(f"{place} cannot be read: no file has such a name") from malformed
    if len(content) > _LONGEST_FILE_BYTES:
        raise InputError(f"{place} is longer than {_LONGEST_FILE_BYTES >> 20} MiB; name the right file")
    return content
