"""How the agent ends when it is asked to: soon, whatever hangs."""

import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from kproxy.kernel import process

_log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_PATIENCE_S = 3.0
"""How long a program may still work."""

_LONGEST_S = 20.0
"""How long everything else may take after that, such as recording what a very large sync applied."""


def end_on_signals(stop: Callable[[], None]) -> Callable[[], None]:
    """Call `stop` at SIGTERM or SIGINT; should that not end this process, end it. To be called before any thread starts.

    Its rules stay in any case, and an agent that starts again knows which were written to the end. What is answered does
    the same without a signal.
    """
    # A thread waits for them: a handler runs in the main thread alone, which sleeps on if another one was interrupted.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    asked = threading.Event()

    def end() -> None:
        stop()
        asked.set()

    def wait_for_signal() -> None:
        number = signal.sigwait(_SIGNALS)
        _log.info("%s received", signal.Signals(number).name)
        end()

    threading.Thread(target=wait_for_signal, name="signals", daemon=True).start()
    threading.Thread(target=_see_to_it, args=(asked,), name="ending", daemon=True).start()
    return end


def _see_to_it(asked: threading.Event) -> None:
    asked.wait()
    time.sleep(_PATIENCE_S)
    process.end_all()
    time.sleep(_LONGEST_S)
    _log.error("a defect in kproxy: it does not end by itself; this is where its threads stand")
    faulthandler.dump_traceback()
    os._exit(1)
