"""Programs that act on the system. Only their success matters."""

import fcntl
import os
import re
import select
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from kproxy.errors import EnvironmentLacking, KproxyError, ProgramFailed

_NAMED_LINE = re.compile(r"\bline:? (\d+)", re.IGNORECASE)
_CONTEXT_LINES = 3
_PIPE_BYTES = 1 << 20
_SYSTEM_PATH = "/usr/sbin:/sbin"

_running: set[subprocess.Popen[bytes]] = set()
_ending = threading.Event()


def find(program: str) -> Path | None:
    """The path of the program, also from the system directories that an unprivileged PATH leaves out.

    Elements of PATH that are empty or relative are ignored.
    """
    found = shutil.which(program, path=":".join(folder for folder in _folders() if _is_fixed(folder)))
    return Path(found) if found else None


def _folders() -> list[str]:
    return f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}".split(":")


def _is_fixed(folder: str) -> bool:
    """Whether the path is absolute.

    A relative one depends on the current directory, where anybody may put a program.
    """
    return Path(folder).is_absolute()


def unused_program_note(program: str) -> str:
    """A note for a message if the program exists only at an empty or relative element of PATH; otherwise empty."""
    for folder in _folders():
        if not _is_fixed(folder) and shutil.which(program, path=folder or os.curdir):
            return f" (PATH has {folder!r}, which is not an absolute path: the {program} there is not used)"
    return ""


def run(command: Sequence[str], *, stdin: str = "", timeout_s: float = 60.0) -> str:
    """Run a program to its end and return its stdout.

    Raises ProgramFailed if it fails or takes longer than `timeout_s`, after which it is killed; EnvironmentLacking if
    there is no such program; KproxyError if the system cannot start it now.
    """
    with _started(command, subprocess.PIPE, subprocess.PIPE) as started:
        try:
            output, complaint = started.communicate(stdin.encode(), timeout_s)
        except subprocess.TimeoutExpired as expired:
            raise _expired(command, timeout_s, expired.stderr or b"") from None
    _require_success(started, command, complaint, stdin, 1)
    return _text(output)


class _StoppedReadingError(Exception):
    """The program no longer reads. The end of the `with` block reports how it ended."""


@contextmanager
def feeding(command: Sequence[str], *, timeout_s: float) -> Iterator[Callable[[str], None]]:
    """Run a program that acts on its input while it reads. The block gets a function that writes text to the program.

    The function waits while the pipe is full, at most until `timeout_s` is over, counted from the beginning of the
    block. If the program no longer reads, the function leaves the block. At the end of the block, the input ends, and
    the program is waited for. Raises the errors of `run`. An exception of the block itself ends the program, and is
    raised again.
    """
    ends_at = time.monotonic() + timeout_s
    fed = _Recent()
    has_read_all = True
    in_memory = os.memfd_create("complaints")  # a container may have no place for files
    with os.fdopen(in_memory, "w+b") as complaints:
        with _started(command, subprocess.DEVNULL, complaints) as started:
            pipe = cast("IO[bytes]", started.stdin)
            _widen(pipe.fileno())

            def write(piece: str) -> None:
                if not _write(pipe.fileno(), fed.add(piece), ends_at):
                    raise _StoppedReadingError

            try:
                yield write
            except _StoppedReadingError:
                has_read_all = False
            else:
                pipe.close()
            if not _ends(started, ends_at):
                _kill(started)
        complaints.seek(0)
        complaint = complaints.read()
    if time.monotonic() >= ends_at and started.returncode == -signal.SIGKILL:
        raise _expired(command, timeout_s, complaint)
    _require_success(started, command, complaint, fed.text, fed.first_line)
    if not has_read_all:
        raise ProgramFailed(" ".join(command), 0, "it ended before it had read everything")


def running() -> tuple[int, ...]:
    """The process ids of all programs that `run` and `feeding` wait for, in any thread."""
    return tuple(started.pid for started in tuple(_running))


def end_acting() -> None:
    """Kill the programs that `run` and `feeding` wait for, and all later ones, from any thread.

    Call it when this process ends.
    """
    _ending.set()
    for started in tuple(_running):
        _kill(started)


