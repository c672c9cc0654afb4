"""Mistakes that people make with a server's address, certificate and credentials, and the sentence for each mistake."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread

import pytest

from authorities import authority, signed_by
from kproxy.client.connection import Connection, connect
from kproxy.client.credentials.tokens import NoCredentials
from kproxy.client.target import ClientCertificate, Target, TlsSettings
from kproxy.errors import ApiFailed, InputError
from kubeconfigs import kubeconfig, text
from tlsservers import tls_server

TIMEOUT_S = 10.0
ROOT = authority()
TLS = TlsSettings(ROOT.pem)


class Certified(NoCredentials):
    """A client certificate and no other credentials."""

    def __init__(self, days: int) -> None:
        self._signed = signed_by(ROOT, days=days)

    def certificate(self) -> ClientCertificate:
        return ClientCertificate(self._signed.pem, self._signed.key_pem)


def failed(connection: Connection) -> str:
    with pytest.raises(ApiFailed) as caught:
        connection.get("/api/v1/services", {}, read_timeout_s=TIMEOUT_S)
    connection.close()
    said = str(caught.value)
    assert not [jargon for jargon in ("Errno", "_ssl.c", "[SSL", "HTTPSConnection") if jargon in said]
    return said


def said(server: str, tls: TlsSettings | None = TLS, credentials: NoCredentials | None = None) -> str:
    return failed(Connection(Target(server, "the settings", tls, credentials or NoCredentials())))


@contextmanager
def raw_server(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """The port of a server that accepts one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def once() -> None:
            connection, _ = server.accept()
            with connection:
                serve(connection)

        thread = Thread(target=once)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(TIMEOUT_S)


def hangs_up(connection: socket.socket) -> None:
    connection.recv(1 << 16)


def answers_as_go_does_without_tls(connection: socket.socket) -> None:
    connection.recv(1 << 16)
    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")


