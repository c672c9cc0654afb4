"""An address on which a web server listens, with a measure against crowds of clients that send nothing."""

import socket
import time
from contextlib import suppress

from kproxy.agent.http.page import Answer

_BACKLOG = 4096
"""Connections that wait to be accepted, as many as net.core.somaxconn usually allows. The kernel holds back no silent
clients beyond it, and a sync may keep this thread waiting."""

_CROWD = 200
"""Clients with nothing to say that one listener accepts within 0.1 s: the kernel then holds back such clients for a
while, so that those with a request do not wait behind them. Probes of a node are a handful a second."""

_CROWD_STAYS_S = 10.0
_HELD_BACK_S = 1
"""tcp(7) wants whole seconds. A client that says nothing is accepted after that, and has 3 s then."""

_COUNTED_FOR_S = 0.1
"""The time in which silent clients are counted."""

Listener = socket.socket


class ListeningAddress:
    """A listener with its pages. It notices a crowd, and lets the kernel hold silent clients back for a while."""

    __slots__ = ("_calm_at", "_counted_since", "_silent", "answer", "listener")

    def __init__(self, listener: Listener, answer: Answer) -> None:
        self.listener = listener
        self.answer = answer
        self._silent = 0
        self._counted_since = self._calm_at = 0.0

    def before_accepting(self) -> None:
        """Begin a new count if it is time; end the measure against a crowd if it is over."""
        now = time.monotonic()
        if now - self._counted_since >= _COUNTED_FOR_S:
            self._counted_since, self._silent = now, 0
        if self._calm_at and now >= self._calm_at:
            self._calm_at = 0.0
            self._hold_back(0)

    def came_silent(self) -> None:
        """Count a client that had sent nothing when it was accepted."""
        self._silent += 1
        if self._silent == _CROWD and not self._calm_at:
            self._calm_at = time.monotonic() + _CROWD_STAYS_S
            self._hold_back(_HELD_BACK_S)

    def _hold_back(self, at_most_s: int) -> None:
        with suppress(OSError):  # it has been closed just now
            self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, at_most_s)


def open_listener(address: str, port: int) -> Listener:
    """A socket that listens there; OSError if the address is not free. It is a number, so no name is looked up.

    A wildcard stands for every address of its family, empty text for those of both.
    """
    dual = not address and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual or (":" in address) else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
