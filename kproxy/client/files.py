"""Reads files that a person names, with a bound on their size and on the waiting time."""

import os
import select
import stat
import time
from pathlib import Path

from kproxy import process

_CHUNK_BYTES = 1 << 16
_LONGEST_WAIT_S = 10.0
"""How long a pipe, such as a shell's `<(...)`, may take until its end. Somebody may still be writing to it."""
_LOOK_S = 0.1
"""How often the reader checks whether this process is ending."""


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """The whole content of a file. The file may be a pipe or a device, but not a directory.

    OSError says why the file cannot be read: it is too large, its name is impossible, its end does not come in time, or
    this process is ending.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except ValueError:
        raise OSError(None, "no file can have this name") from None
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(None, "it is a directory")
        return _read(descriptor, most_bytes, time.monotonic() + _LONGEST_WAIT_S)
    finally:
        os.close(descriptor)


def _read(descriptor: int, most_bytes: int, deadline: float) -> bytes:
    chunks: list[bytes] = []
    held = 0
    readable = select.poll()
    readable.register(descriptor, select.POLLIN)
    while True:
        is_ready = bool(readable.poll(_LOOK_S * 1000))
        if process.is_ending():
            raise InterruptedError(None, "kproxy is ending")
        if time.monotonic() > deadline:
            raise TimeoutError(None, f"its end has not come within {_LONGEST_WAIT_S:g} s")
        if not is_ready:
            continue
        try:
            chunk = os.read(descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            continue
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        held += len(chunk)
        if held > most_bytes:
            raise OSError(None, f"it is larger than {most_bytes >> 20} MB")
