"""An API server on 127.0.0.1, and somebody who takes away the rule that keeps the node's own traffic from being masqueraded."""

import time
from collections.abc import Iterator
from pathlib import Path
from socket import create_connection
from urllib.parse import urlsplit

import pytest

from kproxy import process
from namespaces import fresh_namespace, inside
from running import NODE, eventually, running_agent
from stubapi import StubApi
from stubapi.manifests import endpoint_slice, node, service

pytestmark = pytest.mark.netns


@pytest.fixture
def api() -> Iterator[StubApi]:
    with fresh_namespace() as name, inside(name), StubApi() as stub:
        process.run(["ip", "address", "add", "10.199.0.2/24", "dev", "lo"])
        stub.put("Node", node(NODE))
        stub.put("Service", service("web"))
        stub.put("EndpointSlice", endpoint_slice("web-a", "web", "10.128.1.5"))
        yield stub


def is_reached(api: StubApi) -> bool:
    url = urlsplit(api.url)
    try:
        with create_connection((str(url.hostname), url.port or 0), 0.3):
            return True
    except TimeoutError:
        return False


def take_the_return_away() -> None:
    process.run(["iptables-nft", "-t", "nat", "-D", "KUBE-POSTROUTING", "1"])


def synced(log: Path) -> bool:
    return "IPv6: synced" in log.read_text()


def test_agent_that_runs_reaches_it_again_within_a_sync_period(api: StubApi, tmp_path: Path) -> None:
    log, kubeconfig = tmp_path / "log", api.write_kubeconfig(tmp_path / "kubeconfig")
    with running_agent("--kubeconfig", str(kubeconfig), log=log):
        eventually(lambda: synced(log), "the first sync", log)
        take_the_return_away()
        assert not is_reached(api)
        eventually(lambda: is_reached(api), "the rule is back", log)


def test_agent_that_starts_does_not_reach_it_before_the_chain_is_flushed(
    api: StubApi, tmp_path: Path
) -> None:
    kubeconfig = api.write_kubeconfig(tmp_path / "kubeconfig")
    first, cut_off, last = (tmp_path / name for name in ("first", "cut-off", "last"))
    with running_agent("--kubeconfig", str(kubeconfig), log=first):
        eventually(lambda: synced(first), "the first sync", first)
    take_the_return_away()
    with running_agent("--kubeconfig", str(kubeconfig), log=cut_off):
        eventually(lambda: "from the cluster" in cut_off.read_text(), "it has started", cut_off)
        time.sleep(1.0)
        assert not synced(cut_off)
        assert not is_reached(api)
    process.run(["iptables-nft", "-t", "nat", "-F", "KUBE-POSTROUTING"])
    with running_agent("--kubeconfig", str(kubeconfig), log=last):  # the other one would try again in seconds
        eventually(lambda: synced(last), "it lists, and puts its rules right", last)
    assert "MASQUERADE" in process.run(["iptables-nft", "-t", "nat", "-S", "KUBE-POSTROUTING"])
