"""Starts threads that live as long as the agent. No thread ends unnoticed.

If any exception leaves a thread's function, also MemoryError or SystemExit, the log reports it and the function runs
again after a pause. If a thread that the rules need does not stay alive, the agent ends with the reason.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import NamedTuple

from kproxy.errors import EnvironmentLacking, KproxyError

_log = logging.getLogger(__name__)

_SHORTEST_PAUSE_S = 0.5
"""Seconds before a thread runs again for the first time. Each further pause is twice as long."""

_LONGEST_PAUSE_S = 30.0
"""Seconds, as in the backoff of a watch: after a node recovers, it is served again within this time."""

_STEADY_S = 60.0
"""Seconds. The failure of a thread that ran for so long counts as its first failure."""

_MOST_FAILURES = 7
"""Failures in a row; the last comes 31 s after the first.

A short lack of memory is over by then, and a defect is not.
"""


class Need(Enum):
    """Who needs the thread. This decides what happens without the thread."""

    RULES = auto()
    """Without the thread the rules do not follow changes:

    `/livez` and `/readyz` fail, and the agent ends if it cannot live.
    """

    NODE = auto()
    """A part of the work beside the rules is not done: `/readyz` fails."""

    REPORTS = auto()
    """Only Events or figures are missing: the log says so."""


class KeptThread:
    """Runs `run` in a thread, and again after each exception that leaves it, until it returns or `end` is called.

    `run` must return only if its owner asked for it, and must allow another call at any time after an exception.
    """

    def __init__(self, name: str, run: Callable[[], None], need: Need) -> None:
        self.name = name
        self.need = need
        self._run = run
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._problem = ""
        self._failures = 0

    def start(self) -> None:
        """Start the thread. EnvironmentLacking if the system gives no more threads.

        The thread then counts as lacking until it is started or ended.
        """
        thread = threading.Thread(target=self._keep, name=self.name, daemon=True)
        _kept.add(self)  # the thread removes itself when it ends as it should, which may be at once
        try:
            thread.start()
        except RuntimeError as refused:
            self._problem = "the system gives no more threads"
            raise EnvironmentLacking(
                f"the system gives no thread for {self.name}: raise its limit of processes (ulimit -u, pids.max)"
            ) from refused
        self._thread = thread

    def run_here(self) -> None:
        """Do the work of the thread in the calling thread.

        KproxyError if a function that the rules need does not stay alive.
        """
        _kept.add(self)
        self._keep()
        if self._failures >= _MOST_FAILURES and not self._ending.is_set():
            raise KproxyError(self._reason_to_give_up())

    def end(self) -> None:
        """Do not run again, and end a pause. The owner ends a running `run`."""
        self._ending.set()
        _kept.discard(self)

    def join(self, within_s: float | None = None) -> None:
        if self._thread is not None:
            self._thread.join(within_s)

    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def problem(self) -> str:
        """Why the thread does not run now; empty if it runs."""
        has_died = self._thread is not None and not self._thread.is_alive()
        return self._problem or ("it has ended" if has_died else "")

    def _keep(self) -> None:
        continues = True
        while continues:
            try:
                continues = self._run_once()
            except BaseException:  # noqa: BLE001 # handling a failure failed too
                self._problem = self._problem or "it failed, and so did the report of the failure"
                _say(b"kproxy: a thread failed, and so did the handling of its failure; it is tried again\n")
                time.sleep(_SHORTEST_PAUSE_S)

    def _run_once(self) -> bool:
        """Whether to run again. The pause is over when this returns."""
        began_at = time.monotonic()
        self._problem = ""
        try:
            self._run()
        except BaseException as failure:  # noqa: BLE001 # the thread must not end unnoticed, whatever the exception
            self._problem = type(failure).__name__
            return self._continues_after(failure, time.monotonic() - began_at)
        _kept.discard(self)
        return False

    def _continues_after(self, failure: BaseException, lived_s: float) -> bool:
        if self._ending.is_set():
            return False
        self._failures = 1 if lived_s >= _STEADY_S else self._failures + 1
        self._problem = f"{type(failure).__name__}: {failure}".rstrip(": ")
        if self.need is Need.RULES and self._failures >= _MOST_FAILURES:
            log_defect(_log, "%s", self._reason_to_give_up())
            _give_up(self._reason_to_give_up())
            return False
        pause_s = min(_SHORTEST_PAUSE_S * 2.0 ** min(self._failures - 1, _MOST_FAILURES), _LONGEST_PAUSE_S)
        log_defect(
            _log, "a defect in kproxy: %s ended unexpectedly; it runs again in %.1f s", self.name, pause_s
        )
        return not self._ending.wait(pause_s)

    def _reason_to_give_up(self) -> str:
        return (
            f"{self.name} ended unexpectedly {self._failures} times in a row, the last time with {self._problem}; "
            "the agent ends to be started again, and the rules stay"
        )


_kept: set[KeptThread] = set()
_give_up_handlers: list[Callable[[str], None]] = []


class Lack(NamedTuple):
    """A thread that should run and does not."""

    name: str
    problem: str

    def __str__(self) -> str:
        return (
            f"{self.name} does not run ({self.problem}); it is restarted automatically: "
            "restart the agent if this stays, and report what its log says"
        )


def lacking(need: Need) -> tuple[str, ...]:
    """One sentence for each thread with this need that does not run now. Any thread may ask."""
    each = ((kept, kept.problem) for kept in tuple(_kept) if kept.need is need)
    return tuple(sorted(str(Lack(kept.name, problem)) for kept, problem in each if problem))


def when_hopeless(end: Callable[[str], None]) -> Callable[[], None]:
    """Call `end` with the reason if a thread that the rules need does not stay alive.

    Call the result to cancel this.
    """
    _give_up_handlers.append(end)
    return lambda: _give_up_handlers.remove(end)


def log_defect(log: logging.Logger, sentence: str, *values: object) -> None:
    """Log an error with the traceback of the exception that is being handled. Never raises."""
    try:
        log.log(logging.ERROR, sentence, *values, exc_info=True)
    except BaseException:  # noqa: BLE001 # the log is the last place to report to, and memory may be short
        _say(b"kproxy: a defect, and the log cannot be written\n")


def _give_up(reason: str) -> None:
    for end in tuple(_give_up_handlers):
        end(reason)


def _say(line: bytes) -> None:
    with suppress(BaseException):
        os.write(2, line)
