"""How long programs that we started have stood in line for a file lock, of which they say nothing themselves.

iptables-legacy takes /run/xtables.lock with flock(2) for each table. Were it taken here, the program would wait for us. So the
kernel is asked where the program sleeps, which also tells in a container that sees no process of others. That is in line for the
lock since iptables 1.8.8; older ones sleep between attempts, and their wait counts as work.
"""

import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

from kproxy import process
from kproxy.errors import KproxyError
from kproxy.threads import KeptThread, Need

_LOOK_EVERY_S = 0.005
_SLEEPS_IN = ("locks_lock_inode_wait", "flock_lock_inode_wait")
"""Of the kernel's functions (fs/locks.c)."""


class LockWait:
    """Adds up, to within a hundredth of a second, how long any program of ours waits within its `with` blocks, one after the other.

    What a block waits is added when it is left, and never more than it took.
    """

    def __init__(self) -> None:
        self.waited_s = 0.0
        self._entered_at = self._seen_s = 0.0
        self._at_work = threading.Event()
        self._thread = KeptThread("lock-wait", self._watch, Need.REPORTS)

    def __enter__(self) -> None:
        self._entered_at, self._seen_s = time.monotonic(), 0.0
        if not self._thread.is_alive():
            with suppress(
                KproxyError
            ):  # without it a figure is missing, and the next block asks for it again
                self._thread.start()
        self._at_work.set()

    def __exit__(self, *_: object) -> None:
        self._at_work.clear()
        self.waited_s += min(self._seen_s, time.monotonic() - self._entered_at)

    def _watch(self) -> None:
        # this thread may run before the one that waits for signals, and would end the process at the first
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while self._at_work.wait():
            looked_at = time.monotonic()
            while self._at_work.is_set():
                time.sleep(_LOOK_EVERY_S)
                now = time.monotonic()
                if any(map(_is_waiting, process.running())):
                    self._seen_s += now - looked_at
                looked_at = now


def _is_waiting(pid: int) -> bool:
    with suppress(OSError):  # it has just ended
        return Path(f"/proc/{pid}/wchan").read_text(encoding="ascii") in _SLEEPS_IN
    return False
