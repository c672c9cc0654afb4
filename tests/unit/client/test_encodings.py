"""Encodings and compression: the headers of requests and the bodies of answers, with a real server over TLS."""

import gzip
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler

import pytest

from authorities import authority, signed_by
from kproxy.client.accept import ACCEPT, accepted
from kproxy.client.answer import AnswerTooLarge
from kproxy.client.connection import Connection
from kproxy.client.credentials.tokens import NoCredentials
from kproxy.client.target import Target, TlsSettings
from kproxy.errors import ApiFailed
from kproxy.sources.kube import SERVICES
from kproxy.sources.listing import list_resource
from stubapi import manifests, protobuf
from tlsservers import Seen, tls_server

ROOT = authority("root")
SERVER = signed_by(ROOT, "127.0.0.1")
JSON, PROTOBUF = "application/json", "application/vnd.kubernetes.protobuf"
TIMEOUT_S = 10.0
WEB = protobuf.body(
    {
        "kind": "ServiceList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "7"},
        "items": [manifests.service("web")],
    }
)


def answering(body: bytes, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer each request with this body; the name of a header has `_` in place of `-`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@contextmanager
def connected(
    answer: Callable[[BaseHTTPRequestHandler], None], *, takes_compressed: bool = True, accept: str = ACCEPT
) -> Iterator[tuple[Connection, Seen]]:
    with tls_server(SERVER, answer=answer) as seen:
        target = Target(
            f"https://127.0.0.1:{seen.port}", "the settings", TlsSettings(ROOT.pem), NoCredentials()
        )
        connection = Connection(replace(target, takes_compressed=takes_compressed), accept=accept)
        try:
            yield connection, seen
        finally:
            connection.close()


def listed(connection: Connection) -> list[str]:
    get = partial(connection.get, SERVICES.path, read_timeout_s=TIMEOUT_S)
    return [thing.key.name for thing in list_resource(get, SERVICES, 500)[0].objects]


def sent(connection: Connection, seen: Seen, **query: str) -> dict[str, str]:
    with connection.get(SERVICES.path, query, read_timeout_s=TIMEOUT_S):
        return seen.requests[-1][1]


def test_list_asks_for_protobuf_and_gzip() -> None:
    with connected(answering(WEB, Content_Type=PROTOBUF)) as (connection, seen):
        headers = sent(connection, seen)
    assert (f"{PROTOBUF}, */*", "gzip") == (headers["Accept"], headers["Accept-Encoding"])


def test_watch_asks_for_no_compression() -> None:
    with connected(answering(b"", Content_Type=PROTOBUF)) as (connection, seen):
        assert "identity" == sent(connection, seen, watch="true")["Accept-Encoding"]


def test_list_asks_for_no_compression_if_the_kubeconfig_disables_it() -> None:
    with connected(answering(WEB, Content_Type=PROTOBUF), takes_compressed=False) as (connection, seen):
        assert "identity" == sent(connection, seen)["Accept-Encoding"]


def test_configured_types_are_asked_for() -> None:
    with connected(answering(b"{}"), accept=accepted(PROTOBUF, f"{JSON};q=0.5")) as (connection, seen):
        assert f"{JSON};q=0.5" == sent(connection, seen)["Accept"]


def test_event_is_posted_in_json_whatever_the_accepted_types() -> None:
    bodies: list[bytes] = []

    def take(handler: BaseHTTPRequestHandler) -> None:
        bodies.append(handler.rfile.read(int(handler.headers["Content-Length"])))
        answering(b"{}", 201)(handler)

    with connected(take) as (connection, seen):
        connection.post("/apis/events.k8s.io/v1/namespaces/default/events", b"{}", read_timeout_s=TIMEOUT_S)
    headers = seen.requests[-1][1]
    assert ([b"{}"], JSON) == (bodies, headers["Content-Type"])
    assert "gzip" not in headers.get("Accept-Encoding", "")


@pytest.mark.parametrize("content_type", [PROTOBUF, "Application/Vnd.Kubernetes.Protobuf; charset=utf-8"])
@pytest.mark.parametrize(("body", "encoding"), [(WEB, "identity"), (gzip.compress(WEB), "gzip")])
def test_list_in_protobuf_is_read_plain_and_compressed(content_type: str, body: bytes, encoding: str) -> None:
    with connected(answering(body, Content_Type=content_type, Content_Encoding=encoding)) as (connection, _):
        assert ["web"] == listed(connection)


def test_list_in_json_is_read_though_protobuf_was_asked_for() -> None:
    body = b'{"metadata":{"resourceVersion":"7"},"items":[]}'
    with connected(answering(body, Content_Type="application/json;charset=utf-8")) as (connection, _):
        assert [] == listed(connection)


def test_page_of_a_proxy_is_refused_by_its_type() -> None:
    with (
        connected(answering(b"<html>sign in</html>", Content_Type="text/html; charset=utf-8")) as (
            connection,
            _,
        ),
        pytest.raises(
            ApiFailed, match=r"'text/html' is not one of application/json.*; check the proxies between us"
        ),
    ):
        listed(connection)


def test_type_with_control_characters_is_escaped() -> None:
    with (
        connected(answering(b"x", Content_Type="a/\x1b[31mb")) as (connection, _),
        pytest.raises(ApiFailed) as refused,
    ):
        listed(connection)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (gzip.compress(WEB)[:-4], "gzip", "its gzip ends in the middle"),
        (WEB, "gzip", "it is no gzip"),
        (gzip.compress(WEB), "deflate", "compressed by 'deflate', and we did not ask for that"),
        (gzip.compress(WEB), "br", "compressed by 'br', and we did not ask for that"),
    ],
)
def test_body_that_cannot_be_unpacked_is_refused_with_the_reason(
    body: bytes, encoding: str, reason: str
) -> None:
    with (
        connected(answering(body, Content_Type=PROTOBUF, Content_Encoding=encoding)) as (connection, _),
        pytest.raises(ApiFailed, match=rf"the answer cannot be unpacked: .*{reason}"),
    ):
        listed(connection)


