"""A server that answers each request over TLS with the same body, and tells what it saw of its client."""

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import cast

from authorities import Signed

TIMEOUT_S = 10.0


@dataclass
class Seen:
    """What clients said: their requests (path and headers), server names (None where there was none), certificates."""

    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)
    client_names: list[str] = field(default_factory=list)
    connections: int = 0
    port: int = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S

    def setup(self) -> None:
        super().setup()
        seen = cast("_Server", self.server).seen
        seen.connections += 1
        peer = (
            cast("ssl.SSLSocket", self.connection).getpeercert()
            if hasattr(self.connection, "getpeercert")
            else None
        )
        if peer:
            subject = cast("tuple[tuple[tuple[str, str], ...], ...]", peer["subject"])
            seen.client_names.append(subject[0][0][1])

    def do_GET(self) -> None:
        cast("_Server", self.server).seen.requests.append((self.path, dict(self.headers)))
        cast("_Server", self.server).answer(self)

    do_POST = do_GET  # noqa: N815 # the name is http.server's

    def log_message(self, *_: object) -> None:
        pass


def welcome(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "2")
    handler.end_headers()
    handler.wfile.write(b"ok")


def wait_for_end(connection: socket.socket) -> None:
    """Until the other side hangs up, whatever it sends."""
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_WR)
        while socket.socket.recv(connection, 1 << 16):
            pass


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, address: str, context: ssl.SSLContext | None, answer: Callable[[BaseHTTPRequestHandler], None]
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, 0), _Handler)
        self.seen = Seen(port=self.server_address[1])
        self.answer = answer
        self._context = context
        if context is not None:
            context.sni_callback = lambda _socket, name, _context: self.seen.server_names.append(name)

    def finish_request(self, request: object, client_address: object) -> None:
        plain = cast("ssl.SSLSocket", request)
        plain.settimeout(TIMEOUT_S)
        if self._context is None:
            _Handler(plain, client_address, self)
            return
        safe = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        with safe:
            try:
                safe.do_handshake()
            except OSError:
                wait_for_end(safe)  # a close with unread words would take our alert back
            else:
                _Handler(safe, client_address, self)

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def tls_server(
    identity: Signed | ssl.SSLContext | None,
    *,
    clients: bytes = b"",
    address: str = "127.0.0.1",
    answer: Callable[[BaseHTTPRequestHandler], None] = welcome,
) -> Iterator[Seen]:
    """Without an identity, without TLS."""
    context = identity.server_context(clients=clients) if isinstance(identity, Signed) else identity
    with _Server(address, context, answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server.seen
        finally:
            server.shutdown()
            thread.join(TIMEOUT_S)
