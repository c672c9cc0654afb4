"""Files that a person names, read with a bound on their size and on the wait for them."""

import os
import select
import stat
import time
from pathlib import Path

from kproxy import process

_CHUNK_BYTES = 1 << 16
_LONGEST_WAIT_S = 10.0
"""A pipe that somebody fills, such as a shell's `<(...)`, has this long until its end comes."""
_LOOK_S = 0.1
"""How often we look whether this process is about to end."""


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """The whole file, which may be a pipe or a device, but no directory.

    OSError says why it cannot be read: also one that is larger, that no path can name, or whose end does not come,
    or not before this process is about to end.
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
            raise InterruptedError(None, "kproxy is about to end")
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
