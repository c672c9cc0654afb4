"""The way to a server through real proxies, and the message if there is no way."""

import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from authorities import authority, signed_by
from kproxy.client.connection import Connection, RequestEvent
from kproxy.client.credentials.tokens import NoCredentials
from kproxy.client.target import ClientCertificate, Target, TlsSettings
from kproxy.client.transport import pools
from kproxy.errors import ApiFailed, EnvironmentLacking
from realproxies import Proxied, Serve, http, proxy, silent, socks
from tlsservers import Seen, tls_server, welcome

ROOT = authority("root")
TRUSTING = TlsSettings(ROOT.pem)
NAME = "kubernetes.test"
"""A name that only a proxy can resolve."""
SECRET = "hunter2"
BEARER = "Bearer sesame-open"
TIMEOUT_S = 5.0


class Bearer(NoCredentials):
    def headers(self) -> Mapping[str, str]:
        return {"Authorization": BEARER}

    def certificate(self) -> ClientCertificate | None:
        return CLIENT


_client = signed_by(ROOT, common_name="somebody")
CLIENT = ClientCertificate(_client.chain, _client.key_pem)


@pytest.fixture
def api() -> Iterator[Seen]:
    with tls_server(signed_by(ROOT, NAME, "127.0.0.1", "10.96.0.1", "fd00::1"), clients=ROOT.pem) as seen:
        yield seen


@pytest.fixture(autouse=True)
def no_proxies_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def asked(server: str, proxy_url: str = "", tls: TlsSettings | None = TRUSTING, times: int = 1) -> bytes:
    notes: list[RequestEvent] = []
    connection = Connection(Target(server, "the kubeconfig x", tls, Bearer(), proxy_url), notes.append)
    body = b""
    try:
        for _ in range(times):
            with connection.get("/api/v1/services", {}, read_timeout_s=TIMEOUT_S) as answer:
                body = answer.body(1 << 20)
    finally:
        connection.close()
        assert SECRET not in repr(notes) + repr(connection.peer)
    return body


def refusal(server: str, proxy_url: str = "", tls: TlsSettings | None = TRUSTING) -> str:
    with pytest.raises(ApiFailed) as caught:
        asked(server, proxy_url, tls)
    assert SECRET not in str(caught.value)
    assert "alice" not in str(caught.value)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("host", [NAME, "10.96.0.1", "[fd00::1]"])
