"""The end of the agent when a signal asks for it: soon, whatever hangs."""

import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from kproxy import process
from kproxy.threads import Need, SupervisedThread

_log = logging.getLogger(__name__)

_PATIENCE_S = 3.0
"""The time that a running program still has."""

_LONGEST_S = 20.0
"""The time that everything else has after that, such as recording what a very large sync applied."""


def end_on_signals(stop: Callable[[], None]) -> Callable[[], None]:
    """Call `stop` at SIGTERM, SIGINT or SIGHUP, and end this process if `stop` does not.

    To be called before any thread starts. The rules stay in any case, and an agent that starts again knows which of
    them are complete. The function that is returned does the same without a signal.
    """
    signals = _signals()
    # A thread waits for them: a handler runs in the main thread alone, which sleeps on if another one was interrupted.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    asked = threading.Event()

    def end() -> None:
        try:
            stop()
        finally:
            process.end_asked()  # a credential plugin may wait for a person, and nobody needs its answer now
            asked.set()

    def wait_for_signal() -> None:
        number = signal.sigwait(signals)
        try:
            _log.info("%s received: the agent ends, and the rules stay", signal.Signals(number).name)
        finally:
            end()

    SupervisedThread("signals", wait_for_signal, Need.RULES).start()
    SupervisedThread("the shutdown", lambda: _end_in_any_case(asked), Need.RULES).start()
    return end


def _signals() -> tuple[signal.Signals, ...]:
    """The signals that end the agent. SIGHUP, which a terminal sends when it closes, is one unless nohup ignores it."""
    asked_to_end = signal.SIGTERM, signal.SIGINT
    ignores_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return asked_to_end if ignores_hangup else (*asked_to_end, signal.SIGHUP)


def _end_in_any_case(asked: threading.Event) -> None:
    asked.wait()
    time.sleep(_PATIENCE_S)
    process.end_all()
    time.sleep(_LONGEST_S)
    _log.error("a defect in kproxy: it does not end by itself; this is where its threads stand")
    faulthandler.dump_traceback()
    os._exit(1)
