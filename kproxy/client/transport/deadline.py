"""A bound on steps that a socket's time-out does not bound, since each byte that arrives renews it."""

import os
import socket
import threading
from contextlib import suppress


class Deadline:
    """Severs a connection after so many seconds, in whatever hands its socket is by then, unless it is over before.

    OSError where the system gives no descriptor or thread for it.
    """

    def __init__(self, connection: socket.socket, within_s: float) -> None:
        # TLS takes the socket over, and its number may be another's by then: the deadline keeps one of its own
        self._own = socket.socket(fileno=os.dup(connection.fileno()))
        self.has_passed = False
        self._timer = threading.Timer(within_s, self._sever)
        self._timer.daemon = True
        try:
            self._timer.start()
        except RuntimeError:
            self._own.close()
            raise OSError("the system gives no more threads") from None

    def end(self) -> None:
        """The steps are done."""
        self._timer.cancel()
        self._timer.join()
        self._own.close()

    def _sever(self) -> None:
        self.has_passed = True
        with suppress(OSError):
            self._own.shutdown(socket.SHUT_RDWR)