@pytest.mark.parametrize(("scheme", "serve"), [("http", http()), ("socks5", socks()), ("socks5h", socks())])
def test_proxy_reaches_and_resolves_the_server(
    api: Seen, host: str, scheme: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(serve) as proxied:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://127.0.0.1:{proxied.port}")
        assert b"ok" == asked(f"https://{host}:{api.port}", times=2)
    bare = f"{host}:{api.port}" if scheme == "http" else f"{host.strip('[]')}:{api.port}"
    assert [f"CONNECT {bare}" if scheme == "http" else bare] == proxied.asked
    assert [BEARER] * 2 == [headers["Authorization"] for _, headers in api.requests]
    assert ["somebody"] == api.client_names


def test_name_beyond_ascii_is_asked_for_as_dns_has_it() -> None:
    with tls_server(signed_by(ROOT, "xn--bcher-kva.test")) as api, proxy(http()) as proxied:
        assert b"ok" == asked(f"https://bücher.test:{api.port}", f"http://127.0.0.1:{proxied.port}")
    assert [f"CONNECT xn--bcher-kva.test:{api.port}"] == proxied.asked
    assert ["xn--bcher-kva.test"] == api.server_names


@pytest.mark.parametrize(("scheme", "serve"), [("http", http()), ("socks5", socks())])
def test_name_with_a_final_dot_is_expected_without_the_dot(api: Seen, scheme: str, serve: Serve) -> None:
    with proxy(serve) as proxied:
        assert b"ok" == asked(f"https://{NAME}.:{api.port}", f"{scheme}://127.0.0.1:{proxied.port}")
    assert [NAME] == api.server_names


def test_tunnel_is_asked_for_with_a_host(api: Seen) -> None:
    with proxy(http()) as proxied:
        asked(f"https://{NAME}:{api.port}", f"http://127.0.0.1:{proxied.port}")
    server = f"{NAME}:{api.port}"
    assert f"CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n".encode() == proxied.heads[0]


@pytest.mark.parametrize(("scheme", "serve"), [("http", http), ("socks5", socks)])
def test_login_of_the_url_is_sent_decoded(api: Seen, scheme: str, serve: object) -> None:
    assert callable(serve)
    with proxy(serve("al@ice:hunter2%")) as proxied:
        way = f"{scheme}://al%40ice:hunter2%25@127.0.0.1:{proxied.port}"
        assert b"ok" == asked(f"https://{NAME}:{api.port}", way)
    assert BEARER.encode() not in b"".join(proxied.heads)
    assert all("Proxy-Authorization" not in headers for _, headers in api.requests)


@pytest.mark.parametrize(("scheme", "serve"), [("http", http), ("socks5", socks)])
def test_wrong_login_names_the_setting_to_correct(api: Seen, scheme: str, serve: object) -> None:
    assert callable(serve)
    with proxy(serve("alice:other")) as proxied:
        said = refusal(f"https://{NAME}:{api.port}", f"{scheme}://alice:hunter2@127.0.0.1:{proxied.port}")
    assert f"the proxy {scheme}://127.0.0.1:{proxied.port} does not accept our user and password" in said
    assert "correct them in proxy-url in the kubeconfig x" in said


@pytest.mark.parametrize(("scheme", "serve"), [("http", http), ("socks5", socks)])
def test_missing_login_is_asked_for(
    api: Seen, scheme: str, serve: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(serve)
    with proxy(serve("alice:hunter2")) as proxied:
        monkeypatch.setenv("https_proxy", f"{scheme}://127.0.0.1:{proxied.port}")
        said = refusal(f"https://{NAME}:{api.port}")
    assert "wants a user and a password; write them into https_proxy as" in said


def test_proxy_with_tls_is_verified_by_the_clusters_authority(api: Seen) -> None:
    tls = signed_by(ROOT, "127.0.0.1").server_context()
    tls.load_verify_locations(cadata=ROOT.pem.decode())
    tls.verify_mode = ssl.CERT_OPTIONAL
    with proxy(http("alice:hunter2"), tls) as proxied:
        assert b"ok" == asked(
            f"https://{NAME}:{api.port}", f"https://alice:hunter2@127.0.0.1:{proxied.port}", times=2
        )
    assert [None] == proxied.client_certificates
    assert ["somebody"] == api.client_names


def test_server_name_is_not_asked_of_the_proxy(api: Seen) -> None:
    with proxy(http(), signed_by(ROOT, "127.0.0.1").server_context()) as proxied:
        settings = TlsSettings(ROOT.pem, server_name=NAME)
        assert b"ok" == asked(f"https://other:{api.port}", f"https://127.0.0.1:{proxied.port}", settings)
    assert [NAME] == api.server_names


def test_answer_through_tls_in_tls_can_be_severed() -> None:
    def begin(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.flush()
        handler.rfile.read(1)

    server = tls_server(signed_by(ROOT, NAME), answer=begin)
    with server as api, proxy(http(), signed_by(ROOT, "127.0.0.1").server_context()) as proxied:
        target = Target(
            f"https://{NAME}:{api.port}",
            "x",
            TlsSettings(ROOT.pem),
            NoCredentials(),
            f"https://127.0.0.1:{proxied.port}",
        )
        connection = Connection(target)
        with connection.get("/", {}, read_timeout_s=30) as answer:
            answer.sever()
            with pytest.raises(ApiFailed, match="closed the connection"):
                answer.body(1)
        connection.close()


def test_proxy_of_a_foreign_authority_is_refused(api: Seen) -> None:
    with proxy(http(), signed_by(authority("foreign"), "127.0.0.1").server_context()) as proxied:
        said = refusal(f"https://{NAME}:{api.port}", f"https://alice:hunter2@127.0.0.1:{proxied.port}")
    assert f"the proxy https://127.0.0.1:{proxied.port}: we do not trust its certificate" in said
    assert [] == proxied.asked


def test_proxy_without_the_expected_tls_is_reported(api: Seen) -> None:
    def without_tls(connection: socket.socket, _: Proxied) -> None:
        connection.recv(1)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with proxy(without_tls) as proxied:
        said = refusal(f"https://{NAME}:{api.port}", f"https://alice:hunter2@127.0.0.1:{proxied.port}")
    assert "TLS fails; write http:// in proxy-url in the kubeconfig x" in said


def test_certificate_of_the_server_behind_a_proxy_is_verified(api: Seen) -> None:
    with proxy(http()) as proxied:
        way = f"http://alice:hunter2@127.0.0.1:{proxied.port}"
        said = refusal(f"https://{NAME}:{api.port}", way, TlsSettings(authority().pem))
    assert f"https://{NAME}:{api.port}: we do not trust its certificate" in said
    assert f"; the proxy is http://127.0.0.1:{proxied.port} of proxy-url in the kubeconfig x" in said
    assert [] == api.requests


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
def test_missing_proxy_is_reported(scheme: str) -> None:
    said = refusal(f"https://{NAME}", f"{scheme}://alice:hunter2@127.0.0.1:{unused_port()}")
    assert "cannot be reached (Connection refused); check that a proxy runs there" in said
    assert "or correct proxy-url in the kubeconfig x" in said


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_proxy_with_an_unknown_name_is_reported(scheme: str) -> None:
    said = refusal(f"https://{NAME}", f"{scheme}://alice:hunter2@proxy.invalid:3128")
    assert f"the name of the proxy {scheme}://proxy.invalid:3128 cannot be resolved" in said


def test_proxy_that_cannot_reach_the_server_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy(http()) as proxied:
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxied.port}")
        said = refusal(f"https://{NAME}:{unused_port()}")
    assert f"the proxy http://127.0.0.1:{proxied.port} does not lead to https://{NAME}" in said
    assert "502" in said
    assert "or correct HTTPS_PROXY, or except the server by NO_PROXY" in said


@pytest.mark.parametrize(("code", "words"), [(1, "General"), (2, "not allowed"), (5, "refused"), (99, "99")])
def test_refusal_of_a_socks_proxy_is_reported(api: Seen, code: int, words: str) -> None:
    with proxy(socks(refusal=code)) as proxied:
        said = refusal(f"https://{NAME}:{api.port}", f"socks5://127.0.0.1:{proxied.port}")
    assert f"does not lead to https://{NAME}:{api.port}" in said
    assert words in said


def endless(connection: socket.socket, _: Proxied) -> None:
    connection.recv(1 << 16)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: y\r\n")


def test_proxy_whose_answer_has_no_end_is_abandoned(api: Seen) -> None:
    with proxy(endless) as proxied:
        said = refusal(f"https://{NAME}:{api.port}", f"http://127.0.0.1:{proxied.port}")
    assert "more than 100 headers" in said


def closes(connection: socket.socket, _: Proxied) -> None:
    connection.recv(1 << 16)


def prattles(connection: socket.socket, _: Proxied) -> None:
    connection.sendall(b"\x1b]0;ha\x07 alice:hunter2@x\r\n" * 10)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("serve", [closes, prattles])
def test_proxy_with_another_protocol_is_reported(api: Seen, scheme: str, serve: Serve) -> None:
    with proxy(serve) as proxied:
        said = refusal_of_anything(f"https://{NAME}:{api.port}", f"{scheme}://127.0.0.1:{proxied.port}")
    assert f"the proxy {scheme}://127.0.0.1:{proxied.port} does not lead to" in said


def refusal_of_anything(server: str, proxy_url: str) -> str:
    with pytest.raises(ApiFailed) as caught:
        asked(server, proxy_url)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
def test_silent_proxy_is_abandoned(api: Seen, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kproxy.client.connection._CONNECT_TIMEOUT_S", 0.3)
    with proxy(silent) as proxied:
        said = refusal(f"https://{NAME}:{api.port}", f"{scheme}://alice:hunter2@127.0.0.1:{proxied.port}")
    assert f"the proxy {scheme}://127.0.0.1:{proxied.port} does not answer" in said


def drips_in_the_handshake(connection: socket.socket, _: Proxied) -> None:
    """Send the head of a TLS record of 16 kB, and then single bytes with pauses."""
    connection.recv(1 << 16)
    drips(connection, b"\x16\x03\x03\x3f\xff")


def drips_in_the_tunnel(connection: socket.socket, _: Proxied) -> None:
    connection.recv(1 << 16)
    drips(connection, b"HTTP/1.1 200 OK\r\nX: ")


def drips(connection: socket.socket, head: bytes) -> None:
    connection.sendall(head)
    while True:
        connection.sendall(b"\x02")
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("scheme", "serve"), [("https", drips_in_the_handshake), ("http", drips_in_the_tunnel)]
)
def test_proxy_that_is_never_ready_is_abandoned(
    scheme: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "LONGEST_GREETING_S", 0.3)
    with proxy(serve) as proxied:
        said = refusal(f"https://{NAME}", f"{scheme}://alice:hunter2@127.0.0.1:{proxied.port}")
    assert f"the proxy {scheme}://127.0.0.1:{proxied.port} does not answer" in said


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("through", ["", "http", "socks5"])
def test_server_that_is_never_ready_is_abandoned(through: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "LONGEST_GREETING_S", 0.3)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with (
        proxy(drips_in_the_handshake) as server,
        proxy(socks() if through == "socks5" else http()) as proxied,
    ):
        way = f"{through}://127.0.0.1:{proxied.port}" if through else ""
        said = refusal(f"https://127.0.0.1:{server.port}", way)
    assert f"https://127.0.0.1:{server.port} does not answer" in said
    until = time.monotonic() + TIMEOUT_S
    while before < open_descriptors() and time.monotonic() < until:
        time.sleep(0.02)  # the descriptor of the server's side
    assert before >= open_descriptors()
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_lack_of_threads_is_reported(api: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", refuse)
    assert "the system gives no more threads" in refusal(f"https://127.0.0.1:{api.port}")


def test_loopback_is_reached_without_the_proxy_of_the_environment(
    api: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(http()) as proxied:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxied.port}")
        assert b"ok" == asked(f"https://127.0.0.1:{api.port}")
        assert [] == proxied.asked
        assert b"ok" == asked(f"https://127.0.0.1:{api.port}", f"http://127.0.0.1:{proxied.port}")
        monkeypatch.setenv("NO_PROXY", "*")
        assert b"ok" == asked(f"https://127.0.0.1:{api.port}", f"http://127.0.0.1:{proxied.port}")
    assert [f"CONNECT 127.0.0.1:{api.port}"] * 2 == proxied.asked


def test_server_without_tls_is_asked_through_the_proxy_and_gets_no_credentials() -> None:
    with tls_server(None) as api, proxy(http("alice:hunter2")) as proxied:
        way = f"http://alice:hunter2@127.0.0.1:{proxied.port}"
        assert b"ok" == asked(f"http://{NAME}:{api.port}/base", way, None)
        ((path, headers),) = api.requests
    assert "/base/api/v1/services?" == path
    assert "Authorization" not in headers
    head = proxied.heads[0]
    assert b"Proxy-Authorization: Basic " + b64encode(b"alice:hunter2") in head
    assert BEARER.encode() not in head


def test_server_without_tls_is_reached_over_socks() -> None:
    with tls_server(None) as api, proxy(socks("alice:hunter2")) as proxied:
        way = f"socks5://alice:hunter2@127.0.0.1:{proxied.port}"
        assert b"ok" == asked(f"http://{NAME}:{api.port}", way, None)
        ((_, headers),) = api.requests
    assert [f"{NAME}:{api.port}"] == proxied.asked
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    "reply", [b"\5\0\5\0\0\3\4\xff\xff\xff\xff\0\0", b"\5\0\5\0\0\7", b"\4\0", b"\5\0\5\0\1"]
)
def test_socks_proxy_with_any_answer_is_reported(reply: bytes) -> None:
    def serve(connection: socket.socket, _: Proxied) -> None:
        connection.recv(1 << 16)
        connection.sendall(reply[:2])
        connection.recv(1 << 16)
        connection.sendall(reply[2:])

    with proxy(serve) as proxied:
        said = refusal(f"https://{NAME}", f"socks5://127.0.0.1:{proxied.port}")
    assert f"the proxy socks5://127.0.0.1:{proxied.port} does not lead to https://{NAME}" in said


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_name_that_dns_cannot_have_is_reported(scheme: str) -> None:
    said = refusal(f"https://{NAME}", f"{scheme}://alice:hunter2@{'a' * 70}.test")
    assert "a" * 70 in said


def test_wrong_login_for_a_server_without_tls_is_reported() -> None:
    with tls_server(None) as api, proxy(http("alice:other")) as proxied:
        said = refusal(f"http://{NAME}:{api.port}", f"http://alice:hunter2@127.0.0.1:{proxied.port}", None)
    assert "does not accept our user and password" in said


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(code: int) -> None:
    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Location", f"https://127.0.0.1:{other.port}/")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    identity = signed_by(ROOT, "127.0.0.1")
    with tls_server(identity) as other, tls_server(identity, answer=elsewhere) as api:
        said = refusal(f"https://127.0.0.1:{api.port}")
    assert f"answers {code} to list services: it redirects us" in said
    assert [] == other.requests


def test_socks_without_its_library_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "find_spec", lambda _: None)
    target = Target(
        "https://x", "the kubeconfig x", TlsSettings(ROOT.pem), NoCredentials(), "socks5://a:hunter2@p"
    )
    with pytest.raises(EnvironmentLacking, match="pip install python-socks") as caught:
        Connection(target)
    assert SECRET not in str(caught.value)


def endless_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    for number in range(10_000):
        handler.send_header(f"X-{number}", "x")
    handler.end_headers()


def long_header(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("X", "x" * (1 << 20))
    handler.end_headers()


def long_status(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 " + b"x" * (1 << 20))


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x1b]0;ha\x07 hello\r\n")


def bad_length(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx")


def long_trailer(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"x" * (1 << 20))


def long_chunk_size(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * (1 << 20))


@pytest.mark.parametrize(
    "answer",
    [endless_headers, long_header, long_status, no_http, bad_length, long_trailer, long_chunk_size],
)
def test_answer_without_bounds_is_abandoned(answer: object) -> None:
    assert callable(answer)

    def then_end(handler: BaseHTTPRequestHandler) -> None:
        answer(handler)
        handler.close_connection = True

    with tls_server(signed_by(ROOT, "127.0.0.1"), answer=then_end) as api:
        refusal(f"https://127.0.0.1:{api.port}")


@pytest.mark.parametrize("code", [b"100 Continue", b"102 Processing", b"103 Early Hints", b"199 Later"])
def test_informational_answers_come_before_the_answer(code: bytes) -> None:
    """Go's net/http ignores all informational answers except 101."""

    def early(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write((b"HTTP/1.1 " + code + b"\r\nLink: </a>\r\n\r\n") * 3)
        welcome(handler)

    with tls_server(signed_by(ROOT, "127.0.0.1"), answer=early) as api:
        assert b"ok" == asked(f"https://127.0.0.1:{api.port}", times=2)
    assert 1 == api.connections


def test_informational_answers_without_an_end_are_abandoned() -> None:
    def early(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5000)
        handler.close_connection = True

    with tls_server(signed_by(ROOT, "127.0.0.1"), answer=early) as api:
        assert "more than 100 informational answers" in refusal(f"https://127.0.0.1:{api.port}")


def test_requests_share_one_connection() -> None:
    with tls_server(signed_by(ROOT, "127.0.0.1"), answer=welcome) as api:
        assert b"ok" == asked(f"https://127.0.0.1:{api.port}", times=3)
    assert 1 == api.connections
