"""The small HTTP server: any method, many addresses, clients that say nothing."""

import errno
import multiprocessing
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import pytest

from kproxy.agent.http import client as client_module
from kproxy.agent.http import web as web_module
from kproxy.agent.http.listening import Listener
from kproxy.agent.http.page import TEXT, Page
from kproxy.agent.http.web import WebServer


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
            for _ in range(272)
        ]
        assert 202 == ask(listener, "/page")[0]
        assert [b""] * 16 == [client.recv(1) for client in clients[:16]]
        clients[-1].settimeout(0.1)
        with pytest.raises(TimeoutError):
            clients[-1].recv(1)


def test_client_that_says_one_byte_after_the_other_is_cut_in_time(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_HEAD_TIMEOUT_S", 0.2)
    listener = web.listen("127.0.0.1", 0, answer)
    with socket.create_connection(("127.0.0.1", port(listener)), 0.05) as client:
        assert any(is_cut(client, b"G") for _ in range(100))


def is_cut(client: socket.socket, said: bytes) -> bool:
    """Whether the server has closed the connection without a word, within the client's time-out."""
    try:
        client.sendall(said)
        return not client.recv(1)
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize(("length", "expected", "within_s"), [(8000, False, 0.2), (9000, True, 2.0)])
def test_client_that_says_too_much_is_cut(
    web: WebServer, length: int, expected: bool, within_s: float
) -> None:
    listener = web.listen("127.0.0.1", 0, answer)
    with socket.create_connection(("127.0.0.1", port(listener)), within_s) as client:
        assert expected == is_cut(client, b"GET /page HTTP/1.1\r\nLong: " + bytes(length))


def test_head_may_come_in_pieces_and_its_lines_end_either_way(web: WebServer) -> None:
    listener = web.listen("127.0.0.1", 0, answer)
    for pieces in (b"GET /page HTTP/1.1\r\nA: b\r\n\r", b"\n"), (b"GET /page HTTP/1.0\n", b"\n"):
        with socket.create_connection(("127.0.0.1", port(listener)), 10) as client:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(0.01)
            assert client.recv(100).startswith(b"HTTP/1.0 202 ")


def connects(port: int, until: float, stays: int) -> None:
    """As fast as this process can: each connection is closed once `stays` newer ones are open."""
    opened: list[socket.socket] = []
    while time.monotonic() < until:
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        opened.append(client)
        if len(opened) > stays:
            opened.pop(0).close()


FLOOD_S = 3.0


def probe(listener: Listener) -> int:
    """As a kubelet does, which takes a node for dead only after several failures."""
    for _ in range(2):
        with suppress(OSError):
            return ask(listener, "/page")[0]
    return ask(listener, "/page")[0]


@pytest.mark.alone
@pytest.mark.parametrize("stays", [0, 500], ids=["and leave", "and stay without a word"])
def test_probes_are_answered_while_thousands_connect(web: WebServer, stays: int) -> None:
    listener = web.listen("127.0.0.1", 0, answer)
    until = time.monotonic() + FLOOD_S
    forked = multiprocessing.get_context("fork")
    crowd = [
        forked.Process(target=connects, args=(port(listener), until, stays), daemon=True) for _ in range(2)
    ]
    for each in crowd:
        each.start()
    statuses, slowest_s = [], 0.0
    while time.monotonic() < until:
        began_at = time.monotonic()
        statuses.append(probe(listener))
        slowest_s = max(slowest_s, time.monotonic() - began_at)
        time.sleep(0.02)
    for each in crowd:
        each.join(10)
    assert {202} == set(statuses)
    assert len(statuses) >= 2, f"the slowest of {len(statuses)} took {slowest_s:.1f} s"


def test_client_that_reads_slowly_gets_all_of_a_large_page_and_holds_up_nobody(web: WebServer) -> None:
    large = "x" * (8 << 20)
    listener = web.listen("127.0.0.1", 0, lambda path: Page(large) if path == "/large" else answer(path))
    with socket.create_connection(("127.0.0.1", port(listener)), 10) as slow:
        slow.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        assert slow.recv(1000).startswith(b"HTTP/1.0 200 ")
        assert 202 == ask(listener, "/page")[0]
        received = b""
        while more := slow.recv(1 << 20):
            received += more
    assert received.endswith(b"x" * 1000)


def test_client_that_does_not_read_its_page_is_cut_in_time(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_ANSWER_TIMEOUT_S", 0.2)
    listener = web.listen("127.0.0.1", 0, lambda _: Page("x" * (64 << 20)))
    with socket.create_connection(("127.0.0.1", port(listener)), 10) as slow:
        slow.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        received = len(slow.recv(1))
        time.sleep(1.0)
        try:
            while more := slow.recv(1 << 20):
                received += len(more)
        except ConnectionError:
            """It is cut."""
    assert received < 64 << 20


def test_listeners_leave_descriptors_to_clients_and_programs(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_module, "listeners_end", lambda: 0)
    before = open_files()
    with pytest.raises(OSError, match="programs and HTTP clients need some of them") as refused:
        web.listen("127.0.0.1", 0, answer)
    assert (errno.EMFILE, before) == (refused.value.errno, open_files())


def test_clients_beyond_the_reserve_are_few_and_the_oldest_is_cut(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_module, "clients_end", lambda: 0)
    listener = web.listen("127.0.0.1", 0, answer)
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_connection(("127.0.0.1", port(listener)), 10))
        others = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port(listener)), 10)) for _ in range(4)
        ]
        assert b"" == silent.recv(1)
        assert 202 == ask(listener, "/page")[0]
        others[-1].settimeout(0.1)
        with pytest.raises(TimeoutError):
            others[-1].recv(1)


def test_listeners_are_bounded_in_number(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_module, "_MOST_LISTENERS", 3)
    listeners = [web.listen("127.0.0.1", 0, answer) for _ in range(3)]
    with pytest.raises(OSError, match="3 addresses with ports are open already"):
        web.listen("127.0.0.1", 0, answer)
    web.close(listeners[0])
    assert 202 == ask(web.listen("127.0.0.1", 0, answer), "/page")[0]


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def test_stopped_server_leaves_nothing_open() -> None:
    before = open_files()
    server = WebServer()
    server.start()
    listener = server.listen("127.0.0.1", 0, answer)
    with socket.create_connection(("127.0.0.1", port(listener)), 10):
        assert 202 == ask(listener, "/page")[0]
        server.stop()
    assert before == open_files()
