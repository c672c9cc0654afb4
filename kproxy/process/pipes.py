"""The pipes from a program that answers a question, with bounds on the answer and on its stderr."""

import fcntl
import os
import select
import time
from contextlib import suppress
from typing import Self

from kproxy.errors import KproxyError

_CHUNK_BYTES = 1 << 16
_LONGEST_COMPLAINT_BYTES = 1 << 16
"""Bytes of stderr that are kept, from its end: a program explains its failure last."""

_MOST_COMPLAINT_BYTES = 1 << 24
"""More than any log of one run. Without this bound, an endless stderr would occupy a processor until the time-out."""

_MOST_CHUNKS_AFTERWARDS = 32
"""2 MiB, twice the size of a pipe. Later bytes come from other processes, and are not the program's answer."""

LOOK_S = 0.05
"""How often we check whether the program has ended, if the system does not notify us."""

_FIRST_FREE = 3
"""The first number after those of stdin, stdout and stderr."""


class NotStarted(KproxyError):
    """The system cannot start the program, or this process is ending."""


class Pipes:
    """The pipes from a program, and the bytes that came through them. NotStarted if the system gives no pipes."""

    def __init__(self, most_bytes: int) -> None:
        self.output = bytearray()
        self.complaint = bytearray()
        self._complained = 0
        self._most_bytes = most_bytes
        self._ends: set[int] = set()
        try:
            self._output, self.output_end = self._pipe()
            self._complaint, self.complaint_end = self._pipe()
        except OSError as refused:
            self._close()
            raise NotStarted(f"it cannot be started: {refused.strerror}") from refused

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def excess(self) -> str:
        """A description of the output that is too long; empty if none is."""
        if len(self.output) > self._most_bytes:
            return f"it wrote more than {self._most_bytes >> 10} KiB"
        if self._complained > _MOST_COMPLAINT_BYTES:
            return f"it wrote more than {_MOST_COMPLAINT_BYTES >> 10} KiB to stderr"
        return ""

    def listen(self, pid: int, ends_at: float) -> bool:
        """Listen until the program ends, the time is over or the output is too long.

        Returns whether the program has ended.
        """
        readiness = select.poll()
        takers = {self._output: self._hear, self._complaint: self._hear_complaint}
        for pipe in takers:
            readiness.register(pipe, select.POLLIN)
        end = _end_of(pid)
        if end is not None:
            self._ends.add(end)
            readiness.register(end, select.POLLIN)
        while not (is_over := has_ended(pid)) and (left_s := ends_at - time.monotonic()) > 0:
            wait_s = left_s if end is not None else min(left_s, LOOK_S)
            for pipe, _ in readiness.poll(wait_s * 1000):
                if pipe in takers and not takers[pipe]():
                    readiness.unregister(pipe)
            if self.excess:
                break
        return is_over

    def take_rest(self) -> None:
        """Read the bytes that are already in the pipes, even if other processes hold the other ends."""
        for hear in (self._hear, self._hear_complaint):
            for _ in range(_MOST_CHUNKS_AFTERWARDS):
                if self.excess or not hear():
                    break

    def close_far_ends(self) -> None:
        for end in (self.output_end, self.complaint_end):
            self._ends.discard(end)
            os.close(end)

    def _close(self) -> None:
        while self._ends:
            os.close(self._ends.pop())

    def _pipe(self) -> tuple[int, int]:
        """A pipe whose numbers differ from those of stdin, stdout and stderr, which may be closed here."""
        both = os.pipe2(os.O_CLOEXEC)
        ends = []
        try:
            for end in both:
                ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE))
                self._ends.add(ends[-1])
        finally:
            for end in both:
                os.close(end)
        near, far = ends
        os.set_blocking(near, False)
        return near, far

    def _hear(self) -> bool:
        chunk = _read(self._output)
        self.output += chunk
        return bool(chunk)

    def _hear_complaint(self) -> bool:
        chunk = _read(self._complaint)
        self.complaint += chunk
        self._complained += len(chunk)
        del self.complaint[:-_LONGEST_COMPLAINT_BYTES]
        return bool(chunk)


def _read(pipe: int) -> bytes:
    """The next bytes; empty at the end of the pipe, and if the pipe is empty."""
    with suppress(BlockingIOError):
        return os.read(pipe, _CHUNK_BYTES)
    return b""


def _end_of(pid: int) -> int | None:
    """A file that becomes ready when the process has ended; None if a sandbox forbids it."""
    with suppress(OSError):
        return os.pidfd_open(pid)
    return None


def has_ended(pid: int) -> bool:
    """Whether the process has ended. It stays a zombie until it is waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
