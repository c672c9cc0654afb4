"""Programs that answer a question. The answer may come late, be endless, or never come."""

import functools
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from kproxy.errors import KproxyError
from kproxy.process import acting, descendants
from kproxy.process.pipes import LOOK_S, NotStarted, Pipes, has_ended

_LONGEST_DEATH_S = 1.0
"""A process that waits for an absent file server cannot be killed, and kproxy must be able to end before it does."""

_LONGEST_PROBE_S = 5.0
"""For a program that does nothing, on a busy machine."""

_BY_SIGNAL = 128
"""A shell's exit code for a program that a signal ended is this number plus the signal's number."""

_ABOUT_TO_END = "kproxy is ending"

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)

_lock = threading.Lock()
_asked: dict[int, bool] = {}
"""The processes that we wait for, and whether each has its own session."""

_ending = threading.Event()


class Answer(NamedTuple):
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
) -> Answer:
    """Run a program until it ends. Returns its stdout and the end of its stderr.

    It is killed after `timeout_s`, or if it writes more than `most_bytes` to stdout or 16 MiB to stderr. All processes
    that it started are killed with it: a process that keeps its stdout open is not waited for. If the system can
    (setpriv of util-linux), it also dies with this process, however this process ends. With a terminal it gets our
    stdin and stderr, to pipes to a person; otherwise its stdin is empty. NotStarted if it cannot be run.
    """
    with Pipes(most_bytes) as pipes, _unwinding_at_signals():
        command = [*_dying_with_us(), str(program), *arguments]
        pid = _start(command, environment, pipes, has_terminal=has_terminal)
        try:
            is_over = pipes.listen(pid, time.monotonic() + timeout_s)
        finally:
            exit_code = _finish(pid, pipes)
    was_ended = _ABOUT_TO_END if _ending.is_set() and exit_code == -signal.SIGKILL else ""
    was_late = "" if is_over else f"it did not end within {timeout_s:g} s"
    return Answer(
        exit_code, bytes(pipes.output), bytes(pipes.complaint), pipes.excess or was_ended or was_late
    )


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
            descendants.end(pid, has_own_session=has_own_session)


def is_ending() -> bool:
    """Whether `end_asked` was called."""
    return _ending.is_set()


def _start(command: list[str], environment: Mapping[str, str], pipes: Pipes, *, has_terminal: bool) -> int:
    """Start the program without preexec_fn: Python code between fork and exec can hang if other threads run."""
    files: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_DUP2, pipes.output_end, 1)
    ]
    if not has_terminal:
        files.append((os.POSIX_SPAWN_DUP2, pipes.complaint_end, 2))
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
    pipes.close_far_ends()
    return pid


def _finish(pid: int, pipes: Pipes) -> int:
    """End all processes of the program. Returns its exit code, or the negative number of the signal that ended it."""
    pipes.take_rest()
    with _lock:
        descendants.end(pid, has_own_session=_asked.pop(pid))
    gone_by = time.monotonic() + _LONGEST_DEATH_S
    while not has_ended(pid):
        if time.monotonic() > gone_by:
            return -signal.SIGKILL
        time.sleep(LOOK_S)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


@functools.cache
def _dying_with_us() -> tuple[str, ...]:
    """The command that makes another command die with this process. Only the setpriv of util-linux has this option."""
    options = ("--pdeathsig", "KILL")
    try:
        acting.run(["setpriv", *options, "true"], timeout_s=_LONGEST_PROBE_S)
    except KproxyError:
        return ()
    return (str(acting.find("setpriv")), *options)
