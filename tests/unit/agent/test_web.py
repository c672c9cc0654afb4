"""The small HTTP server: any method, many addresses, clients that say nothing."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus
from http.client import HTTPConnection

import pytest

from kproxy.agent.web import TEXT, Listener, Page, WebServer


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    server.start()
    yield server
    server.stop()


def answer(path: str) -> Page | None:
    if path == "/defect":
        raise ValueError(path)
    return Page(f"this is {path}", HTTPStatus.ACCEPTED, TEXT) if path == "/page" else None


def port(listener: Listener) -> int:
    return int(listener.getsockname()[1])


def ask(listener: Listener, path: str, method: str = "GET") -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port(listener), timeout=10)
    try:
        connection.request(method, path)
        answered = connection.getresponse()
        return answered.status, answered.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "body"), [("GET", "this is /page"), ("POST", "this is /page"), ("HEAD", "")]
)
def test_page_is_the_same_by_any_method_and_with_any_query(web: WebServer, method: str, body: str) -> None:
    listener = web.listen("127.0.0.1", 0, answer)
    assert (202, body) == ask(listener, "/page?verbose", method)


def test_no_page_is_404_and_a_defect_500(web: WebServer) -> None:
    listener = web.listen("127.0.0.1", 0, answer)
    assert 404 == ask(listener, "/other")[0]
    assert 500 == ask(listener, "/defect")[0]
    assert 202 == ask(listener, "/page")[0]


def test_taken_address_is_an_error_and_a_closed_one_is_free(web: WebServer) -> None:
    first = web.listen("127.0.0.1", 0, answer)
    with pytest.raises(OSError, match="in use"):
        web.listen("127.0.0.1", port(first), answer)
    number = port(first)
    web.close(first)
    assert number == port(web.listen("127.0.0.1", number, answer))


def test_of_clients_that_say_nothing_the_oldest_are_cut(web: WebServer) -> None:
    listener = web.listen("127.0.0.1", 0, answer)
    with ExitStack() as silent:
        clients = [
            silent.enter_context(socket.create_connection(("127.0.0.1", port(listener)), 10))
            for _ in range(80)
        ]
        assert 202 == ask(listener, "/page")[0]
        assert [b""] * 16 == [client.recv(1) for client in clients[:16]]
        clients[-1].settimeout(0.1)
        with pytest.raises(TimeoutError):
            clients[-1].recv(1)
