"""Requests to a server without TLS, or with an address without a scheme: which of them carry credentials."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from credentialplugins import PluginProgram, make_pair
from kproxy.client.connection import connect
from kproxy.errors import ApiFailed
from kubeconfigs import CANARY, kubeconfig, packed, text
from stubapi import StubApi

PAIR = make_pair()
SECRET_PLACES: list[dict[str, Any]] = [
    {"token": CANARY},
    {"tokenFile": "token"},
    {"token": CANARY, "tokenFile": "token"},
    {"username": "me", "password": CANARY},
    {
        "client-certificate-data": packed(PAIR.certificate.encode()),
        "client-key-data": packed(PAIR.key.encode()),
    },
    {
        "exec": {
            "command": "./plugin",
            "apiVersion": "client.authentication.k8s.io/v1",
            "interactiveMode": "Never",
        }
    },
    {"token": CANARY, "as": "alice", "as-groups": ["system:masters"]},
]


class PlainServer(ThreadingHTTPServer):
    """Keeps the headers of each request, and refuses it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Refusing)
        self.seen: list[dict[str, str]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, PlainServer)
        self.server.seen.append(dict(self.headers.items()))
        self.send_error(401)

    def log_message(self, *_: object) -> None:
        """No log: the requests are in `seen`."""


@pytest.fixture
def plain() -> Iterator[PlainServer]:
    with PlainServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def api() -> Iterator[StubApi]:
    with StubApi() as stub:
        yield stub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(CANARY)
    PluginProgram(tmp_path).gives(token=CANARY)
    return tmp_path


def asked(path: Path | None, master: str = "") -> ApiFailed:
    connection = connect(path, master)
    try:
        with pytest.raises(ApiFailed) as failed:
            connection.get("/api/v1/services", {}, read_timeout_s=10)
    finally:
        connection.close()
    return failed.value


def written(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> Path:
    path = folder / "kubeconfig"
    path.write_bytes(text(kubeconfig(cluster, user)))
    return path


SCHEMES = ("http://", "", f"http://me:{CANARY}@")


@pytest.mark.parametrize(
    ("scheme", "user"),
    [
        pytest.param(scheme, user, id=f"{scheme.partition(':')[0]}-{'-'.join(user)}")
        for scheme in SCHEMES
        for user in SECRET_PLACES
        if scheme or "client-key-data" not in user  # makes the scheme https
    ],
)
def test_server_without_tls_gets_no_credentials(
    plain: PlainServer, folder: Path, user: dict[str, Any], scheme: str
) -> None:
    path = written(folder, {"server": f"{scheme}{plain.address}"}, user)
    refused = asked(path)
    assert 401 == refused.status
    assert [{"Host", "Accept", "Accept-Encoding", "User-Agent"}] == [
        set(headers) | {"Accept-Encoding"} for headers in plain.seen
    ]
    assert CANARY not in str(plain.seen)
    assert "(whose credentials are not sent without TLS)" in str(refused)
    assert 0 == PluginProgram(folder).runs


@pytest.mark.parametrize("user", SECRET_PLACES[:2], ids="-".join)
def test_master_without_tls_gets_no_credentials(
    plain: PlainServer, folder: Path, user: dict[str, Any]
) -> None:
    asked(written(folder, {}, user), f"http://{plain.address}")
    asked(None, f"http://me:{CANARY}@{plain.address}")
    assert 2 == len(plain.seen)
    assert not [headers for headers in plain.seen if "Authorization" in headers]


def test_address_without_a_scheme_beside_an_authority_gets_the_token_over_tls(
    api: StubApi, folder: Path
) -> None:
    cluster = {
        "server": api.url.removeprefix("https://"),
        "certificate-authority-data": packed(api.authority),
    }
    connection = connect(written(folder, cluster, {"token": api.token}))
    with connection.get("/api/v1/services", {}, read_timeout_s=10) as answer:
        assert b'"ServiceList"' in answer.body(1 << 20)
    connection.close()


@pytest.mark.parametrize(
    "cluster",
    [{"insecure-skip-tls-verify": True}, {"certificate-authority": "ca.crt"}],
    ids=["insecure", "file"],
)
def test_address_without_a_scheme_beside_tls_options_never_gets_the_token_in_plain_text(
    plain: PlainServer, api: StubApi, folder: Path, cluster: dict[str, Any]
) -> None:
    (folder / "ca.crt").write_bytes(api.authority)
    said = str(asked(written(folder, {"server": plain.address, **cluster}, {"token": CANARY})))
    assert f"https://{plain.address}: TLS fails" in said
    assert [] == plain.seen
