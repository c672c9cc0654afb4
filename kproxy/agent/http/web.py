"""A small HTTP server: one thread accepts, reads and answers for every address, and waits for nobody.

Most clients have sent their request by the time they are accepted: they are answered at once, and nothing else is kept
of them. So thousands that connect in a second and say nothing cost an honest probe some milliseconds.
"""

import errno
import io
import logging
import re
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple, cast

from kproxy.kernel.node.descriptors import clients_end, limit_told, listeners_end
from kproxy.state.printable import quoted
from kproxy.threads import KeptThread, Need, tell_defect

_log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 256
"""So many clients are waited for at once; for one more the oldest is cut. An honest client sends its request within
milliseconds; even among 10,000 new clients in a second it has 25 of them."""

_IN_ANY_CASE = 4
"""So many clients are waited for also while the descriptors that are left are kept for programs: a probe sends its
request some microseconds after it is accepted."""

_MOST_LISTENERS = 16_384
"""Addresses x Services is a product: each listener takes a descriptor and some KiB of the kernel's memory."""

_HEAD_TIMEOUT_S = 3.0
_LONGEST_HEAD = 8192
_HEAD_END = re.compile(rb"\n\r?\n")
_ANSWER_TIMEOUT_S = 10.0
_BACKLOG = 4096
"""As many as net.core.somaxconn usually allows: the kernel holds back no silent clients beyond it, and a sync may keep
this thread waiting."""

_CROWD = 200
"""Clients with nothing to say that one listener accepts within 0.1 s: the kernel then holds back such clients for a
while, so that those with a request do not wait behind them. Probes of a node are a handful a second."""

_CROWD_STAYS_S = 10.0
_HELD_BACK_S = 1
"""tcp(7) wants whole seconds. A client that says nothing is accepted after that, and has 3 s then."""

_AT_ONCE = 64
"""Connections are taken from one listener before it is the others' turn."""

_LOOK_EVERY_S = 0.1
"""The server looks so often for clients that are late, and tries again so soon after the system gave no descriptor."""

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class Page(NamedTuple):
    body: str
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


Listener = socket.socket

Negotiated = Callable[[str], Page]
"""A page in several forms: called with the client's Accept header, empty without one."""

Answer = Callable[[str], Page | Negotiated | None]
"""The page at a path, without its query; None if there is none. It must be quick: all others wait for it."""


class _Client:
    """A connection, what it has said so far, and what is still to be said to it."""

    __slots__ = ("answer", "connection", "head", "late_at", "reply")

    def __init__(self, connection: socket.socket, answer: Answer) -> None:
        self.connection = connection
        self.answer = answer
        self.head = b""
        self.reply = memoryview(b"")
        self.late_at = time.monotonic() + _HEAD_TIMEOUT_S

    def advance(self) -> bool:
        """Read and write what is possible now; whether there is more to come. OSError if the client is to be cut."""
        if not self.reply and not self._has_asked():
            return True
        with suppress(BlockingIOError):
            self.reply = self.reply[self.connection.send(self.reply, socket.MSG_DONTWAIT) :]
        return bool(self.reply)

    def _has_asked(self) -> bool:
        """Whether the head is complete, so that there is a reply; OSError if it is too long, or will not come."""
        try:
            more = self.connection.recv(_LONGEST_HEAD - len(self.head), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        if not more:
            raise ConnectionAbortedError
        self.head += more
        if not _HEAD_END.search(self.head):
            return False
        self.reply = memoryview(_Request(self.head, self.answer).reply)
        self.late_at = time.monotonic() + _ANSWER_TIMEOUT_S
        return True


class _Door:
    """A listener with its pages, and whether a crowd stands before it."""

    __slots__ = ("_calm_at", "_counted_since", "_silent", "answer", "listener")

    def __init__(self, listener: Listener, answer: Answer) -> None:
        self.listener = listener
        self.answer = answer
        self._silent = 0
        self._counted_since = self._calm_at = 0.0

    def opens(self) -> None:
        """Called before clients are accepted; ends the measure against a crowd after a while."""
        now = time.monotonic()
        if now - self._counted_since >= _LOOK_EVERY_S:
            self._counted_since, self._silent = now, 0
        if self._calm_at and now >= self._calm_at:
            self._calm_at = 0.0
            self._hold_back(0)

    def came_silent(self) -> None:
        self._silent += 1
        if self._silent == _CROWD and not self._calm_at:
            self._calm_at = time.monotonic() + _CROWD_STAYS_S
            self._hold_back(_HELD_BACK_S)

    def _hold_back(self, at_most_s: int) -> None:
        with suppress(OSError):  # it has been closed just now
            self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, at_most_s)


