"""A server or a proxy repeats the secrets that we sent. No error contains any of them."""

import base64
import re
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from authorities import authority, signed_by
from kproxy.client.connection import Connection
from kproxy.client.credentials.headers import BasicAuth
from kproxy.client.credentials.tokens import BearerToken
from kproxy.client.target import Credentials, Target, TlsSettings
from kproxy.errors import ApiFailed
from kproxy.sources.kube import SERVICES
from kproxy.sources.listing import list_resource
from realproxies import Proxied, proxy
from tlsservers import tls_server

ROOT = authority("root")
CANARY = "c4n4ry-S3cr3t"
ENCODED = base64.b64encode(f"me:{CANARY}".encode()).decode()
CREDENTIALS = [BearerToken(CANARY, "the settings"), BasicAuth("me", CANARY)]
LONG = "x" * 60
"""Messages show at most 64 characters of some texts."""


def failure(server: str, credentials: Credentials, proxy_url: str = "") -> str:
    connection = Connection(Target(server, "the settings", TlsSettings(ROOT.pem), credentials, proxy_url))
    try:
        with pytest.raises(ApiFailed) as caught:
            list_resource(
                lambda query: connection.get(SERVICES.path, query, read_timeout_s=5.0), SERVICES, 500
            )
    finally:
        connection.close()
    return str(caught.value)


def assert_hidden(said: str) -> None:
    for secret in (CANARY, ENCODED):
        assert not re.search(re.escape(secret[:6]), said, re.IGNORECASE), said


@pytest.mark.parametrize("credentials", CREDENTIALS, ids=["token", "password"])
@pytest.mark.parametrize(
    "head",
    [
        "{told}",
        "HTTP/1.1 {told}",
        "HTTP/1.1 500 {told}",
        "HTTP/1.1 302 Found\r\nLocation: https://other/{told}",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: {told}",
        "HTTP/1.1 200 OK\r\nContent-Type: {told}",
        "HTTP/1.1 200 OK\r\nContent-Type: " + LONG + "{told}",
        "HTTP/1.1 200 OK\r\nContent-Encoding: {told}",
        "HTTP/1.1 200 OK\r\nContent-Encoding: " + LONG + "{told}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{told}",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{told}",
        'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{{"metadata": "{told}"}}',
    ],
)
@pytest.mark.parametrize("secret", [CANARY, ENCODED])
def test_secret_that_a_server_repeats_is_in_no_error(
    head: str, secret: str, credentials: Credentials
) -> None:
    def say_back(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(f"{head.format(told=f'Basic {secret} Bearer {secret}')}\r\n\r\n".encode())
        handler.close_connection = True

    with tls_server(signed_by(ROOT, "127.0.0.1"), answer=say_back) as api:
        said = failure(f"https://127.0.0.1:{api.port}", credentials)
    if secret == CANARY or "Basic" in credentials.headers()["Authorization"]:
        assert_hidden(said)


def says_back(answer: str) -> Callable[[socket.socket, Proxied], None]:
    def serve(connection: socket.socket, _: Proxied) -> None:
        told = connection.recv(1 << 16)
        connection.sendall(answer.encode() + told.partition(b"Authorization: ")[2].replace(b"\r\n", b" "))
        connection.sendall(f" {CANARY}\r\n\r\n".encode())

    return serve


@pytest.mark.parametrize("answer", ["HTTP/1.1 502 ", "HTTP/1.1 ", "", "HTTP/1.1 407 "])
def test_secret_that_a_proxy_repeats_is_in_no_error(answer: str) -> None:
    with proxy(says_back(answer)) as proxied:
        said = failure(
            "https://api.test:6443", CREDENTIALS[0], f"http://me:{CANARY}@127.0.0.1:{proxied.port}"
        )
    assert "the proxy http://127.0.0.1:" in said
    assert_hidden(said)
