"""A real agent behind servers and proxies that hold it up: it ends when asked, and reaches its server when it can."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import yaml

from authorities import Signed, authority, signed_by
from namespaces import fresh_namespace, inside
from realproxies import http, proxy, socks
from running import NODE, eventually, running_agent
from stubapi import StubApi
from stubapi.manifests import endpoint_slice, service
from tlsservers import tls_server

pytestmark = pytest.mark.netns

NAME = "kubernetes.test"
"""Nobody can resolve it but a proxy."""
ENDS_WITHIN_S = 3.0
SETTLES_S = 0.3
BOUND_S = 20.0
ROOT = authority("root")
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with fresh_namespace() as name, inside(name):
        yield


def kubeconfig(directory: Path, server: str, **cluster: str) -> Path:
    path = directory / "kubeconfig"
    (directory / "ca.crt").write_bytes(ROOT.pem)
    settings = {"server": server, "certificate-authority": "ca.crt", **cluster}
    entry = {"cluster": "one", "user": "one"}
    path.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "one", "cluster": settings}],
                "users": [{"name": "one", "user": {"token": SECRET}}],
                "contexts": [{"name": "one", "context": entry}],
                "current-context": "one",
            }
        )
    )
    return path


def assert_ends(agent: subprocess.Popen[bytes], log: Path) -> None:
    asked_at = time.monotonic()
    agent.send_signal(signal.SIGTERM)
    try:
        code = agent.wait(BOUND_S)
    except subprocess.TimeoutExpired:
        pytest.fail(f"it goes on after SIGTERM:\n{log.read_text()}")
    took_s = time.monotonic() - asked_at
    said = log.read_text()
    assert ENDS_WITHIN_S > took_s, said
    assert 0 == code, said
    assert SECRET not in said
    assert "Traceback" not in said


@contextmanager
def holding(serve: Callable[[socket.socket], None]) -> Iterator[tuple[int, threading.Event]]:
    """A port whose connections `serve` holds up, and an event that tells of the first."""
    arrived = threading.Event()

    def hold(connection: socket.socket) -> None:
        arrived.set()
        with suppress(OSError), connection:
            serve(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=hold, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], arrived
        listener.shutdown(socket.SHUT_RDWR)


def mute(connection: socket.socket) -> None:
    while connection.recv(1 << 16):
        pass


def drips(head: bytes, drop: bytes, pause_s: float = 0.05) -> Callable[[socket.socket], None]:
    """A server that never comes to an end, once TLS stands."""
    context = signed_by(ROOT, "127.0.0.1").server_context()

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as safe:
            safe.recv(1 << 16)
            safe.sendall(head)
            while True:
                safe.sendall(drop)
                time.sleep(pause_s)

    return serve


def drips_in_the_handshake(connection: socket.socket) -> None:
    """The head of a TLS record of 16 kB, and then a byte now and then."""
    connection.recv(1 << 16)
    connection.sendall(b"\x16\x03\x03\x3f\xff")
    while True:
        connection.sendall(b"\x02")
        time.sleep(0.05)


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "serve",
    [
        pytest.param(mute, id="silent in the handshake"),
        pytest.param(drips_in_the_handshake, id="dripping in the handshake"),
        pytest.param(drips(b"", b""), id="silent before the answer"),
        pytest.param(drips(b"HTTP/1.1 200 OK\r\nX: ", b"x"), id="dripping in a header"),
        pytest.param(drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0), id="always about to begin"),
        pytest.param(drips(CHUNKED, b"1\r\n \r\n"), id="dripping in the body"),
        pytest.param(drips(CHUNKED + b"0\r\n", b"X: y\r\n", 0), id="trailers without an end"),
        pytest.param(drips(b"HTTP/1.1 403 Forbidden\r\n\r\n", b"x"), id="dripping in a refusal"),
    ],
)
def test_server_that_holds_an_agent_up_does_not_keep_it_from_ending(
    serve: Callable[[socket.socket], None], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with holding(serve) as (port, arrived):
        path = kubeconfig(tmp_path, f"https://127.0.0.1:{port}")
        with running_agent("--kubeconfig", str(path), log=log) as agent:
            assert arrived.wait(BOUND_S), log.read_text()
            time.sleep(SETTLES_S)
            assert_ends(agent, log)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
def test_silent_proxy_does_not_keep_an_agent_from_ending(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    with holding(mute) as (port, arrived):
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://alice:{SECRET}@127.0.0.1:{port}")
        path = kubeconfig(tmp_path, f"https://{NAME}:6443")
        with running_agent("--kubeconfig", str(path), log=log) as agent:
            assert arrived.wait(BOUND_S), log.read_text()
            time.sleep(SETTLES_S)
            assert_ends(agent, log)


def test_address_that_swallows_packets_does_not_keep_an_agent_from_ending(tmp_path: Path) -> None:
    log = tmp_path / "log"
    swallow_all()
    path = kubeconfig(tmp_path, "https://192.0.2.1:6443")
    with running_agent("--kubeconfig", str(path), log=log) as agent:
        eventually(lambda: is_trying("192.0.2.1:6443"), "it tries to connect", log)
        assert_ends(agent, log)


def test_silent_name_server_does_not_keep_an_agent_from_ending(tmp_path: Path) -> None:
    log, resolv = tmp_path / "log", tmp_path / "resolv.conf"
    swallow_all()
    resolv.write_text("nameserver 192.0.2.53\noptions timeout:20 attempts:5\n")
    mounting = f'mount --bind {resolv} /etc/resolv.conf && exec "$@"'
    path = kubeconfig(tmp_path, "https://api.example:6443")
    before = ("unshare", "--mount", "sh", "-c", mounting, "sh")
    with running_agent("--kubeconfig", str(path), log=log, before=before) as agent:
        eventually(lambda: is_trying("192.0.2.53:53", "-u"), "it asks for the name", log)
        assert_ends(agent, log)


def swallow_all() -> None:
    """Packets that leave this namespace go to a device that nobody listens on."""
    for command in (
        "ip link add hole type veth peer name void",
        "ip addr add 192.0.2.99/24 dev hole",
        "ip link set hole up",
        "ip link set void up",
        "ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev hole",
        "ip neigh add 192.0.2.53 lladdr 02:00:00:00:00:02 dev hole",
    ):
        subprocess.run(command.split(), check=True)


def is_trying(peer: str, protocol: str = "-t") -> bool:
    listed = subprocess.run(["ss", "-Han", protocol], capture_output=True, text=True, check=True)
    return peer in listed.stdout


@pytest.mark.parametrize(
    ("scheme", "serve", "tls"),
    [
        ("http", http(f"alice:{SECRET}"), None),
        ("https", http(f"alice:{SECRET}"), signed_by(ROOT, "127.0.0.1")),
        ("socks5", socks(f"alice:{SECRET}"), None),
    ],
)
def test_agent_programs_what_it_hears_through_a_proxy(
    scheme: str,
    serve: Callable[..., None],
    tls: Signed | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = tmp_path / "log"
    with StubApi() as api, proxy(serve, tls.server_context() if tls else None) as proxied:
        api.put("Service", service("web"))
        api.put("EndpointSlice", endpoint_slice("web-a", "web", "10.128.1.5"))
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://alice:{SECRET}@127.0.0.1:{proxied.port}")
        path = api.write_kubeconfig(tmp_path / "kubeconfig", authority=api.authority + ROOT.pem)
        edit_cluster(path, server=f"https://{NAME}:{api.address[1]}", **{"tls-server-name": "127.0.0.1"})
        with running_agent("--kubeconfig", str(path), log=log) as agent:
            eventually(lambda: "10.128.1.5" in saved(), "rules stand", log)
            assert_ends(agent, log)
        assert {f"{NAME}:{api.address[1]}"} == {each.removeprefix("CONNECT ") for each in proxied.asked}


def edit_cluster(path: Path, **changed: str) -> None:
    settings = yaml.safe_load(path.read_text())
    settings["clusters"][0]["cluster"].update(changed)
    path.write_text(yaml.safe_dump(settings))


def saved() -> str:
    return subprocess.run(["iptables-nft-save"], capture_output=True, text=True, check=False).stdout


READ_ONLY = """
while read -r _ at _; do mount -o remount,bind,ro "$at" 2>/dev/null; done </proc/self/mounts
touch "$TMPDIR/x" /dev/shm/x 2>/dev/null && exit 9
exec "$@"
"""
"""Runs a program in a mount namespace in which nothing can be written."""


@pytest.mark.parametrize("field", ["", "certificate-authority"])
def test_agent_that_waits_for_a_file_ends(field: str, tmp_path: Path) -> None:
    log, pipe = tmp_path / "log", tmp_path / "pipe"
    os.mkfifo(pipe)
    path = kubeconfig(tmp_path, "https://127.0.0.1:1", **{field: str(pipe)}) if field else pipe
    with running_agent("--kubeconfig", str(path), log=log) as agent:
        eventually(lambda: "rules by iptables" in log.read_text(), "it has begun", log)
        time.sleep(SETTLES_S)
        assert_ends(agent, log)


def test_client_key_needs_no_place_to_be_written(tmp_path: Path) -> None:
    client = signed_by(ROOT, common_name="system:node:node-1")

    def list_nothing(handler: BaseHTTPRequestHandler) -> None:
        body = b'{"metadata":{"resourceVersion":"1"},"items":[]}'
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with tls_server(signed_by(ROOT, "127.0.0.1"), clients=ROOT.pem, answer=list_nothing) as seen:
        path = kubeconfig(tmp_path, f"https://127.0.0.1:{seen.port}")
        settings = yaml.safe_load(path.read_text())
        settings["users"][0]["user"] = {
            "client-certificate-data": b64encode(client.chain).decode(),
            "client-key-data": b64encode(client.key_pem).decode(),
        }
        path.write_text(yaml.safe_dump(settings))
        render = [sys.executable, "-m", "kproxy", "render", "--from-cluster", "--kubeconfig", str(path)]
        ended = subprocess.run(
            ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", *render, "--node", NODE],
            capture_output=True,
            env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            timeout=60,
            check=False,
        )
    assert b"*nat" in ended.stdout, ended.stderr
    assert {"system:node:node-1"} == set(seen.client_names)


def test_killed_agent_leaves_no_key_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, scratch = tmp_path / "log", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    with StubApi() as api:
        api.put("Service", service("web"))
        path = api.write_kubeconfig(tmp_path / "kubeconfig")
        settings = yaml.safe_load(path.read_text())
        client = signed_by(ROOT)
        settings["users"][0]["user"] |= {
            "client-certificate-data": b64encode(client.chain).decode(),
            "client-key-data": b64encode(client.key_pem).decode(),
        }
        path.write_text(yaml.safe_dump(settings))
        with running_agent("--kubeconfig", str(path), log=log) as agent:
            eventually(lambda: "KUBE-SERVICES" in saved(), "rules stand", log)
            agent.kill()
            agent.wait(BOUND_S)
    assert [] == list(scratch.rglob("*"))
    left = [each for each in tmp_path.rglob("*") if each.is_file() and each != path]
    assert left
    assert [] == [each for each in left if b"PRIVATE KEY" in each.read_bytes()]
