"""The program that holds a TCP port of this node, as a hint for a message. The search is bounded and never fails."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LISTENS = "0A"  # TCP_LISTEN in /proc/net/tcp (include/net/tcp_states.h)
_LONGEST_LOOK_S = 0.2
"""A node has thousands of processes, and a hint is worth no longer wait."""

_MOST_NAMED = 32
_STRANGE = re.compile(r"[^\w.+:@/-]", re.ASCII)


def holder_of(port: int) -> str:
    """`NAME (process PID)`; empty if it cannot be found, as in a container that does not see the node's processes."""
    deadline = time.monotonic() + _LONGEST_LOOK_S
    with suppress(OSError, ValueError):
        sockets = {f"socket:[{inode}]" for inode in _listening_at(port, deadline)}
        if sockets:
            return _holder(sockets, deadline)
    return ""


def _listening_at(port: int, deadline: float) -> Iterator[str]:
    """The inodes of the listening sockets. The kernel lists them first, and a node may have 100,000 other sockets."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(OSError), table.open(encoding="ascii") as lines:
            next(lines, "")
            for line in lines:
                fields = line.split()
                if fields[3] != _LISTENS or time.monotonic() > deadline:
                    break
                if int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _holder(sockets: set[str], deadline: float) -> str:
    with os.scandir("/proc") as processes:
        for entry in processes:
            if time.monotonic() > deadline:
                break
            if entry.name.isdecimal() and _holds(entry.path, sockets, deadline):
                name = Path(entry.path, "comm").read_text(encoding="utf-8", errors="replace").strip()
                return f"{_STRANGE.sub('?', name)[:_MOST_NAMED]} (process {entry.name})"
    return ""


def _holds(process: str, sockets: set[str], deadline: float) -> bool:
    # an error means that the process has ended, or that we may not look
    with suppress(OSError), os.scandir(f"{process}/fd") as files:
        for file in files:
            if time.monotonic() > deadline:
                break
            with suppress(OSError):
                if os.readlink(file.path) in sockets:  # noqa: PTH115 # a path object for each takes three times as long
                    return True
    return False
