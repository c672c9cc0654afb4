"""The time that programs which we started wait for a file lock; the programs themselves do not tell it.

iptables-legacy takes /run/xtables.lock with flock(2) for each table. We cannot take the lock ourselves, since the
program would wait for us. This asks the kernel where the program sleeps, which works in a container too. Since
iptables 1.8.8 it sleeps in the queue for the lock; older versions sleep between attempts, and that counts as work.
"""

import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

from kproxy import process
from kproxy.errors import KproxyError
from kproxy.threads import Need, SupervisedThread

_LOOK_EVERY_S = 0.005
_SLEEPS_IN = ("locks_lock_inode_wait", "flock_lock_inode_wait")
"""Functions of the kernel (fs/locks.c)."""


class LockWait:
    """Adds up the seconds that our programs wait within its `with` blocks, exact to a hundredth of a second.

    Blocks come one after the other. The wait of a block is added at its end, and is never more than its duration.
    """

    def __init__(self) -> None:
        self.waited_s = 0.0
        self._entered_at = self._seen_s = 0.0
        self._at_work = threading.Event()
        self._thread = SupervisedThread("lock-wait", self._watch, Need.REPORTS)

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
        # this thread may run before the one that waits for signals, and a signal to it would end the process
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
    with suppress(OSError):  # the program has just ended
        return Path(f"/proc/{pid}/wchan").read_text(encoding="ascii") in _SLEEPS_IN
    return False
