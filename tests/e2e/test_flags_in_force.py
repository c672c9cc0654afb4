"""Flags whose effect shows only in a process that runs: one agent that has them all."""

import json
import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from subprocess import Popen

import pytest

from namespaces import fresh_namespace, inside
from running import NODE, eventually, running_agent
from stubapi import StubApi
from stubapi.manifests import endpoint_slice, node, service

pytestmark = pytest.mark.netns

MIN_SYNC_PERIOD_S = 2.0


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agent") / "log"


@pytest.fixture(scope="module")
def api() -> Iterator[StubApi]:
    with fresh_namespace() as name, inside(name), StubApi() as stub:
        stub.put("Node", node(NODE))
        stub.put("Service", service("web"))
        stub.put("EndpointSlice", endpoint_slice("web-a", "web", "10.128.1.5"))
        yield stub


@pytest.fixture(scope="module", autouse=True)
def agent(api: StubApi, log: Path) -> Iterator[Popen[bytes]]:
    """The kubeconfig's server is no longer there; `--master` is."""
    kubeconfig = api.write_kubeconfig(log.with_name("kubeconfig"))
    kubeconfig.write_text(kubeconfig.read_text().replace(api.url, "https://127.0.0.1:9"))
    flags = ["--kubeconfig", str(kubeconfig), "--master", api.url, "--oom-score-adj=7"]
    flags += ["--healthz-bind-address=127.0.0.1:10300", "--metrics-bind-address=", "-v=4"]
    flags += [f"--iptables-min-sync-period={MIN_SYNC_PERIOD_S:g}s", "--iptables-sync-period=1h"]
    with running_agent(*flags, log=log) as running:
        eventually(lambda: "IPv6: synced" in log.read_text(), "the first sync, by way of --master", log)
        yield running


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_score_is_the_processs(agent: Popen[bytes]) -> None:
    assert "7\n" == Path(f"/proc/{agent.pid}/oom_score_adj").read_text()


def test_servers_are_where_they_should_be_or_nowhere() -> None:
    with urllib.request.urlopen("http://127.0.0.1:10300/healthz", timeout=10) as answer:
        assert json.load(answer)["nodeEligible"]
    assert not listens(10256)
    assert not listens(10249)


def test_changes_that_follow_closely_are_written_together_and_not_before_their_time(
    api: StubApi, log: Path
) -> None:
    time.sleep(MIN_SYNC_PERIOD_S)  # the first of them finds a sync long ago
    before = len(syncs(log))
    for last in (6, 7, 8):
        api.put("EndpointSlice", endpoint_slice("web-a", "web", f"10.128.1.{last}"))
        time.sleep(0.3)
    eventually(lambda: len(syncs(log)) >= before + 2, "both are written", log)
    first, second = syncs(log)[before : before + 2]
    assert second - first >= MIN_SYNC_PERIOD_S
    time.sleep(0.5)
    assert before + 2 == len(syncs(log))


def syncs(log: Path) -> list[float]:
    """When IPv4 was synced, to the millisecond."""
    found = re.findall(r"^(\S+ \S+),(\d+) .*IPv4: synced", log.read_text(), re.MULTILINE)
    return [datetime.fromisoformat(at).timestamp() + int(ms) / 1000 for at, ms in found]
