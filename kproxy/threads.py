"""The one way to start a thread that lives as long as the agent: none of them ends unseen.

A thread whose function is left by any exception, MemoryError and SystemExit too, is told in the log and runs again
after a pause. One that the rules need ends the agent, with the reason, if it does not stay alive.
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
"""Before a thread runs again for the first time; twice as long each time after that."""

_LONGEST_PAUSE_S = 30.0
"""As long as the backoff of a watch: a node that recovers is served again within that time."""

_STEADY_S = 60.0
"""A thread that ran for so long before it failed was well: its next failure counts as the first."""

_MOST_FAILURES = 7
"""In a row, 31 s after the first one: memory that is short for a moment has come back by then, and a defect stays."""


class Need(Enum):
    """Who needs the thread, which decides what its absence costs."""

    RULES = auto()
    """Without it the rules do not follow: `/livez` and `/readyz` fail, and the agent ends if it cannot live."""

    NODE = auto()
    """A part of the work beside the rules is not done: `/readyz` fails."""

    REPORTS = auto()
    """Only Events or figures are missing: the log says so."""


class KeptThread:
    """Runs `run` in a thread, again after each exception that leaves it, until it returns or `end` is called.

    `run` returns only when its owner asked for it, and can be called again at any moment after it was left.
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
        """EnvironmentLacking where the system gives no more threads; it counts as lacking until started or ended."""
        thread = threading.Thread(target=self._keep, name=self.name, daemon=True)
        _kept.add(self)  # the thread takes that back when it ends as it should, which may be at once
        try:
            thread.start()
        except RuntimeError as refused:
            self._problem = "the system gives no more threads"
            raise EnvironmentLacking(
                f"the system gives no thread for {self.name}: raise its limit of processes (ulimit -u, pids.max)"
            ) from refused
        self._thread = thread

    def run_here(self) -> None:
        """Do the same in the calling thread; KproxyError if what the rules need does not stay alive."""
        _kept.add(self)
        self._keep()
        if self._failures >= _MOST_FAILURES and not self._ending.is_set():
            raise KproxyError(self._hopeless())

    def end(self) -> None:
        """Do not run again, and end a pause; what runs is ended by its owner."""
        self._ending.set()
        _kept.discard(self)

    def join(self, within_s: float | None = None) -> None:
        if self._thread is not None:
            self._thread.join(within_s)

    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def problem(self) -> str:
        """Why it does not run at the moment; empty if it runs."""
        has_died = self._thread is not None and not self._thread.is_alive()
        return self._problem or ("it has ended" if has_died else "")

    def _keep(self) -> None:
        goes_on = True
        while goes_on:
            try:
                goes_on = self._run_once()
            except BaseException:  # noqa: BLE001 # dealing with a failure failed too
                self._problem = self._problem or "it failed, and so did telling why"
                _say(b"kproxy: a thread failed, and so did dealing with that; it is tried again\n")
                time.sleep(_SHORTEST_PAUSE_S)

    def _run_once(self) -> bool:
        """Whether it is to run again, after a pause that is over by then."""
        began_at = time.monotonic()
        self._problem = ""
        try:
            self._run()
        except BaseException as failure:  # noqa: BLE001 # whatever it is, the thread must not end unseen
            self._problem = type(failure).__name__
            return self._goes_on(failure, time.monotonic() - began_at)
        _kept.discard(self)
        return False

    def _goes_on(self, failure: BaseException, lived_s: float) -> bool:
        if self._ending.is_set():
            return False
        self._failures = 1 if lived_s >= _STEADY_S else self._failures + 1
        self._problem = f"{type(failure).__name__}: {failure}".rstrip(": ")
        if self.need is Need.RULES and self._failures >= _MOST_FAILURES:
            tell_defect(_log, "%s", self._hopeless())
            _give_up(self._hopeless())
            return False
        pause_s = min(_SHORTEST_PAUSE_S * 2.0 ** min(self._failures - 1, _MOST_FAILURES), _LONGEST_PAUSE_S)
        tell_defect(
            _log, "a defect in kproxy: %s ended unexpectedly; it runs again in %.1f s", self.name, pause_s
        )
        return not self._ending.wait(pause_s)

    def _hopeless(self) -> str:
        return (
            f"{self.name} ended unexpectedly {self._failures} times in a row, the last time with {self._problem}; "
            "the agent ends to be started again, and the rules stay"
        )


_kept: set[KeptThread] = set()
_hopeless_handlers: list[Callable[[str], None]] = []


class Lack(NamedTuple):
    """A thread that does not run although it should."""

    name: str
    problem: str

    def __str__(self) -> str:
        return (
            f"{self.name} does not run ({self.problem}); it is started again by itself: "
            "restart the agent if this stays, and report what its log says"
        )


def lacking(need: Need) -> tuple[str, ...]:
    """One sentence for each thread that is needed so and does not run at the moment; may be asked from any thread."""
    each = ((kept, kept.problem) for kept in tuple(_kept) if kept.need is need)
    return tuple(sorted(str(Lack(kept.name, problem)) for kept, problem in each if problem))


def when_hopeless(end: Callable[[str], None]) -> Callable[[], None]:
    """Call `end` with the reason once a thread that the rules need does not stay alive; the answer takes that back."""
    _hopeless_handlers.append(end)
    return lambda: _hopeless_handlers.remove(end)


def tell_defect(log: logging.Logger, sentence: str, *values: object) -> None:
    """Log an error with the traceback of what is handled at the moment; never raises."""
    try:
        log.log(logging.ERROR, sentence, *values, exc_info=True)
    except BaseException:  # noqa: BLE001 # the log is the last place to complain in, and memory may be short
        _say(b"kproxy: a defect, and the log cannot be written\n")


def _give_up(reason: str) -> None:
    for end in tuple(_hopeless_handlers):
        end(reason)


def _say(line: bytes) -> None:
    with suppress(BaseException):
        os.write(2, line)
