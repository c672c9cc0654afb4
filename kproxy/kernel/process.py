"""The one place that starts programs."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kproxy.errors import EnvironmentLacking, ProgramFailed

_NAMED_LINE = re.compile(r"\bline:? (\d+)", re.IGNORECASE)
_CONTEXT_LINES = 3
_SYSTEM_PATH = "/usr/sbin:/sbin"


def find(program: str) -> Path | None:
    """Where the program is, also in the system directories that an unprivileged PATH leaves out."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}")
    return Path(found) if found else None


def run(command: Sequence[str], *, stdin: str = "", timeout_s: float = 60.0) -> str:
    """Run a program to its end and return what it wrote to stdout.

    Raises ProgramFailed when it fails or takes longer than `timeout_s` (it is killed then),
    EnvironmentLacking when there is no such program.
    """
    program = find(command[0])
    if program is None:
        raise EnvironmentLacking(
            f"{command[0]} is not installed; on Debian: apt-get install iptables iproute2"
        )
    try:
        done = subprocess.run(
            [str(program), *command[1:]],
            input=stdin.encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as expired:
        said = _text(expired.stderr or b"")
        raise ProgramFailed(" ".join(command), None, said or f"killed after {timeout_s:g} s") from None
    if done.returncode != 0:
        complaint = _text(done.stderr)
        raise ProgramFailed(" ".join(command), done.returncode, complaint, _excerpt(stdin, complaint))
    return _text(done.stdout)


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