def test_body_that_unpacks_without_end_is_abandoned_before_it_costs_memory() -> None:
    bomb = gzip.compress(b"\0" * (512 << 20), 1)
    with connected(answering(bomb, Content_Type=PROTOBUF, Content_Encoding="gzip")) as (connection, _):
        tracemalloc.start()
        try:
            with (
                connection.get(SERVICES.path, {}, read_timeout_s=TIMEOUT_S) as answer,
                pytest.raises(AnswerTooLarge, match="larger than 8 MB"),
            ):
                answer.body(8 << 20)
            assert 24 << 20 > tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(("told", "wish"), [(3, 3), (0, 0), (-3, 0), (-(1 << 31), 0)])
def test_refusal_in_protobuf_is_reported_with_its_message(told: int, wish: int) -> None:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "message": "too many",
        "reason": "TooManyRequests",
        "code": 429,
    }
    body = protobuf.body({**status, "details": {"retryAfterSeconds": told}})
    with (
        connected(answering(body, 429, Content_Type=PROTOBUF)) as (connection, _),
        pytest.raises(ApiFailed, match=r"answers 429 to list services: .*\(too many\)") as refused,
    ):
        listed(connection)
    assert (429, wish) == (refused.value.status, refused.value.retry_after_s)


def test_refusal_that_unpacks_without_end_costs_no_memory() -> None:
    bomb = gzip.compress(b"\0" * (256 << 20), 1)
    answer = answering(bomb, 503, Content_Type=PROTOBUF, Content_Encoding="gzip")
    with connected(answer) as (connection, _):
        tracemalloc.start()
        try:
            with pytest.raises(ApiFailed, match="answers 503"):
                listed(connection)
            assert 16 << 20 > tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
