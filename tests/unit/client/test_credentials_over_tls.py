"""Kubeconfigs with a plugin, files or impersonation, and the requests that a real server then gets over TLS."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from authorities import Signed, authority, signed_by
from credentialplugins import PluginProgram, credential, in_seconds
from kproxy.client.connection import connect
from kproxy.client.credentials import exec_plugin
from kproxy.client.credentials.exec_config import V1
from kproxy.errors import ApiFailed, EnvironmentLacking
from stubapi import StubApi
from tlsservers import Seen, tls_server, welcome

PATH = "/api/v1/services"
TIMEOUT_S = 10.0
ROOT = authority()
SERVER = signed_by(ROOT, "127.0.0.1")


@pytest.fixture
def program(tmp_path: Path) -> PluginProgram:
    return PluginProgram(tmp_path)


@pytest.fixture
def api() -> Iterator[StubApi]:
    with StubApi() as stub:
        yield stub


def write(path: Path, server: str, authority_pem: bytes, user: dict[str, object], **cluster: object) -> Path:
    of_cluster = {"server": server, **cluster}
    if authority_pem:
        of_cluster["certificate-authority-data"] = base64.b64encode(authority_pem).decode()
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": of_cluster}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return path


def with_plugin(program: PluginProgram, server: str, authority_pem: bytes, **beside: object) -> Path:
    plugin = {"apiVersion": V1, "command": "./plugin", "interactiveMode": "Never"}
    return write(program.folder / "kubeconfig", server, authority_pem, {"exec": plugin, **beside})


def ask(kubeconfig: Path, times: int = 1) -> int:
    """The status of each of `count` requests over one connection, which must all be equal."""
    connection = connect(kubeconfig)
    statuses = {status_of(connection.get, PATH) for _ in range(times)}
    connection.close()
    [status] = statuses
    return status


def status_of(get: object, path: str) -> int:
    assert callable(get)
    try:
        with get(path, {}, read_timeout_s=TIMEOUT_S) as answer:
            answer.body(1 << 20)
    except ApiFailed as refused:
        return refused.status
    return 200


def url(seen: Seen) -> str:
    return f"https://127.0.0.1:{seen.port}"


def test_five_connections_over_many_reconnections_run_the_plugin_once(
    api: StubApi, program: PluginProgram
) -> None:
    program.gives(token=api.token, expirationTimestamp=in_seconds(90))
    kubeconfig = with_plugin(program, api.url, api.authority)
    statuses: list[int] = []

    def reconnect_again_and_again() -> None:
        statuses.extend(ask(kubeconfig, times=2) for _ in range(4))

    threads = [threading.Thread(target=reconnect_again_and_again) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [200] * 20 == statuses
    assert 1 == program.runs


def test_refused_token_is_renewed_once_for_the_next_request(api: StubApi, program: PluginProgram) -> None:
    program.gives(token=api.token)
    kubeconfig = with_plugin(program, api.url, api.authority)
    connection = connect(kubeconfig)
    assert 200 == status_of(connection.get, PATH)
    api.rotate_token()
    program.gives(token=api.token)
    assert [401, 200, 200] == [status_of(connection.get, PATH) for _ in range(3)]
    assert 200 == ask(kubeconfig)
    assert 2 == program.runs


def test_refused_event_renews_the_token(api: StubApi, program: PluginProgram) -> None:
    program.gives(token="stale")
    connection = connect(with_plugin(program, api.url, api.authority))
    with pytest.raises(ApiFailed):
        connection.post("/apis/events.k8s.io/v1/namespaces/default/events", b"{}", read_timeout_s=TIMEOUT_S)
    program.gives(token=api.token)
    connection.post("/apis/events.k8s.io/v1/namespaces/default/events", b"{}", read_timeout_s=TIMEOUT_S)
    connection.close()
    assert ([{}], 2) == (api.created, program.runs)


def test_expired_token_is_renewed_before_the_request(api: StubApi, program: PluginProgram) -> None:
    program.gives(token=api.token, expirationTimestamp=in_seconds(0.5))
    kubeconfig = with_plugin(program, api.url, api.authority)
    assert 200 == ask(kubeconfig, times=3)
    api.rotate_token()
    program.gives(token=api.token, expirationTimestamp=in_seconds(90))
    time.sleep(0.7)
    assert 200 == ask(kubeconfig, times=3)
    assert 2 == program.runs


@pytest.mark.parametrize(
    "script",
    [
        "echo no way >&2; exit 1",
        "echo garbage",
        "true",
        "sleep 60",
        f"echo '{credential({})}'",
        f"echo '{credential({'token': 'x'}, api_version='client.authentication.k8s.io/v1beta1')}'",
        f"echo '{credential({'token': 'x'})}'; exit 1",
        "exec cat /dev/zero",
    ],
)
def test_request_without_its_configured_credentials_is_not_sent(
    script: str, program: PluginProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_plugin, "_PATIENCE_S", 0.5)
    program.does(script)
    with tls_server(SERVER) as seen:
        for _ in range(2):
            connection = connect(with_plugin(program, url(seen), ROOT.pem))
            with pytest.raises(EnvironmentLacking, match="the credential plugin"):
                connection.get(PATH, {}, read_timeout_s=TIMEOUT_S)
            connection.close()
    assert ([], 0, 2) == (seen.requests, seen.connections, program.runs)


def test_missing_plugin_sends_nothing(program: PluginProgram) -> None:
    with tls_server(SERVER) as seen:
        connection = connect(with_plugin(program, url(seen), ROOT.pem))
        with pytest.raises(EnvironmentLacking, match="is not installed"):
            connection.get(PATH, {}, read_timeout_s=TIMEOUT_S)
        connection.close()
    assert ([], 0) == (seen.requests, seen.connections)


def gives_certificate(program: PluginProgram, client: Signed, **more: object) -> None:
    program.gives(clientCertificateData=client.pem.decode(), clientKeyData=client.key_pem.decode(), **more)


def test_certificate_of_a_plugin_proves_who_we_are_until_it_is_rotated(program: PluginProgram) -> None:
    answers = iter([200, 401, 200, 200])

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(next(answers))
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    gives_certificate(program, signed_by(ROOT, common_name="old"))
    with tls_server(SERVER, clients=ROOT.pem, answer=answer) as seen:
        connection = connect(with_plugin(program, url(seen), ROOT.pem))
        statuses = [status_of(connection.get, PATH)]
        gives_certificate(program, signed_by(ROOT, common_name="new"), token="both")
        statuses += [status_of(connection.get, PATH) for _ in range(3)]
        connection.close()
    assert [200, 401, 200, 200] == statuses
    assert (["old", "new"], 2) == (seen.client_names, program.runs)
    assert [None, None, "Bearer both", "Bearer both"] == [
        headers.get("Authorization") for _, headers in seen.requests
    ]


def test_plugin_is_not_run_for_a_server_without_tls(program: PluginProgram) -> None:
    program.gives(token="sesame")
    with tls_server(None) as seen:
        ask(with_plugin(program, f"http://127.0.0.1:{seen.port}", b""))
    assert 0 == program.runs
    assert "Authorization" not in seen.requests[0][1]


@pytest.mark.parametrize("beside", [{"token": "mine"}, {"username": "u", "password": "p"}])
def test_plugin_is_not_run_beside_other_credentials(
    beside: dict[str, object], program: PluginProgram
) -> None:
    program.gives(token="of the plugin")
    with tls_server(SERVER) as seen:
        ask(with_plugin(program, url(seen), ROOT.pem, **beside))
    assert 0 == program.runs
    assert seen.requests[0][1]["Authorization"] in ("Bearer mine", "Basic dTpw")


def test_plugin_gets_the_cluster_of_its_kubeconfig(program: PluginProgram) -> None:
    seen_file = program.folder / "seen"
    program.does(f"""printf %s "$KUBERNETES_EXEC_INFO" > {seen_file}; echo '{credential({"token": "t"})}'""")
    plugin = {"apiVersion": V1, "command": "./plugin", "interactiveMode": "Never", "provideClusterInfo": True}
    extensions = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}]
    with tls_server(SERVER) as seen:
        ask(write(program.folder / "k", url(seen), ROOT.pem, {"exec": plugin}, extensions=extensions))
    assert {
        "server": url(seen),
        "certificate-authority-data": base64.b64encode(ROOT.pem).decode(),
        "config": {"audience": "a"},
    } == json.loads(seen_file.read_text())["spec"]["cluster"]


def test_groups_and_extras_each_have_a_header(tmp_path: Path) -> None:
    got: list[tuple[str, str]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        got.extend((name, value) for name, value in handler.headers.items() if name.startswith("Impersonate"))
        welcome(handler)

    user: dict[str, object] = {
        "token": "t",
        "as": "José",
        "as-uid": "7",
        "as-groups": ["a", "b, c"],
        "as-user-extra": {"Scopes": ["x", "y"], "a/b": ["z"]},
    }
    with tls_server(SERVER, answer=answer) as seen:
        ask(write(tmp_path / "k", url(seen), ROOT.pem, user))
    assert [
        ("Impersonate-User", "José"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b, c"),
        ("Impersonate-Extra-Scopes", "x"),
        ("Impersonate-Extra-Scopes", "y"),
        ("Impersonate-Extra-a%2Fb", "z"),
    ] == [(name, value.encode("latin-1").decode()) for name, value in got]


def test_changed_token_file_is_used_at_once_and_a_removed_file_leaves_the_previous_token(
    api: StubApi, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(f"{api.token}\n")
    kubeconfig = write(tmp_path / "k", api.url, api.authority, {"tokenFile": "token", "token": "stale"})
    connection = connect(kubeconfig)
    assert 200 == status_of(connection.get, PATH)
    api.rotate_token()
    token.write_text(api.token)
    assert 200 == status_of(connection.get, PATH)
    token.unlink()
    assert (200, 200) == (status_of(connection.get, PATH), ask(kubeconfig))
    connection.close()


def test_rotated_certificate_files_are_used_once_they_fit(tmp_path: Path) -> None:
    old, new = signed_by(ROOT, common_name="old"), signed_by(ROOT, common_name="new")
    certificate, key = tmp_path / "c.crt", tmp_path / "c.key"
    certificate.write_bytes(old.pem)
    key.write_bytes(old.key_pem)
    user: dict[str, object] = {"client-certificate": "c.crt", "client-key": "c.key"}
    with tls_server(SERVER, clients=ROOT.pem) as seen:
        kubeconfig = write(tmp_path / "k", url(seen), ROOT.pem, user)
        ask(kubeconfig)
        certificate.write_bytes(new.pem)
        ask(kubeconfig)
        key.write_bytes(new.key_pem)
        ask(kubeconfig)
        key.unlink()
        ask(kubeconfig)
    assert ["old", "old", "new", "new"] == seen.client_names
