"""A real agent whose configuration holds secrets, and a server that says what nobody should print.

All that the agent prints, serves and posts is searched for the secrets, and its log for lines that are not its own.
"""

import base64
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from kproxy import process
from namespaces import fresh_namespace, inside
from running import NODE, eventually, running_agent
from stubapi.certificates import server_context
from stubapi.manifests import endpoint_slice, node, service

pytestmark = pytest.mark.netns

CANARY = "canary-4fd1c2"
ENCODED = base64.b64encode(f"proxy:{CANARY}".encode()).decode()
HERE = "10.199.0.2"
"""An address that a proxy of the environment is asked for, unlike loopback."""

FORGED = "2026-11-27 12:00:00,000 ERROR kproxy.agent.loop: forged"
HOSTILE = f"7\n{FORGED}\r{FORGED}\u2028{FORGED}\x1b[2J\x9b2J\x00"
OWN_LINE = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ [A-Z]+ [\w.]+: .*|kproxy: .*|    .*")
PAGES = {
    10249: ("metrics", "configz", "flagz", "statusz", "healthz", "proxyMode", "debug/quarantine"),
    10256: ("healthz", "livez", "readyz"),
}


class Server(ThreadingHTTPServer):
    """A TLS API server at an address of this namespace; `answer` says what it answers to a GET."""

    daemon_threads = True

    def __init__(self, answer: Callable[["Handler"], None]) -> None:
        context, self.authority = server_context(HERE)
        self.answer = answer
        self.posted: list[bytes] = []
        self.asked = 0
        super().__init__((HERE, 0), Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_: object) -> None:
        """A client that left is no error."""

    @property
    def address(self) -> str:
        return f"{HERE}:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    kinds: ClassVar[dict[str, tuple[str, list[dict[str, Any]]]]] = {
        "services": ("Service", [service("web")]),
        "endpointslices": ("EndpointSlice", [endpoint_slice("web-a", "web", "10.128.1.5")]),
        "nodes": ("Node", [node(NODE)]),
    }

    def do_GET(self) -> None:
        self.server.asked += 1
        self.server.answer(self)

    def do_POST(self) -> None:
        self.server.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.say(201, self.server.posted[-1])

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def say(self, status: int, body: bytes, reason: str | None = None) -> None:
        self.send_response(status, reason)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def say_list(self, resource_version: str, *more_services: dict[str, Any]) -> None:
        kind, items = self.kinds[self.path.partition("?")[0].rpartition("/")[2]]
        group = "discovery.k8s.io/v1" if kind == "EndpointSlice" else "v1"
        metadata = {"resourceVersion": resource_version}
        items = [*items, *(more_services if kind == "Service" else ())]
        body = {"kind": f"{kind}List", "apiVersion": group, "metadata": metadata, "items": items}
        self.say(200, json.dumps(body).encode())

    def say_status(self, status: int, message: str) -> None:
        refused = {"kind": "Status", "message": message, "reason": message, "code": status}
        self.say(status, json.dumps(refused).encode(), reason="\x1b[2J refused \x9b2J")


def answers_well(handler: Handler) -> None:
    if "watch=" in handler.path:
        time.sleep(1.0)
        handler.say(200, b"")
    else:
        handler.say_list("7")


def answers_with_what_it_was_told(handler: Handler) -> None:
    """In refusals of lists and, after some of them, in watch events."""
    told = handler.headers.get("Authorization", "")
    words = f"who are you? {told}; {base64.b64decode(told.partition(' ')[2] + '==', validate=False)!r}"
    if handler.server.asked < 8:
        handler.say_status(403, words)
    elif "watch=" in handler.path:
        error = {"kind": "Status", "message": words, "code": 500}
        handler.say(200, json.dumps({"type": "ERROR", "object": error}).encode() + b"\n")
    else:
        handler.say_list("7")


