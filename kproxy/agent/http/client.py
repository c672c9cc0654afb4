"""One client of a web server: its request is read as it comes, and answered as far as the connection takes it."""

import io
import logging
import re
import socket
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

from kproxy.agent.http.page import TEXT, Answer, Page
from kproxy.state.printable import quoted
from kproxy.threads import log_defect

_log = logging.getLogger(__name__)

_HEAD_TIMEOUT_S = 3.0
_LONGEST_HEAD = 8192
_HEAD_END = re.compile(rb"\n\r?\n")
_ANSWER_TIMEOUT_S = 10.0


class Client:
    """A connection, the bytes that came from it so far, and the bytes that still have to be sent to it."""

    __slots__ = ("answer", "connection", "head", "late_at", "reply")

    def __init__(self, connection: socket.socket, answer: Answer) -> None:
        self.connection = connection
        self.answer = answer
        self.head = b""
        self.reply = memoryview(b"")
        self.late_at = time.monotonic() + _HEAD_TIMEOUT_S

    def advance(self) -> bool:
        """Read and write as much as is possible now; whether more is to come. OSError if the client has to be cut."""
        if not self.reply and not self._has_asked():
            return True
        with suppress(BlockingIOError):
            self.reply = self.reply[self.connection.send(self.reply, socket.MSG_DONTWAIT) :]
        return bool(self.reply)

    def _has_asked(self) -> bool:
        """Whether the request's head is complete, so that there is a reply; OSError if it is too long, or cannot come."""
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


class _Request(BaseHTTPRequestHandler):
    """One request. The page is the same for every method."""

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
            log_defect(_log, "a defect in kproxy: %s cannot be answered", quoted(self.path))
            page = Page("a defect in kproxy; its log says more\n", HTTPStatus.INTERNAL_SERVER_ERROR, TEXT)
        self._write(page or Page("404 page not found\n", HTTPStatus.NOT_FOUND, TEXT))

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 # the names that http.server looks for

    def log_message(self, *_: object) -> None:
        """Log nothing: probes come every few seconds."""

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
