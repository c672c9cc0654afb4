"""A real agent's pages, log and end when something of what is wanted does not stand."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from kproxy import process
from namespaces import DIES_WITH_ITS_PARENT, fresh_namespace, inside
from running import BOUND_S, NODE, eventually, running_agent
from stubapi import StubApi
from stubapi.manifests import endpoint_slice, node, service

pytestmark = pytest.mark.netns


@pytest.fixture(autouse=True)
def here() -> Iterator[None]:
    with fresh_namespace() as name, inside(name):
        yield


@pytest.fixture
def api(here: None) -> Iterator[StubApi]:
    with StubApi() as stub:
        stub.put("Service", service("web"))
        stub.put("EndpointSlice", endpoint_slice("web-a", "web", "10.128.1.5"))
        yield stub


def get(path: str, port: int = 10256, address: str = "127.0.0.1") -> tuple[int, dict[str, Any]]:
    """Status 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)
    except OSError:
        return 0, {}


def answers(path: str, status: int) -> Callable[[], bool]:
    return lambda: get(path)[0] == status


def reasons() -> str:
    return "; ".join(get("/readyz")[1].get("reasons", ()))


MODES = ["iptables", "nftables"]


@pytest.mark.parametrize("mode", MODES)
def test_node_of_another_name_is_told_at_once_and_the_agent_is_not_ready_until_it_exists(
    api: StubApi, tmp_path: Path, mode: str
) -> None:
    log = tmp_path / "log"
    api.put("Node", node("node-11"))
    kubeconfig = str(api.write_kubeconfig(tmp_path / "kubeconfig"))
    with running_agent("--kubeconfig", kubeconfig, "--proxy-mode", mode, log=log):
        told = f"the Node '{NODE}' does not exist, but 'node-11' does"
        eventually(lambda: told in log.read_text(), "it is told", log)
        eventually(lambda: "IPv4: synced" in log.read_text(), "rules are programmed all the same", log)
        eventually(lambda: told in reasons() and answers("/readyz", 503)(), "not ready, with the reason", log)
        assert "--hostname-override" in reasons()
        assert (200, 503) == (get("/livez")[0], get("/healthz")[0])
        eventually(lambda: any(each["reason"] == "NodeNotFound" for each in api.created), "an Event", log)
        api.put("Node", node(NODE))
        eventually(answers("/readyz", 200), "ready once it exists", log)
        assert 1 == log.read_text().count(f"ERROR kproxy.agent.observers.node_presence: {told}")
        api.delete("Node", "", NODE)
        eventually(answers("/readyz", 503), "not ready once it is gone", log)


def write(path: Path, *manifests: object) -> None:
    path.write_text(yaml.safe_dump_all(manifests))


def test_node_of_another_name_in_a_directory_is_told_and_the_agent_not_ready(tmp_path: Path) -> None:
    log, directory = tmp_path / "log", tmp_path / "manifests"
    directory.mkdir()
    write(directory / "web.yaml", service("web"), endpoint_slice("web-a", "web", "10.128.1.5"))
    with running_agent("--manifests", str(directory), log=log):
        eventually(answers("/readyz", 200), "without any Node there is none to miss", log)
        write(directory / "node.yaml", node("node-1.example.internal"))
        told = f"the Node '{NODE}' does not exist, but 'node-1.example.internal' does"
        eventually(lambda: told in reasons(), "not ready, with the reason", log)
        assert told in log.read_text()
        write(directory / "node.yaml", node("node-1.example.internal"), node(NODE))
        eventually(answers("/readyz", 200), "ready once it exists", log)


PROGRAMS = {"iptables": "iptables-nft-restore", "nftables": "nft"}