def answers_with_hostile_words(handler: Handler) -> None:
    """Lists and watches first, and from then on each kind of refusal in turn."""
    flawed = service("flawed")
    flawed["spec"] |= {"clusterIPs": [HOSTILE], "sessionAffinity": HOSTILE}
    if "watch=" not in handler.path and handler.server.asked < 12:
        handler.say_list(HOSTILE, flawed)
    elif handler.server.asked % 5 == 0:
        handler.say_status(500, f"the server says {HOSTILE}")
    elif handler.server.asked % 5 == 1:
        handler.say(502, f"<html>{HOSTILE}</html>".encode())
    elif "watch=" not in handler.path:
        handler.say_list(HOSTILE, flawed)
    else:
        bad = service("web")
        bad["metadata"] |= {"name": HOSTILE, "resourceVersion": HOSTILE}
        error = {"kind": "Status", "message": HOSTILE, "reason": HOSTILE, "code": 500}
        events = [
            {"type": "MODIFIED", "object": bad},
            {"type": "ERROR", "object": error} if handler.server.asked % 5 == 2 else {"type": HOSTILE, "object": bad},
        ]  # fmt: skip
        handler.say(200, b"".join(json.dumps(event).encode() + b"\n" for event in events))


@contextmanager
def served(answer: Callable[[Handler], None]) -> Iterator[Server]:
    with fresh_namespace() as name, inside(name):
        process.run(["ip", "address", "add", f"{HERE}/24", "dev", "lo"])
        with Server(answer) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            yield server
            server.shutdown()
            thread.join()


def page(port: int, path: str, accept: str = "*/*") -> str:
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 # to loopback
            return f"{answer.headers}{answer.read().decode()}"
    except urllib.error.HTTPError as refused:
        with refused:
            return f"{refused.headers}{refused.read().decode()}"


def all_pages() -> str:
    texts = [page(port, path) for port, paths in PAGES.items() for path in paths]
    accept = "application/json;v=v1beta1;g=config.k8s.io;as={}"
    texts += [page(10249, kind.lower(), accept.format(kind)) for kind in ("Statusz", "Flagz")]
    return "\n".join(texts)


def written(tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any]) -> Path:
    path = tmp_path / "kubeconfig"
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": cluster}],
        "users": [{"name": "a", "user": user}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    path.write_text(json.dumps(kubeconfig))
    return path


def plugin(tmp_path: Path, text: str) -> str:
    path = tmp_path / "plugin"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def exec_of(command: str) -> dict[str, Any]:
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": command,
            "args": ["--token", CANARY, f"--password={CANARY}"],
            "env": [{"name": "PASSWORD", "value": CANARY}],
            "interactiveMode": "Never",
        }
    }


GIVES_A_TOKEN = (
    'echo \'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", '
    f'"status": {{"token": "{CANARY}"}}}}\''
)

WAYS: dict[str, Callable[[Path, str], tuple[dict[str, Any], dict[str, Any], list[str]]]] = {
    "a token": lambda _, server: ({"server": f"https://{server}"}, {"token": CANARY}, []),
    "a token that no header can hold": lambda _, server: (
        {"server": f"https://{server}"}, {"token": f"{CANARY}\x01\n"}, []),
    "a password": lambda _, server: (
        {"server": f"https://{server}"}, {"username": "proxy", "password": CANARY}, []),
    "the server's URL": lambda _, server: ({"server": f"https://proxy:{CANARY}@{server}"}, {}, []),
    "a server's URL that is none": lambda _, server: ({"server": f"https://proxy:{CANARY}%@{server}"}, {}, []),
    "a server's URL with a port that is none": lambda _, server: (
        {"server": f"https://proxy:{CANARY}@{server}x"}, {}, []),
    "--master": lambda _, server: (
        {"server": f"https://{server}"}, {}, ["--master", f"https://proxy:{CANARY}@{server}"]),
    "--master without a port": lambda _, server: (
        {"server": f"https://{server}"}, {}, ["--master", f"https://proxy:{CANARY}@{HERE}:x"]),
    "the proxy's URL": lambda _, server: (
        {"server": f"https://{server}", "proxy-url": f"http://proxy:{CANARY}@{HERE}:1"}, {}, []),
    "a proxy's URL that is none": lambda _, server: (
        {"server": f"https://{server}", "proxy-url": f"ftp://proxy:{CANARY}@{HERE}:1"}, {}, []),
    "a plugin's words and environment": lambda path, server: (
        {"server": f"https://{server}"}, exec_of(plugin(path, 'echo "no $PASSWORD, $2" >&2; exit 3')), []),
    "a plugin's answer that is none": lambda path, server: (
        {"server": f"https://{server}"}, exec_of(plugin(path, f"echo '{{\"token\": \"{CANARY}\"'")), []),
    "a plugin's token": lambda path, server: (
        {"server": f"https://{server}"}, exec_of(plugin(path, GIVES_A_TOKEN)), []),
    "a plugin that is missing": lambda path, server: (
        {"server": f"https://{server}"}, exec_of(str(path / "missing")), []),
}  # fmt: skip


