"""A bound on several steps together. A socket's time-out does not bound them, because each byte renews it."""

import os
import socket
import threading
from contextlib import suppress


class Deadline:
    """Shuts a connection down after `within_s` seconds, unless `end` is called before.

    It works also after TLS has taken the socket over. OSError if the system gives no descriptor or thread.
    """

    def __init__(self, connection: socket.socket, within_s: float) -> None:
        # TLS takes the socket over, and its number may belong to another file later, so the deadline has its own
        # descriptor
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
        """Cancel the deadline: the steps are done."""
        self._timer.cancel()
        self._timer.join()
        self._own.close()

    def _sever(self) -> None:
        self.has_passed = True
        with suppress(OSError):
            self._own.shutdown(socket.SHUT_RDWR)