@pytest.mark.parametrize("mode", MODES)
def test_family_whose_last_sync_failed_is_not_ready_at_once_and_still_alive(
    api: StubApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    log, broken, stand_in = tmp_path / "log", tmp_path / "broken", tmp_path / PROGRAMS[mode]
    program = shutil.which(PROGRAMS[mode], path=f"{os.environ['PATH']}:/usr/sbin")
    stand_in.write_text(f'#!/bin/sh\n[ -e {broken} ] && echo told why >&2 && exit 1\nexec {program} "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    api.put("Node", node(NODE))
    kubeconfig = str(api.write_kubeconfig(tmp_path / "kubeconfig"))
    slow = ("--proxy-mode", mode, "--iptables-sync-period", "10m")
    with running_agent("--kubeconfig", kubeconfig, *slow, log=log):
        eventually(answers("/readyz", 200), "ready after the first sync", log)
        broken.touch()
        guarded = service("guarded")
        guarded["spec"] |= {"type": "LoadBalancer", "clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20"]}
        guarded["spec"]["loadBalancerSourceRanges"] = ["192.0.2.0/24"]
        guarded["status"]["loadBalancer"] = {"ingress": [{"ip": "203.0.113.9"}]}
        api.put("Service", guarded)
        api.put("EndpointSlice", endpoint_slice("guarded-a", "guarded", "10.128.1.6"))
        eventually(answers("/readyz", 503), "not ready", log)
        assert "is not what is wanted: its last sync failed and is tried again" in reasons()
        assert 200 == get("/livez")[0]
        broken.unlink()
        eventually(answers("/readyz", 200), "ready once the change is in the kernel", log)


PATCHED = """
import os, sys
from kproxy.cli.main import main
{patch}
sys.argv[0] = "kproxy"
main()
"""


@contextmanager
def patched_agent(patch: str, *flags: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An agent whose code the test has changed before it starts."""
    arguments = ["agent", "--hostname-override", NODE, "--state-dir", str(log.parent / "state")]
    arguments += ["--iptables-min-sync-period=50ms", "--iptables-sync-period=2s", "--iptables-backend=nft"]
    script = PATCHED.format(patch=patch)
    with log.open("ab") as output:
        command = [*DIES_WITH_ITS_PARENT, sys.executable, "-c", script, *arguments, *flags]
        running = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield running
    finally:
        running.kill()
        running.wait(timeout=BOUND_S)


FAILING_LOOK = """
from kproxy.sources.manifest_directory import ManifestDirectory
from kproxy import threads
look = ManifestDirectory._look
def failing(directory):
    if os.path.exists("{once}"):
        os.unlink("{once}")
        raise MemoryError
    if os.path.exists("{forever}"):
        raise {failure}
    look(directory)
ManifestDirectory._look = failing
"""


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    directory = tmp_path / "manifests"
    directory.mkdir()
    write(directory / "web.yaml", service("web"), endpoint_slice("web-a", "web", "10.128.1.5"), node(NODE))
    return directory


def programmed(address: str) -> bool:
    return address in process.run(["iptables-nft-save", "-t", "nat"])


def other_service() -> tuple[object, object]:
    other = service("other")
    other["spec"] |= {"clusterIP": "10.96.0.77", "clusterIPs": ["10.96.0.77"]}
    return other, endpoint_slice("other-a", "other", "10.128.1.77")


def test_memory_error_in_the_thread_that_reads_manifests_costs_nothing(
    manifests: Path, tmp_path: Path
) -> None:
    log, once = tmp_path / "log", tmp_path / "once"
    patch = FAILING_LOOK.format(once=once, forever=tmp_path / "no", failure="MemoryError")
    with patched_agent(patch, "--manifests", str(manifests), log=log):
        eventually(answers("/readyz", 200), "ready after the first sync", log)
        once.touch()
        eventually(lambda: "watch-manifests ended unexpectedly" in log.read_text(), "it is told", log)
        write(manifests / "other.yaml", *other_service())
        eventually(lambda: programmed("10.96.0.77"), "a new file is read", log)
        eventually(answers("/readyz", 200), "and all is well", log)


@pytest.mark.parametrize("failure", ["MemoryError", "SystemExit(0)"])
def test_thread_that_reads_manifests_and_keeps_ending_fails_the_pages_and_ends_the_agent(
    manifests: Path, tmp_path: Path, failure: str
) -> None:
    log, forever = tmp_path / "log", tmp_path / "forever"
    patch = FAILING_LOOK.format(once=tmp_path / "no", forever=forever, failure=failure)
    patch += "threads._MOST_FAILURES = 4\n"
    with patched_agent(patch, "--manifests", str(manifests), log=log) as agent:
        eventually(answers("/readyz", 200), "ready after the first sync", log)
        forever.touch()
        for path in ("/readyz", "/livez", "/healthz"):
            eventually(answers(path, 503), "a thread that the rules need does not run", log)
        assert "watch-manifests does not run" in reasons()
        assert 1 == agent.wait(BOUND_S)
    assert "kproxy: watch-manifests ended unexpectedly 4 times in a row" in log.read_text()
    assert programmed("10.96.0.10")


MAIN_LOOP = """
from kproxy.state.store import Store
from kproxy import threads
threads._MOST_FAILURES = 4
take = Store.take_dirty
def failing(store):
    if os.path.exists("{forever}"):
        raise MemoryError
    return take(store)
Store.take_dirty = failing
"""


def test_main_loop_that_keeps_failing_fails_the_pages_and_ends_the_agent_with_a_reason(
    manifests: Path, tmp_path: Path
) -> None:
    log, forever = tmp_path / "log", tmp_path / "forever"
    with patched_agent(MAIN_LOOP.format(forever=forever), "--manifests", str(manifests), log=log) as agent:
        eventually(answers("/readyz", 200), "ready after the first sync", log)
        forever.touch()
        for path in ("/readyz", "/livez"):
            eventually(answers(path, 503), "the main loop does not run", log)
        assert 1 == agent.wait(BOUND_S)
    assert "kproxy: the main loop ended unexpectedly 4 times in a row" in log.read_text()
    assert programmed("10.96.0.10")


def test_optional_part_that_cannot_start_costs_no_rules(manifests: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    patch = """
from kproxy.agent.observers.udp_flows import FlowCleaner
from kproxy.agent.http.web import WebServer
def fail(*_):
    raise MemoryError
FlowCleaner.start = WebServer.start = WebServer.listen = fail
from kproxy.agent.observers.health import Health
from kproxy.agent.observers.sync_metrics import Metrics
Health.heard = Health.took = Health.synced = Metrics.took = Metrics.synced = fail
"""
    with patched_agent(patch, "--manifests", str(manifests), log=log) as agent:
        eventually(lambda: programmed("10.96.0.10"), "rules are programmed", log)
        write(manifests / "other.yaml", *other_service())
        eventually(lambda: programmed("10.96.0.77"), "and follow", log)
        agent.send_signal(signal.SIGTERM)
        assert 0 == agent.wait(BOUND_S)
    for part in ("stale UDP flows", "the health server", "the metrics server"):
        assert f"{part} cannot start; the rules are kept up to date" in log.read_text()


class _Api(BaseHTTPRequestHandler):
    """Lists and ends each watch after a moment; where `nonsense` is set, with an answer that nobody understands."""

    lists: dict[str, list[object]]
    nonsense = threading.Event()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        body = json.dumps({"metadata": {"resourceVersion": "1"}, "items": self.lists.get(path, [])})
        if "watch=true" in query:
            self.nonsense.wait(1.1)
            body = ""
        if self.nonsense.is_set() and path == "/api/v1/services":
            body = "<html>welcome to the portal</html>"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """The test knows."""


def test_kind_that_cannot_be_understood_for_long_fails_readyz_and_then_livez(tmp_path: Path) -> None:
    log = tmp_path / "log"
    _Api.lists = {
        "/api/v1/services": [service("web")],
        "/apis/discovery.k8s.io/v1/endpointslices": [endpoint_slice("web-a", "web", "10.128.1.5")],
        "/api/v1/nodes": [node(NODE)],
    }
    patch = """
from kproxy.agent import watches
watches._LONGEST_SILENCE_S, watches._LONGEST_MISUNDERSTANDING_S = 5.0, 12.0
from kproxy.sources import timing
original = timing.Timing.__init__
def quick(self, *given, **named):
    original(self, *given, **{"backoff_base_s": 0.1, "backoff_cap_s": 0.5, **named})
timing.Timing.__init__ = quick
"""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        master = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            with patched_agent(patch, "--master", master, log=log):
                eventually(answers("/readyz", 200), "ready after the first sync", log)
                time.sleep(6.0)
                assert 200 == get("/readyz")[0], "what is quiet is understood"
                _Api.nonsense.set()
                eventually(answers("/readyz", 503), "not ready", log)
                assert "nothing of Service was understood" in reasons()
                assert 200 == get("/livez")[0]
                eventually(answers("/livez", 503), "not alive", log)
                _Api.nonsense.clear()
                for path in ("/readyz", "/livez"):
                    eventually(answers(path, 200), "well once it is understood", log)
        finally:
            server.shutdown()


SERVICES = 600


def local_services() -> Iterator[object]:
    for number in range(SERVICES):
        manifest = service(f"local-{number}")
        address = f"10.96.{4 + number // 250}.{1 + number % 250}"
        manifest["spec"] |= {
            "type": "LoadBalancer",
            "clusterIP": address,
            "clusterIPs": [address],
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30000 + number,
        }
        manifest["spec"]["ports"][0]["nodePort"] = 31000 + number
        yield manifest
        slice_ = endpoint_slice(
            f"local-{number}-a", f"local-{number}", f"10.128.{number // 250}.{1 + number % 250}"
        )
        slice_["endpoints"][0]["nodeName"] = NODE
        yield slice_


def in_kernel(mode: str) -> str:
    command = (
        ["nft", "list", "table", "ip", "kproxy"] if mode == "nftables" else ["iptables-nft-save", "-t", "nat"]
    )
    return process.run(command)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("hard", [256, 4096])
def test_many_health_check_ports_take_no_descriptor_that_programs_need(
    tmp_path: Path, mode: str, hard: int
) -> None:
    log, directory = tmp_path / "log", tmp_path / "manifests"
    directory.mkdir()
    process.run(["ip", "address", "add", "10.199.0.2/24", "dev", "lo"])
    (directory / "all.json").write_text(
        json.dumps({"kind": "List", "apiVersion": "v1", "items": [node(NODE), *local_services()]})
    )
    soft_before, hard_before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with running_agent("--manifests", str(directory), "--proxy-mode", mode, "-v=3", log=log) as agent:
        resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (min(hard, 256), hard))
        eventually(answers("/readyz", 200), "ready after the first sync", log)
        assert all(f"10.96.4.{1 + number}" in in_kernel(mode) for number in range(0, 250, 50))
        write(directory / "other.yaml", *other_service())
        eventually(lambda: "10.96.0.77" in in_kernel(mode), "new Services are programmed", log)
        eventually(lambda: "10.128.1.77" in in_kernel(mode), "with their endpoints", log)
        assert (200, 200) == (get("/healthz")[0], get("/livez")[0])
        opened = [number for number in range(SERVICES) if get("/", 30000 + number, "10.199.0.2")[0] == 200]
        text = log.read_text()
        told = [
            number
            for number in range(SERVICES)
            if f"Service default/local-{number}: cannot listen on health-check node port {30000 + number}:"
            in text
        ]
        closed = set(range(SERVICES)) - set(opened)
        assert closed <= set(told)
        assert len(told) < len(closed) + 10, (
            "a later sync opens few, with descriptors that were in use before"
        )
        assert len(told) == text.count("cannot listen on health-check node port")
        assert (len(opened) == SERVICES) is (hard > 256)
        assert opened
        assert (soft_before, hard_before) == resource.getrlimit(resource.RLIMIT_NOFILE)


@contextmanager
def hangup_is(handler: signal.Handlers) -> Iterator[None]:
    """A program that starts inherits these limits, whatever limits the tests run under."""
    before = signal.signal(signal.SIGHUP, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def test_hangup_ends_the_agent_in_order_with_a_line_and_the_rules_stay(
    manifests: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with hangup_is(signal.SIG_DFL), running_agent("--manifests", str(manifests), log=log) as agent:
        eventually(answers("/readyz", 200), "ready after the first sync", log)
        agent.send_signal(signal.SIGHUP)
        assert 0 == agent.wait(BOUND_S)
    assert "SIGHUP received: the agent ends, and the rules stay" in log.read_text()
    assert "stopped; the rules stay in place" in log.read_text()
    assert programmed("10.96.0.10")


def test_hangup_that_is_ignored_as_under_nohup_ends_nothing(manifests: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with hangup_is(signal.SIG_IGN), running_agent("--manifests", str(manifests), log=log) as agent:
        eventually(answers("/readyz", 200), "ready after the first sync", log)
        agent.send_signal(signal.SIGHUP)
        write(manifests / "other.yaml", *other_service())
        eventually(lambda: programmed("10.96.0.77"), "it goes on", log)
        assert agent.poll() is None


HOLDER = """
import socket, time
open("/proc/self/comm", "w").write("kube-proxy")
held = [socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) for port in (10256, 10249)]
print("held", flush=True)
time.sleep(60)
"""


def test_ports_that_another_proxy_holds_are_told_with_its_name(manifests: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [*DIES_WITH_ITS_PARENT, sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert b"held\n" == holder.stdout.readline()
            with running_agent("--manifests", str(manifests), log=log):
                eventually(lambda: programmed("10.96.0.10"), "rules are programmed all the same", log)
            by = f"Address already in use by kube-proxy (process {holder.pid}); if that is another kube-proxy"
            for server in (
                "health server cannot listen on 0.0.0.0:10256",
                "metrics server cannot listen on 127.0.0.1:10249",
            ):
                assert f"the {server}: {by}" in log.read_text()
        finally:
            holder.kill()