class WebServer:
    """Answers on any number of addresses, from `start` to `stop`; safe to use from any thread."""

    def __init__(self, name: str = "web") -> None:
        self._selector = selectors.DefaultSelector()
        self._clients: dict[_Client, None] = {}
        self._listeners: set[Listener] = set()
        self._woken, self._wake = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = KeptThread(name, self._serve, Need.NODE)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close every address; answers that are being written are not waited for."""
        self._thread.end()
        self._wake.close()
        self._thread.join()
        for client in tuple(self._clients):
            client.connection.close()
        for listener in tuple(self._listeners):
            listener.close()
        self._woken.close()
        self._selector.close()

    def listen(self, address: str, port: int, answer: Answer) -> Listener:
        """Answer there from now on; OSError if that address cannot be had, EMFILE while others need the descriptors.

        A wildcard stands for every address of its family, empty text for those of both.
        """
        if len(self._listeners) >= _MOST_LISTENERS:
            raise OSError(errno.EMFILE, f"{_MOST_LISTENERS} addresses with ports are open already")
        listener = _listener(address, port)
        if listener.fileno() >= listeners_end():
            listener.close()
            raise OSError(errno.EMFILE, limit_told())
        self._selector.register(listener, selectors.EVENT_READ, _Door(listener, answer))
        self._listeners.add(listener)
        return listener

    def close(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        self._selector.unregister(listener)
        listener.close()

    def _serve(self) -> None:
        look_at = 0.0
        while True:
            for key, _ in self._selector.select(_LOOK_EVERY_S if self._clients else None):
                if key.fileobj is self._woken:
                    return
                if isinstance(key.data, _Client):
                    self._advance(key.data)
                else:
                    self._accept(cast("_Door", key.data))
            if self._clients and time.monotonic() >= look_at:
                self._cut_late()
                look_at = time.monotonic() + _LOOK_EVERY_S

    def _accept(self, door: _Door) -> None:
        door.opens()
        limit = clients_end()
        for _ in range(_AT_ONCE):
            try:
                connection, _ = door.listener.accept()
            except OSError as failed:
                if failed.errno in _NO_ROOM:
                    time.sleep(_LOOK_EVERY_S)  # the client still waits, and would be asked for again at once
                return  # or there is nobody, or the address was closed just now
            client = _Client(connection, door.answer)
            self._welcome(client, has_room=connection.fileno() < limit)
            if not client.head:
                door.came_silent()

    def _welcome(self, client: _Client, *, has_room: bool) -> None:
        """Answer at once, or remember the client: then the oldest one is cut if there are too many.

        Without room, since programs need the descriptors that are left, only a few are remembered.
        """
        if not self._goes_on(client):
            client.connection.close()
            return
        while len(self._clients) >= (_MOST_CONNECTIONS if has_room else _IN_ANY_CASE):
            self._forget(next(iter(self._clients)))
        self._clients[client] = None
        events = selectors.EVENT_WRITE if client.reply else selectors.EVENT_READ
        self._selector.register(client.connection, events, client)

    def _advance(self, client: _Client) -> None:
        if client not in self._clients:
            return  # cut just now, for another one
        if not self._goes_on(client):
            self._forget(client)
        elif client.reply:
            self._selector.modify(client.connection, selectors.EVENT_WRITE, client)

    @staticmethod
    def _goes_on(client: _Client) -> bool:
        try:
            return client.advance()
        except OSError:
            return False  # it left early, or said too much
        except Exception:  # noqa: BLE001 # one client must not end the server
            tell_defect(_log, "a defect in kproxy: an HTTP client gets no answer")
            return False
        except BaseException:
            client.connection.close()
            raise

    def _cut_late(self) -> None:
        now = time.monotonic()
        for client in [each for each in self._clients if each.late_at <= now]:
            self._forget(client)

    def _forget(self, client: _Client) -> None:
        del self._clients[client]
        self._selector.unregister(client.connection)
        client.connection.close()


class _Request(BaseHTTPRequestHandler):
    """One request; whatever its method, the page is the same."""

    server_version = "kproxy"
    sys_version = ""

    def __init__(self, head: bytes, answer: Answer) -> None:
        self._head = head
        self._answer = answer
        self._said = io.BytesIO()
        super().__init__(None, None, None)  # type: ignore[arg-type] # it reads and writes bytes alone

    def setup(self) -> None:
        self.rfile = io.BytesIO(self._head)
        self.wfile = self._said

    def finish(self) -> None:
        self.reply = self._said.getvalue()

    def do_GET(self) -> None:
        try:
            page = self._answer(self.path.partition("?")[0])
            if callable(page):
                page = page(self.headers.get("Accept", ""))
        except Exception:  # noqa: BLE001 # one page that fails must not end the server
            tell_defect(_log, "a defect in kproxy: %s cannot be answered", quoted(self.path))
            page = Page("a defect in kproxy; its log says more\n", HTTPStatus.INTERNAL_SERVER_ERROR, TEXT)
        self._write(page or Page("404 page not found\n", HTTPStatus.NOT_FOUND, TEXT))

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 # the names that http.server looks for

    def log_message(self, *_: object) -> None:
        """Probes come every few seconds."""

    def _write(self, page: Page) -> None:
        body = page.body.encode()
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in page.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _listener(address: str, port: int) -> Listener:
    """Nothing is looked up: the address is a number."""
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
