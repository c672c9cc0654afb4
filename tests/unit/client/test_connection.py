"""The ways to a cluster, and the messages if there is none."""

import io
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from kubernetes.config import incluster_config

from kproxy.client.connection import Connection, connect
from kproxy.client.failures import Peer, broken_transport, refused_answer
from kproxy.errors import ApiFailed, EnvironmentLacking, InputError
from stubapi import StubApi
from stubapi.certificates import server_context

PATH = "/api/v1/services"
TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def api() -> Iterator[StubApi]:
    with StubApi() as stub:
        yield stub


@pytest.fixture
def kubeconfig(api: StubApi, tmp_path: Path) -> Path:
    return api.write_kubeconfig(tmp_path / "kubeconfig")


@pytest.fixture
def no_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def failure(connection: Connection, path: str = PATH, **query: str) -> ApiFailed:
    with pytest.raises(ApiFailed) as caught:
        connection.get(path, query, read_timeout_s=TIMEOUT_S)
    connection.close()
    return caught.value


def listed(connection: Connection) -> bool:
    with connection.get(PATH, {}, read_timeout_s=TIMEOUT_S) as answer:
        found = b'"ServiceList"' in answer.body(1 << 20)
    connection.close()
    return found


def test_kubeconfig_leads_to_its_server(kubeconfig: Path) -> None:
    assert listed(connect(kubeconfig))


def test_token_with_a_newline_at_its_end_is_accepted(api: StubApi, tmp_path: Path) -> None:
    assert listed(connect(api.write_kubeconfig(tmp_path / "kubeconfig", token=f"{api.token}\n")))


def test_master_overrides_the_server_of_the_kubeconfig(kubeconfig: Path) -> None:
    connection = connect(kubeconfig, "https://127.0.0.1:1/")
    assert "https://127.0.0.1:1" == connection.peer.server
    assert "https://127.0.0.1:1 cannot be reached (Connection refused)" in str(failure(connection))


def test_service_account_of_a_pod_is_used_without_a_kubeconfig(
    api: StubApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text(api.token)
    authority.write_bytes(api.authority)
    host, port = api.url.removeprefix("https://").split(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
    assert listed(connect())


def test_pod_without_a_token_is_told_to_mount_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "missing"))
    with pytest.raises(EnvironmentLacking, match="automountServiceAccountToken"):
        connect()


@pytest.mark.usefixtures("no_pod")
def test_neither_pod_nor_kubeconfig_asks_for_a_kubeconfig() -> None:
    with pytest.raises(EnvironmentLacking, match="name a kubeconfig with --kubeconfig"):
        connect()


def test_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path}/missing does not exist"):
        connect(tmp_path / "missing")


@pytest.mark.parametrize("text", ["", "- a\n", "a: [", "current-context: none\n", "\0", "clusters: 7\n"])
def test_malformed_kubeconfig_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(InputError, match=f"{path} cannot be used"):
        connect(path)


def test_certificate_of_another_authority_is_reported(api: StubApi, tmp_path: Path) -> None:
    _, authority = server_context("127.0.0.1")
    path = api.write_kubeconfig(tmp_path / "kubeconfig", authority=authority)
    said = str(failure(connect(path)))
    assert f"{api.url}: we do not trust its certificate; correct the address or the authority in" in said
    assert str(path) in said


class WithoutTls(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(1)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def test_server_without_tls_is_reported(kubeconfig: Path) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), WithoutTls) as plain:
        plain.timeout = TIMEOUT_S
        thread = threading.Thread(target=plain.handle_request)
        thread.start()
        said = str(failure(connect(kubeconfig, f"https://127.0.0.1:{plain.server_address[1]}")))
        thread.join()
    assert (
        "TLS fails, because the server answers without TLS; correct the port of the address in the kubeconfig"
        in said
    )


def test_wrong_token_is_reported(api: StubApi, tmp_path: Path) -> None:
    path = api.write_kubeconfig(tmp_path / "kubeconfig", token="stale")
    refused = failure(connect(path))
    assert 401 == refused.status
    assert f"renew the token or client certificate of the kubeconfig {path}" in str(refused)


def test_forbidden_watch_names_verb_resource_and_role(api: StubApi, kubeconfig: Path) -> None:
    api.fail_next(1, 403)
    refused = failure(connect(kubeconfig), "/apis/discovery.k8s.io/v1/endpointslices", watch="true")
    assert 403 == refused.status
    assert "we may not watch endpointslices; bind our user" in str(refused)
    assert "ClusterRole system:node-proxier" in str(refused)


def test_resource_that_is_not_served_is_reported(kubeconfig: Path) -> None:
    refused = failure(connect(kubeconfig), "/apis/discovery.k8s.io/v9/endpointslices")
    assert 404 == refused.status
    assert "it serves no endpointslices" in str(refused)


@pytest.mark.parametrize(
    ("wish", "now", "seconds"),
    [
        ("7", "", 7),
        ("0", "", 0),
        ("-7", "", 0),
        ("7.5", "", 0),
        ("9" * 400, "", 0),
        ("Fri, 27 Nov 2026 14:00:30 GMT", "Fri, 27 Nov 2026 14:00:00 GMT", 30),
        ("Fri, 27 Nov 2026 14:00:30 GMT", "Fri, 27 Nov 2026 15:00:00 GMT", 0),
        ("Fri, 27 Nov 2026 14:00:30 GMT", "", 0),
        ("Fri, 27 Nov 2026 14:00:30 -0000", "Fri, 27 Nov 2026 14:00:00 GMT", 0),
        ("soon", "Fri, 27 Nov 2026 14:00:00 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_servers_clock(wish: str, now: str, seconds: int) -> None:
    response = urllib3.HTTPResponse(
        body=io.BytesIO(b"{}"), headers={"Retry-After": wish, "Date": now}, status=503, preload_content=False
    )
    failed = refused_answer(Peer("https://192.0.2.1", "x"), "list", "services", response)
    assert seconds == failed.retry_after_s


def test_retry_after_is_read(api: StubApi, kubeconfig: Path) -> None:
    api.fail_next(1, 429, retry_after=7)
    assert 7 == failure(connect(kubeconfig)).retry_after_s


def test_message_of_a_failed_transport_has_no_user_and_password() -> None:
    error = OSError("no route to https://alice:sesame@gateway.example:3128 here")
    said = str(broken_transport(Peer("https://c.example", "the kubeconfig k"), error))
    assert "no route to https://gateway.example:3128 here" in said
    assert "sesame" not in said


def test_password_that_a_server_repeats_is_masked() -> None:
    peer = Peer("https://c.example", "the kubeconfig k", secrets=frozenset({"sesame", "sesame-open"}))
    body = b'{"kind": "Status", "message": "token sesame-open is not sesame"}'
    response = urllib3.HTTPResponse(io.BytesIO(body), status=401, preload_content=False)
    said = str(refused_answer(peer, "list", "services", response))
    assert "token *** is not ***" in said