@pytest.mark.parametrize(("way", "is_trusted"), [*((way, True) for way in WAYS), ("the server's URL", False)])
def test_secret_is_in_nothing_that_an_agent_prints_serves_or_posts(
    way: str, tmp_path: Path, *, is_trusted: bool
) -> None:
    log = tmp_path / "log"
    with served(answers_well) as server:
        cluster, user, flags = WAYS[way](tmp_path, server.address)
        authority = server.authority if is_trusted else server_context(HERE)[1]
        cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
        kubeconfig = written(tmp_path, cluster, user)
        given = [f"--kubeconfig={kubeconfig}", "-v=6", *flags]
        with running_agent(*given, log=log) as running:
            settle(running.poll, log)
            served_texts = all_pages() if running.poll() is None else ""
            running.terminate()
            running.wait(10)
    said = log.read_text()
    assert said
    if way == "--master":
        assert f"\nmaster={server.address}\n" in served_texts
    for text in (said, served_texts, b"\n".join(server.posted).decode(), *state_files(tmp_path)):
        assert CANARY not in text
        assert ENCODED not in text


def settle(ended: Callable[[], int | None], log: Path) -> None:
    """Until the agent has synced, has failed three times to, or has ended."""

    def is_settled() -> bool:
        said = log.read_text()
        return ended() is not None or "IPv6: synced" in said or said.count("stays in force") >= 3

    eventually(is_settled, "the agent has come to something", log)
    with suppress(OSError):
        page(10249, "healthz")


