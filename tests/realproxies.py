"""Real proxies on loopback: HTTP CONNECT and forwarding, with TLS or without, and SOCKS 5.

Each resolves names itself, all to 127.0.0.1: a client that resolved them could not.
"""

import base64
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

TIMEOUT_S = 30.0


@dataclass
class Proxied:
    """What a proxy was asked: first lines or SOCKS destinations, and all bytes of heads that it read."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    client_certificates: list[bytes | None] = field(default_factory=list)


Serve = Callable[[socket.socket, Proxied], None]


@contextmanager
def proxy(serve: Serve, tls: ssl.SSLContext | None = None) -> Iterator[Proxied]:
    """A proxy whose connections `serve` handles, each in a thread."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            connection = cast("socket.socket", self.request)
            connection.settimeout(TIMEOUT_S)
            with suppress(OSError):
                if tls is None:
                    serve(connection, proxied)
                    return
                with tls.wrap_socket(connection, server_side=True) as safe:
                    proxied.client_certificates.append(safe.getpeercert(binary_form=True))
                    serve(safe, proxied)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        proxied = Proxied(port=server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield proxied
        finally:
            server.shutdown()
            thread.join(TIMEOUT_S)


def http(login: str = "") -> Serve:
    """CONNECT, and plain requests; with a `login` (`user:password`) for that alone."""

    def serve(connection: socket.socket, proxied: Proxied) -> None:
        head = _head(connection)
        proxied.heads.append(head)
        method, target, _ = head.split(b"\r\n")[0].decode().split()
        proxied.asked.append(f"{method} {target}")
        expected = b"Proxy-Authorization: Basic " + base64.b64encode(login.encode())
        if login and expected not in head.split(b"\r\n"):
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        elif method == "CONNECT":
            _tunnel(connection, int(target.rpartition(":")[2]))
        else:
            _forward(connection, head)

    return serve


def socks(login: str = "", *, refusal: int = 0) -> Serve:
    """RFC 1928 and 1929; `refusal` is the reply to each request instead of a connection."""

    def serve(connection: socket.socket, proxied: Proxied) -> None:
        _, count = _exactly(connection, 2)
        methods = _exactly(connection, count)
        method = 2 if login else 0
        connection.sendall(bytes([5, method if method in methods else 0xFF]))
        if method == 2:
            user = _exactly(connection, _exactly(connection, 2)[1])
            password = _exactly(connection, _exactly(connection, 1)[0])
            is_right = login == f"{user.decode()}:{password.decode()}"
            connection.sendall(bytes([1, 0 if is_right else 1]))
            if not is_right:
                return
        _, _, _, kind = _exactly(connection, 4)
        if kind == 3:
            host = _exactly(connection, _exactly(connection, 1)[0]).decode()
        else:
            family = socket.AF_INET if kind == 1 else socket.AF_INET6
            host = socket.inet_ntop(family, _exactly(connection, 4 if kind == 1 else 16))
        port = int.from_bytes(_exactly(connection, 2), "big")
        proxied.asked.append(f"{host}:{port}")
        connection.sendall(bytes([5, refusal, 0, 1, 127, 0, 0, 1, 0, 0]))
        if not refusal:
            with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as onward:
                _splice(connection, onward)

    return serve


def silent(connection: socket.socket, _: Proxied) -> None:
    """Says nothing until the client goes."""
    while connection.recv(1 << 16):
        pass


def _head(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError
        head += byte
    return head


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def _tunnel(connection: socket.socket, port: int) -> None:
    try:
        onward = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    except OSError:
        connection.sendall(b"HTTP/1.1 502 \x1b[31mno way\r\n\r\n")
        return
    with onward:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        _splice(connection, onward)


def _forward(connection: socket.socket, head: bytes) -> None:
    first, _, rest = head.partition(b"\r\n")
    method, target, protocol = first.split()
    url = urlsplit(target.decode())
    with socket.create_connection(("127.0.0.1", url.port or 80), TIMEOUT_S) as onward:
        path = f"{url.path}?{url.query}".encode()
        onward.sendall(b" ".join((method, path, protocol)) + b"\r\nConnection: close\r\n" + rest)
        while data := onward.recv(1 << 16):
            connection.sendall(data)


def _splice(one: socket.socket, other: socket.socket) -> None:
    """Both ways until one of them ends, in one thread: two must not use one TLS connection."""
    sinks = {one: other, other: one}
    while True:
        waiting = [each for each in sinks if isinstance(each, ssl.SSLSocket) and each.pending()]
        ready = waiting or select.select([*sinks], [], [], TIMEOUT_S)[0]
        if not ready:
            return
        for source in ready:
            data = source.recv(1 << 16)
            if not data:
                return
            sinks[source].sendall(data)
