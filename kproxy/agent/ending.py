"""How the agent ends when it is asked to: soon, whatever hangs."""

import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from kproxy.kernel import process

_log = logging.getLogger(__name__)

_PATIENCE_S = 3.0
"""How long a program may still work, and then how long everything else may take."""


def end_on_signals(stop: Callable[[], None]) -> Callable[[], None]:
    """Call `stop` on SIGTERM and SIGINT, in the main thread; should that not end this process, end it.

    Its rules stay in any case, and an agent that starts again knows which were written to the end. What is answered does
    the same without a signal.
    """
    asked = threading.Event()
    threading.Thread(target=_see_to_it, args=(asked,), name="ending", daemon=True).start()

    def end() -> None:
        stop()
        asked.set()

    def handle(number: int, _frame: FrameType | None) -> None:
        _log.info("%s received", signal.Signals(number).name)
        end()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return end


def _see_to_it(asked: threading.Event) -> None:
    asked.wait()
    time.sleep(_PATIENCE_S)
    process.end_all()
    time.sleep(_PATIENCE_S)
    _log.error("a defect in kproxy: it does not end by itself; this is where its threads stand")
    faulthandler.dump_traceback()
    os._exit(1)
