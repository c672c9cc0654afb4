"""The one place that starts programs."""

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kproxy.errors import EnvironmentLacking, KproxyError, ProgramFailed

_NAMED_LINE = re.compile(r"\bline:? (\d+)", re.IGNORECASE)
_CONTEXT_LINES = 3
_SYSTEM_PATH = "/usr/sbin:/sbin"

_running: set[subprocess.Popen[bytes]] = set()
_ending = threading.Event()


def find(program: str) -> Path | None:
    """Where the program is, also in the system directories that an unprivileged PATH leaves out."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}")
    return Path(found) if found else None


def run(command: Sequence[str], *, stdin: str = "", timeout_s: float = 60.0) -> str:
    """Run a program to its end and return what it wrote to stdout.

    Raises ProgramFailed when it fails or takes longer than `timeout_s` (it is killed then),
    EnvironmentLacking when there is no such program, KproxyError when the system cannot start it now.
    """
    program = find(command[0])
    if program is None:
        raise EnvironmentLacking(
            f"{command[0]} is not installed; on Debian: apt-get install iptables nftables iproute2"
        )
    try:
        started = subprocess.Popen(
            [str(program), *command[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            process_group=0,
        )
    except OSError as refused:
        raise KproxyError(f"{program} cannot be started: {refused.strerror}") from refused
    try:
        output, complaint = map(_text, _outputs(started, stdin.encode(), timeout_s))
    except subprocess.TimeoutExpired as expired:
        said = _text(expired.stderr or b"")
        raise ProgramFailed(" ".join(command), None, said or f"killed after {timeout_s:g} s") from None
    if started.returncode == -signal.SIGKILL and _ending.is_set():
        raise ProgramFailed(" ".join(command), None, "killed, because kproxy is about to end")
    if started.returncode != 0:
        raise ProgramFailed(" ".join(command), started.returncode, complaint, _excerpt(stdin, complaint))
    return output


def end_all() -> None:
    """Kill what `run` waits for, from any thread, and whatever it starts afterwards: this process is about to end."""
    _ending.set()
    for started in tuple(_running):
        _kill(started)


def _outputs(started: subprocess.Popen[bytes], stdin: bytes, timeout_s: float) -> tuple[bytes, bytes]:
    """What it wrote to stdout and stderr; it has ended afterwards, in whatever way this is left."""
    _running.add(started)
    try:
        with started:
            try:
                if _ending.is_set():
                    _kill(started)
                return started.communicate(stdin, timeout_s)
            except BaseException:
                _kill(started)
                raise
    finally:
        _running.discard(started)


def _kill(started: subprocess.Popen[bytes]) -> None:
    """With all that it started itself."""
    if started.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)


def _text(output: bytes) -> str:
    """Foreign rules may hold any bytes in their comments."""
    return output.decode(errors="backslashreplace")


def _excerpt(text: str, complaint: str) -> str:
    """The lines around the one that the program named, numbered."""
    named = _NAMED_LINE.search(complaint)
    if not named:
        return ""
    number = int(named[1])
    lines = text.splitlines()
    first = max(number - _CONTEXT_LINES, 1)
    return "\n".join(
        f"{'>' if at == number else ' '}{at:6} {line}"
        for at, line in enumerate(lines[first - 1 : number + _CONTEXT_LINES], first)
    )