def greets_as_ssh_does(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    connection.recv(1 << 16)


def refusing(status: int) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def test_missing_server_is_reported_without_error_numbers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "cannot be reached (Connection refused); check that an API server runs there" in said(
        f"https://127.0.0.1:{port}"
    )


def test_expired_certificate_has_renewal_and_clock_as_advice() -> None:
    with tls_server(signed_by(ROOT, "127.0.0.1", days=-1)) as seen:
        sentence = said(f"https://127.0.0.1:{seen.port}")
    assert sentence.endswith(
        "we do not trust its certificate; renew it on the server, or set this machine's clock "
        "(certificate has expired)"
    )


def test_certificate_of_tomorrow_has_the_clock_as_advice() -> None:
    with tls_server(signed_by(ROOT, "127.0.0.1", days=5, begins_in_days=2)) as seen:
        sentence = said(f"https://127.0.0.1:{seen.port}")
    assert sentence.endswith(
        "set this machine's clock, or renew the server's certificate (certificate is not yet valid)"
    )


@pytest.mark.parametrize("name", ["", "kubernetes"])
def test_certificate_without_our_name_has_address_and_name_as_advice(name: str) -> None:
    with tls_server(signed_by(ROOT, "10.96.0.1")) as seen:
        sentence = said(f"https://127.0.0.1:{seen.port}", TlsSettings(ROOT.pem, server_name=name))
    assert (
        "correct the address in the settings, or write a name that the certificate has into its tls-server-name"
        in sentence
    )
    assert f"certificate is not valid for '{name or '127.0.0.1'}'" in sentence


def test_server_that_needs_a_client_certificate_is_reported() -> None:
    with tls_server(signed_by(ROOT, "127.0.0.1"), clients=ROOT.pem) as seen:
        sentence = said(f"https://127.0.0.1:{seen.port}")
    assert "it needs a client certificate; name one for the user of the settings" in sentence


def test_expired_client_certificate_has_renewal_as_advice() -> None:
    with tls_server(signed_by(ROOT, "127.0.0.1"), clients=ROOT.pem) as seen:
        sentence = said(f"https://127.0.0.1:{seen.port}", TLS, Certified(-1))
    assert sentence.endswith(
        "it does not accept our client certificate; renew the one in the settings (certificate expired)"
    )


def test_server_without_tls_at_the_port_has_the_port_as_advice() -> None:
    with raw_server(greets_as_ssh_does) as port:
        sentence = said(f"https://127.0.0.1:{port}")
    assert (
        "TLS fails, because the server answers without TLS; correct the port of the address in the settings"
        in sentence
    )


def test_server_that_hangs_up_during_tls_is_reported() -> None:
    with raw_server(hangs_up) as port:
        sentence = said(f"https://127.0.0.1:{port}")
    assert (
        "TLS fails, because the server hangs up; check that an API server listens at the address in"
        in sentence
    )


@pytest.mark.parametrize("serve", [answers_as_go_does_without_tls, hangs_up, greets_as_ssh_does])
def test_server_that_may_need_tls_has_https_as_advice(
    serve: Callable[[socket.socket], object],
) -> None:
    with raw_server(serve) as port:
        sentence = said(f"http://127.0.0.1:{port}", None)
    assert "if it speaks TLS, write https:// into the server's address in the settings" in sentence


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "does not answer in HTTP (SSH-2.0-OpenSSH_9.2p1)"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "closed the connection in the middle of an answer",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{",
            "closed the connection in the middle of an answer",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
            "closed the connection in the middle of an answer",
        ),
    ],
    ids=["nothing", "ssh", "no-chunk", "in-a-chunk", "in-the-body"],
)
def test_connection_that_breaks_off_is_reported_without_words_of_a_parser(answer: bytes, words: str) -> None:
    def answers(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(answer)

    with raw_server(answers) as port:
        connection = Connection(Target(f"http://127.0.0.1:{port}", "the settings", None, NoCredentials()))
        with pytest.raises(ApiFailed) as caught:
            connection.get("/api/v1/services", {}, read_timeout_s=TIMEOUT_S).body(1 << 20)
        connection.close()
    assert f"http://127.0.0.1:{port} {words}" == str(caught.value).partition(";")[0]


@pytest.mark.parametrize("status", [401, 403])
def test_refusal_of_a_request_without_credentials_has_credentials_as_advice(status: int) -> None:
    with tls_server(signed_by(ROOT, "127.0.0.1"), answer=refusing(status)) as seen:
        sentence = said(f"https://127.0.0.1:{seen.port}")
    assert "it does not know who asks, since the settings has no credentials" in sentence
    assert "system:node-proxier" not in sentence


def test_refusal_of_a_request_with_a_certificate_has_rights_as_advice() -> None:
    with tls_server(signed_by(ROOT, "127.0.0.1"), clients=ROOT.pem, answer=refusing(403)) as seen:
        sentence = said(f"https://127.0.0.1:{seen.port}", TLS, Certified(1))
    assert "ClusterRole system:node-proxier" in sentence


def test_refusal_without_tls_says_that_credentials_need_it() -> None:
    with tls_server(None, answer=refusing(403)) as seen:
        sentence = said(f"http://127.0.0.1:{seen.port}", None)
    assert "since credentials are sent with TLS alone; write https:// into the server's address" in sentence


@pytest.mark.parametrize(
    ("cluster", "user", "told"),
    [
        (
            {},
            {"tokne": "x"},
            "users[0] 'admin': tokne: there is no such field, so it is ignored; did you mean token?",
        ),
        (
            {},
            {"Token": "x"},
            "users[0] 'admin': Token: there is no such field, so it is ignored; did you mean token?",
        ),
        ({}, {"client_certificate_data": "x"}, "did you mean client-certificate-data?"),
        ({"certificate-authority_data": "x"}, None, "did you mean certificate-authority-data?"),
        ({"insecureSkipTLSVerify": True}, None, "did you mean insecure-skip-tls-verify?"),
        ({"proxy_url": "x"}, None, "clusters[0] 'home': proxy_url: "),
        ({}, {"exec": {"command": "x", "apiversion": "x"}}, "exec.apiversion: "),
    ],
)
def test_misspelled_field_is_reported_with_the_field_that_is_meant(
    cluster: dict[str, object],
    user: dict[str, object] | None,
    told: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(text(kubeconfig(cluster, user)))
    for _ in range(2):
        with suppress(InputError):
            connect(path).close()
    assert 1 == len(caplog.messages)
    assert str(path) in caplog.text
    assert told in caplog.text


def test_field_unlike_all_known_fields_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(text(kubeconfig({"x-vendor": 1, "color": "red"}, None, rancher="x")))
    connect(path).close()
    assert [] == caplog.messages