@contextmanager
def _started(
    command: Sequence[str], stdout: int, stderr: int | IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """The started program. It has ended when the block is left, in whatever way."""
    program = find(command[0])
    if program is None:
        raise EnvironmentLacking(
            f"{command[0]} is not installed{unused_program_note(command[0])}; "
            "on Debian: apt-get install iptables nftables iproute2"
        )
    try:
        started = subprocess.Popen(
            [str(program), *command[1:]],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "LC_ALL": "C"},
            process_group=0,
        )
    except OSError as refused:
        raise KproxyError(f"{program} cannot be started: {refused.strerror}") from refused
    _running.add(started)
    try:
        with started:
            try:
                if _ending.is_set():
                    _kill(started)
                yield started
            except BaseException:
                _kill(started)
                raise
    finally:
        _running.discard(started)


def _require_success(
    started: subprocess.Popen[bytes], command: Sequence[str], complaint: bytes, stdin: str, first_line: int
) -> None:
    """Raise ProgramFailed unless the program succeeded. `stdin` is its input from the line `first_line` on."""
    if started.returncode == -signal.SIGKILL and _ending.is_set():
        raise ProgramFailed(" ".join(command), None, "killed, because kproxy is ending")
    if started.returncode != 0:
        said = _text(complaint)
        named = _NAMED_LINE.search(said)
        line = int(named[1]) if named else 0
        excerpt = _excerpt(stdin, first_line, line) if line else ""
        ended_by = _signal(-started.returncode)
        raise ProgramFailed(" ".join(command), started.returncode, said, excerpt, line, signal=ended_by)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # not a signal, or a real-time signal, of which few have a name
        return ""


def _expired(command: Sequence[str], timeout_s: float, complaint: bytes) -> ProgramFailed:
    return ProgramFailed(" ".join(command), None, _text(complaint) or f"killed after {timeout_s:g} s")


def _widen(pipe: int) -> None:
    """Enlarge the pipe as far as the system allows without a privilege: so much input is made in advance."""
    os.set_blocking(pipe, False)
    with suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _write(pipe: int, text: str, ends_at: float) -> bool:
    """Write the text. False if the program does not read it in time, or no longer reads."""
    rest = memoryview(text.encode())
    while rest:
        if not _is_ready(pipe, select.POLLOUT, ends_at):
            return False
        try:
            rest = rest[os.write(pipe, rest) :]
        except BrokenPipeError:
            return False
    return True


def _ends(started: subprocess.Popen[bytes], ends_at: float) -> bool:
    """Whether the program ends in time. The end is noticed at once; Popen.wait looks only every 50 ms."""
    with suppress(OSError):  # it has already ended, or a sandbox forbids this
        end = os.pidfd_open(started.pid)
        _is_ready(end, select.POLLIN, ends_at)
        os.close(end)
    with suppress(subprocess.TimeoutExpired):
        started.wait(_left_s(ends_at))
    return started.returncode is not None


def _is_ready(file: int, event: int, ends_at: float) -> bool:
    readiness = select.poll()
    readiness.register(file, event)
    return bool(readiness.poll(_left_s(ends_at) * 1000))


def _left_s(ends_at: float) -> float:
    return max(ends_at - time.monotonic(), 0.0)


def _kill(started: subprocess.Popen[bytes]) -> None:
    """Kill the program and all processes that it started."""
    if started.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)


def _text(output: bytes) -> str:
    """The output as text. Foreign rules may have any bytes in their comments."""
    return output.decode(errors="backslashreplace")


def _excerpt(text: str, first_line: int, number: int) -> str:
    """The numbered lines around the line that the program named."""
    return "\n".join(
        f"{'>' if at == number else ' '}{at:6} {line}"
        for at, line in enumerate(text.splitlines(), first_line)
        if abs(at - number) <= _CONTEXT_LINES
    )


class _Recent:
    """The newest of many pieces of text: everything that a program may not have read yet when it failed."""

    def __init__(self) -> None:
        self._pieces: deque[str] = deque()
        self._length = 0
        self.first_line = 1

    def add(self, piece: str) -> str:
        self._pieces.append(piece)
        self._length += len(piece)
        while self._length - len(self._pieces[0]) > 2 * _PIPE_BYTES:
            oldest = self._pieces.popleft()
            self._length -= len(oldest)
            self.first_line += oldest.count("\n")
        return piece

    @property
    def text(self) -> str:
        return "".join(self._pieces)
