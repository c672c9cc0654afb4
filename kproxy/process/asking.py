"""Programs that answer a question. The answer may come late, be endless, or never come."""

import fcntl
import functools
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple, Self

from kproxy.errors import KproxyError
from kproxy.process import acting, offspring

_CHUNK_BYTES = 1 << 16
_LONGEST_COMPLAINT_BYTES = 1 << 16
"""Bytes of stderr that are kept, from its end: a program explains its failure last."""

_MOST_COMPLAINT_BYTES = 1 << 24
"""More than any log of one run. Without this bound, an endless stderr would occupy a processor until the time-out."""

_MOST_CHUNKS_AFTERWARDS = 32
"""2 MiB, twice the size of a pipe. Later bytes come from other processes, and are not the program's answer."""

_LONGEST_DEATH_S = 1.0
"""A process that waits for an absent file server cannot be killed, and kproxy must be able to end before it does."""

_LONGEST_PROBE_S = 5.0
"""For a program that does nothing, on a busy machine."""

_LOOK_S = 0.05
"""How often we check whether the program has ended, if the system does not notify us."""

_BY_SIGNAL = 128
"""A shell's exit code for a program that a signal ended is this number plus the signal's number."""

_ABOUT_TO_END = "kproxy is ending"

_FIRST_FREE = 3
"""The first number after those of stdin, stdout and stderr."""

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)

_lock = threading.Lock()
_asked: dict[int, bool] = {}
"""The processes that we wait for, and whether each has its own session."""

_ending = threading.Event()


class NotStarted(KproxyError):
    """The system cannot start the program, or this process is ending."""


class Said(NamedTuple):
    """The answer.

    `exit_code` is negative after a signal; `problem` is the reason for ending it early, empty if it ended itself.
    """

    exit_code: int
    output: bytes
    complaint: bytes
    problem: str


def ask(
    program: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    has_terminal: bool,
    timeout_s: float,
    most_bytes: int,
) -> Said:
    """Run a program until it ends. Returns its stdout and the end of its stderr.

    It is killed after `timeout_s`, or if it writes more than `most_bytes` to stdout or 16 MiB to stderr. All processes
    that it started are killed with it: a process that keeps its stdout open is not waited for. If the system can
    (setpriv of util-linux), it also dies with this process, however this process ends. With a terminal it gets our
    stdin and stderr, to talk to a person; otherwise its stdin is empty. NotStarted if it cannot be run.
    """
    with _Talk(most_bytes) as talk, _unwinding_at_signals():
        command = [*_dying_with_us(), str(program), *arguments]
        pid = _start(command, environment, talk, has_terminal=has_terminal)
        try:
            has_ended = talk.listen(pid, time.monotonic() + timeout_s)
        finally:
            exit_code = _finish(pid, talk)
    was_ended = _ABOUT_TO_END if _ending.is_set() and exit_code == -signal.SIGKILL else ""
    was_late = "" if has_ended else f"it did not end within {timeout_s:g} s"
    return Said(exit_code, bytes(talk.output), bytes(talk.complaint), talk.excess or was_ended or was_late)


@contextmanager
def _unwinding_at_signals() -> Iterator[None]:
    """In a command without threads, signals that would end this process at once first end the program."""
    is_main = threading.current_thread() is threading.main_thread()
    asked_to_end = [
        each
        for each in (signal.SIGTERM, signal.SIGHUP)
        if is_main and signal.getsignal(each) is signal.SIG_DFL
    ]

    def unwind(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(_BY_SIGNAL + number)

    for each in asked_to_end:
        signal.signal(each, unwind)
    try:
        yield
    finally:
        for each in asked_to_end:
            signal.signal(each, signal.SIG_DFL)


def end_asked() -> None:
    """Kill the programs that `ask` waits for, and start no more, from any thread: nobody needs an answer any more."""
    _ending.set()
    with _lock:
        for pid, has_own_session in _asked.items():
            offspring.end(pid, has_own_session=has_own_session)


def is_ending() -> bool:
    """Whether `end_asked` was called."""
    return _ending.is_set()


def _start(command: list[str], environment: Mapping[str, str], talk: "_Talk", *, has_terminal: bool) -> int:
    """Start the program without preexec_fn: Python code between fork and exec can hang if other threads run."""
    files: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_DUP2, talk.output_end, 1)
    ]
    if not has_terminal:
        files.append((os.POSIX_SPAWN_DUP2, talk.complaint_end, 2))
        files.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
    with _lock:
        if _ending.is_set():
            raise NotStarted(_ABOUT_TO_END)
        try:
            pid = os.posix_spawn(
                command[0],
                command,
                environment,
                file_actions=files,
                # a job in the background may not read its terminal, and a session of its own has no terminal
                setsid=not has_terminal,
                # the agent's threads block the signals that end the agent
                setsigmask=(),
                setsigdef=_IGNORED_BY_PYTHON,
            )
        except OSError as refused:
            raise NotStarted(f"it cannot be started: {refused.strerror}") from refused
        except ValueError:
            raise NotStarted(
                "it cannot be started: its arguments have characters that this system's locale cannot write"
            ) from None
        _asked[pid] = not has_terminal
    talk.close_far_ends()
    return pid


def _finish(pid: int, talk: "_Talk") -> int:
    """End all processes of the program. Returns its exit code, or the negative number of the signal that ended it."""
    talk.take_rest()
    with _lock:
        offspring.end(pid, has_own_session=_asked.pop(pid))
    gone_by = time.monotonic() + _LONGEST_DEATH_S
    while not _has_ended(pid):
        if time.monotonic() > gone_by:
            return -signal.SIGKILL
        time.sleep(_LOOK_S)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


@functools.cache
def _dying_with_us() -> tuple[str, ...]:
    """The command that makes another command die with this process. Only the setpriv of util-linux has this option."""
    options = ("--pdeathsig", "KILL")
    try:
        acting.run(["setpriv", *options, "true"], timeout_s=_LONGEST_PROBE_S)
    except KproxyError:
        return ()
    return (str(acting.find("setpriv")), *options)


class _Talk:
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
        takers: dict[int, Callable[[], bool]] = {
            self._output: self._hear,
            self._complaint: self._hear_complaint,
        }
        for pipe in takers:
            readiness.register(pipe, select.POLLIN)
        end = _end_of(pid)
        if end is not None:
            self._ends.add(end)
            readiness.register(end, select.POLLIN)
        while not (has_ended := _has_ended(pid)) and (left_s := ends_at - time.monotonic()) > 0:
            wait_s = left_s if end is not None else min(left_s, _LOOK_S)
            for pipe, _ in readiness.poll(wait_s * 1000):
                if pipe in takers and not takers[pipe]():
                    readiness.unregister(pipe)
            if self.excess:
                break
        return has_ended

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
