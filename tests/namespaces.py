"""Network namespaces for tests that need a kernel to themselves."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from uuid import uuid4

_CLONE_NEWNET = 0x40000000
_NAMED = Path("/run/netns")
_libc = ctypes.CDLL(None, use_errno=True)


DIES_WITH_ITS_PARENT = ("setpriv", "--pdeathsig", "KILL")
"""Before a command: what a killed test leaves running would hold its namespaces for ever."""


@contextmanager
def fresh_namespace() -> Iterator[str]:
    """The name of an empty network namespace whose loopback is up, removed at the end."""
    name = f"kproxy-test-{os.getpid()}-{uuid4().hex[:6]}"
    subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, capture_output=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, capture_output=True)


@contextmanager
def inside(name: str) -> Iterator[None]:
    """This thread, and programs that it starts, are in the named namespace meanwhile."""
    with Path("/proc/thread-self/ns/net").open("rb") as home, (_NAMED / name).open("rb") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot enter a network namespace: {os.strerror(number)}")


def end_as_if_interrupted(*signals: signal.Signals) -> None:
    """So that namespaces, and what runs in them, go when this process is killed."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in signals:
        signal.signal(number, interrupt)
