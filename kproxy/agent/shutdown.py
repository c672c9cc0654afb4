"""How the agent ends when it is asked to: soon, whatever hangs."""

import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from kproxy import process
from kproxy.threads import KeptThread, Need

_log = logging.getLogger(__name__)

_PATIENCE_S = 3.0
"""How long a program may still work."""

_LONGEST_S = 20.0
"""How long everything else may take after that, such as recording what a very large sync applied."""


def end_on_signals(stop: Callable[[], None]) -> Callable[[], None]:
    """Call `stop` at SIGTERM, SIGINT or SIGHUP, and end this process if `stop` does not.

    To be called before any thread starts.

    Its rules stay in any case, and an agent that starts again knows which were written to the end. The function that
    is returned does the same without a signal.
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

    KeptThread("signals", wait_for_signal, Need.RULES).start()
    KeptThread("ending", lambda: _see_to_it(asked), Need.RULES).start()
    return end


def _signals() -> tuple[signal.Signals, ...]:
    """SIGHUP, with which a terminal or a session ends, is among them unless it is to be ignored, as under nohup."""
    asked_to_end = signal.SIGTERM, signal.SIGINT
    ignores_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return asked_to_end if ignores_hangup else (*asked_to_end, signal.SIGHUP)


def _see_to_it(asked: threading.Event) -> None:
    asked.wait()
    time.sleep(_PATIENCE_S)
    process.end_all()
    time.sleep(_LONGEST_S)
    _log.error("a defect in kproxy: it does not end by itself; this is where its threads stand")
    faulthandler.dump_traceback()
    os._exit(1)
