"""A small HTTP server: one thread that accepts for every address, and a bounded number that answer."""

import errno
import io
import logging
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple, cast

_log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 64
"""At once; for one more the oldest is cut: an honest client is answered within milliseconds."""

_HEAD_TIMEOUT_S = 3.0
_LONGEST_HEAD = 8192
_HEAD_END = re.compile(rb"\n\r?\n")
_ANSWER_TIMEOUT_S = 10.0
_BACKLOG = 128
_PAUSE_S = 0.1

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class Page(NamedTuple):
    body: str
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


Listener = socket.socket

Answer = Callable[[str], Page | None]
"""The page at a path, without its query; None if there is none."""


class WebServer:
    """Answers on any number of addresses, from `start` to `stop`; safe to use from any thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._open: dict[socket.socket, None] = {}
        self._lock = threading.Lock()
        self._woken, self._wake = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._accept_all, name="web", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close every address; answers that are being written are not waited for."""
        self._wake.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            cast("Listener", key.fileobj).close()
        self._selector.close()

    def listen(self, address: str, port: int, answer: Answer) -> Listener:
        """Answer there from now on; OSError if that address cannot be had.

        A wildcard stands for every address of its family, empty text for those of both.
        """
        listener = _listener(address, port)
        self._selector.register(listener, selectors.EVENT_READ, answer)
        return listener

    def close(self, listener: Listener) -> None:
        self._selector.unregister(listener)
        listener.close()

    def _accept_all(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                self._accept(cast("Listener", key.fileobj), key.data)

    def _accept(self, listener: Listener, answer: Answer) -> None:
        try:
            connection, _ = listener.accept()
        except OSError as failed:
            if failed.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(_PAUSE_S)  # the client still waits, and would be asked for again at once
            return  # or the client left again, or the address was closed just now
        with self._lock:
            if len(self._open) >= _MOST_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                _cut(oldest)
            self._open[connection] = None
        responding = threading.Thread(
            target=self._respond, args=(connection, answer), name="web-request", daemon=True
        )
        try:
            responding.start()
        except RuntimeError:  # no room for one more thread; the accepting one must go on
            _log.warning("an HTTP client gets no answer: the system gives no more threads")
            self._forget(connection)

    def _respond(self, connection: socket.socket, answer: Answer) -> None:
        try:
            _Request(connection, answer)
        except OSError:
            _log.debug("an HTTP client left early, or did not say in time what it wants")
        finally:
            self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        connection.close()
        with self._lock:
            self._open.pop(connection, None)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _read_head(connection: socket.socket) -> bytes:
    """What comes up to the first empty line; OSError if that is too much, too late, or not to come."""
    deadline = time.monotonic() + _HEAD_TIMEOUT_S
    head = b""
    while not _HEAD_END.search(head):
        connection.settimeout(max(deadline - time.monotonic(), 0.0))
        more = connection.recv(_LONGEST_HEAD - len(head))
        if not more:
            raise ConnectionAbortedError
        head += more
    return head


class _Request(BaseHTTPRequestHandler):
    """One request; whatever its method, the page is the same."""

    timeout = _ANSWER_TIMEOUT_S
    server_version = "kproxy"
    sys_version = ""

    def __init__(self, connection: socket.socket, answer: Answer) -> None:
        self._answer = answer
        super().__init__(connection, None, None)  # type: ignore[arg-type] # we look at neither

    def setup(self) -> None:
        head = _read_head(self.request)
        super().setup()
        self.rfile = io.BytesIO(head)

    def do_GET(self) -> None:
        try:
            page = self._answer(self.path.partition("?")[0])
        except Exception:  # noqa: BLE001 # one page that fails must not end the server
            _log.exception("a defect in kproxy: %s cannot be answered", self.path)
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
