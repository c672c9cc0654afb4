"""The servers are opened where they are configured, also where the address is free only later."""

import socket
import time
from collections.abc import Iterator

import pytest

from kproxy.agent.http import servers
from kproxy.agent.http.page import Page
from kproxy.agent.http.servers import Servers
from kproxy.agent.http.web import WebServer
from kproxy.configuration.units import HealthzAddress
from kproxy.errors import EnvironmentLacking

BOUND_S = 10.0


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    server.start()
    yield server
    server.stop()


def test_address_that_becomes_free_is_had_then(
    taken: socket.socket, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_RETRY_S", 0.01)
    port = taken.getsockname()[1]
    complaints: list[str] = []
    opening = Servers(web, hard_fail=False, complain=lambda reason, _: complaints.append(reason))
    opening.open("health", HealthzAddress(f"127.0.0.1:{port}"), lambda _: Page("here"), failure="Failed")
    deadline = time.monotonic() + BOUND_S
    while len(complaints) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    taken.close()
    assert "200" in first_line(port, deadline)
    assert {"Failed"} == set(complaints)
    opening.stop()


def first_line(port: int, deadline: float) -> str:
    """Of the answer to a request, as soon as anybody listens there."""
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 1.0) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return client.recv(100).decode().partition("\r\n")[0]
        except ConnectionRefusedError:
            time.sleep(0.001)
    return ""


def test_taken_address_is_an_error_where_it_has_to_be(taken: socket.socket, web: WebServer) -> None:
    address = HealthzAddress(f"127.0.0.1:{taken.getsockname()[1]}")
    opening = Servers(web, hard_fail=True, complain=lambda *_: None)
    with pytest.raises(EnvironmentLacking, match="bindAddressHardFail"):
        opening.open("health", address, lambda _: None, failure="Failed")