def state_files(tmp_path: Path) -> list[str]:
    return [path.read_bytes().decode("latin-1") for path in (tmp_path / "state").glob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("way", "is_trusted"),
    [*((way, True) for way in WAYS if not way.startswith("--master")), ("the server's URL", False)],
)
def test_secret_is_in_nothing_that_a_look_at_a_cluster_prints(
    way: str, tmp_path: Path, *, is_trusted: bool
) -> None:
    with served(answers_with_what_it_was_told) as server:
        cluster, user, _ = WAYS[way](tmp_path, server.address)
        authority = server.authority if is_trusted else server_context(HERE)[1]
        cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
        written(tmp_path, cluster, user)
        done = subprocess.run(
            [sys.executable, "-m", "kproxy", "render", "--from-cluster", "--node", NODE],
            env={**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode in (2, 3)
    assert done.stderr.startswith("kproxy: ")
    for text in (done.stdout, done.stderr):
        assert CANARY not in text
        assert ENCODED not in text


@pytest.mark.parametrize("way", ["a token", "a password", "the server's URL", "a plugin's token"])
def test_secret_that_a_server_says_back_is_in_nothing_that_an_agent_says(way: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with served(answers_with_what_it_was_told) as server:
        cluster, user, _ = WAYS[way](tmp_path, server.address)
        cluster["certificate-authority-data"] = base64.b64encode(server.authority).decode()
        kubeconfig = written(tmp_path, cluster, user)
        with running_agent(f"--kubeconfig={kubeconfig}", "-v=6", log=log):
            eventually(lambda: "answers 500 to watch" in log.read_text(), "a watch has failed", log)
            served_texts = all_pages()
    assert "answers 403 to list" in log.read_text()
    assert "who are you? " in log.read_text()
    for text in (log.read_text(), served_texts):
        assert CANARY not in text
        assert ENCODED not in text


@pytest.mark.parametrize("way", ["HTTPS_PROXY", "https_proxy"])
def test_secret_of_a_proxy_in_the_environment_is_in_nothing_that_an_agent_says(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv(way, f"http://proxy:{CANARY}@{HERE}:1")
    with served(answers_well) as server:
        ca = base64.b64encode(server.authority).decode()
        cluster = {"server": f"https://{server.address}", "certificate-authority-data": ca}
        kubeconfig = written(tmp_path, cluster, {"token": "t"})
        with running_agent(f"--kubeconfig={kubeconfig}", log=log) as running:
            settle(running.poll, log)
            served_texts = all_pages()
        assert 0 == server.asked, "everything goes by the proxy"
    for text in (log.read_text(), served_texts):
        assert CANARY not in text
        assert ENCODED not in text


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_hostile_words_of_a_server_forge_no_line_and_reach_no_page_raw(
    log_format: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with served(answers_with_hostile_words) as server:
        ca = base64.b64encode(server.authority).decode()
        cluster = {"server": f"https://{server.address}", "certificate-authority-data": ca}
        kubeconfig = written(tmp_path, cluster, {"token": "t"})
        given = [f"--kubeconfig={kubeconfig}", "-v=6", f"--logging-format={log_format}"]
        with running_agent(*given, log=log):
            eventually(lambda: log.read_text().count("forged") >= 12, "the server was heard", log)
            eventually(lambda: any(b"Quarantined" in each for each in server.posted), "an Event says so", log)
            served_texts = all_pages()
        posted = b"\n".join(server.posted).decode()
        notes = [json.loads(each)["note"] for each in server.posted]
    assert all(note.isprintable() for note in notes)
    said = log.read_bytes().decode()
    assert "resourceVersion" in said
    for line in said.removesuffix("\n").split("\n"):
        assert line.isprintable(), line
        assert not line.lstrip().startswith(FORGED)
        if log_format == "json":
            assert json.loads(line)
        else:
            assert OWN_LINE.fullmatch(line), line
    for text in (served_texts, posted):
        assert not re.search(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u2028]", text)
        assert not [line for line in text.splitlines() if line.lstrip().startswith(FORGED)]


OF_A_HOST_NAMED_SO = (
    *("unshare", "--uts", sys.executable, "-c"),
    "import os, socket, sys; socket.sethostname(sys.argv[1]); os.execv(sys.argv[2], sys.argv[2:])",
)


@pytest.mark.parametrize("where", ["flag", "file", "host"])
def test_hostile_name_of_a_node_is_refused_before_it_is_used(where: str, tmp_path: Path) -> None:
    """kube-proxy refuses what is no name of a Node too."""
    log = tmp_path / "log"
    hostile = "node\n\x1b[2J1"
    flags = [f"--hostname-override={hostile}"]
    if where == "file":
        config = tmp_path / "config.yaml"
        kind = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}
        config.write_text(json.dumps(kind | {"hostnameOverride": hostile}))
        flags = [f"--config={config}"]
    with fresh_namespace() as name, inside(name):
        before = [*OF_A_HOST_NAMED_SO, hostile] if where == "host" else []
        flags = [] if where == "host" else flags
        manifests = f"--manifests={tmp_path}"
        with running_agent(manifests, *flags, log=log, named=False, before=before) as running:
            assert 2 == running.wait(20)
    said = log.read_text()
    assert "is not a DNS subdomain" in said
    assert all(line.isprintable() for line in said.removesuffix("\n").split("\n"))
    assert 1 == said.count("\n")
