"""An agent asks its API server for no more, and no faster, than its settings allow; and ends at once all the same."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from namespaces import fresh_namespace, inside
from running import NODE, eventually, running_agent
from stubapi import StubApi
from stubapi.manifests import node, service

pytestmark = pytest.mark.netns


@pytest.fixture
def api() -> Iterator[StubApi]:
    with fresh_namespace() as name, inside(name), StubApi() as stub:
        stub.put("Node", node(NODE))
        stub.put("Service", service("web"))
        yield stub


@pytest.fixture(params=["flags", "file"])
def slow(request: pytest.FixtureRequest, api: StubApi, tmp_path: Path) -> tuple[str, ...]:
    """A request each hundred seconds, after the first one."""
    kubeconfig = api.write_kubeconfig(tmp_path / "kubeconfig")
    if request.param == "flags":
        return f"--kubeconfig={kubeconfig}", "--kube-api-qps=0.01", "--kube-api-burst=1"
    config = tmp_path / "config.yaml"
    config.write_text(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
        f"clientConnection: {{kubeconfig: {kubeconfig}, qps: 0.01, burst: 1}}\n"
    )
    return (f"--config={config}",)


def test_lists_wait_for_their_turn_and_sigterm_for_none(
    api: StubApi, slow: tuple[str, ...], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with running_agent(*slow, log=log) as running:
        eventually(lambda: log.read_text().count("because of --kube-api-qps") >= 2, "two must wait", log)
        time.sleep(1.0)
        assert 1 == sum(each.verb in ("list", "create") for each in api.requests)
        running.send_signal(signal.SIGTERM)
        assert 0 == running.wait(timeout=3.0)


@pytest.mark.parametrize(
    ("said", "flags", "verbs"),
    [
        ("", (), ["watch"] * 3),
        ("false", (), ["list", "watch"] * 3),
        ("", ("--feature-gates=WatchListClient=false",), ["list", "watch"] * 3),
        ("false", ("--feature-gates=WatchListClient=true",), ["watch"] * 3),
    ],
)
def test_agent_takes_lists_as_streams_unless_its_gate_or_its_environment_says_no(
    api: StubApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    flags: tuple[str, ...],
    verbs: list[str],
) -> None:
    api.stream_lists()
    if said:
        monkeypatch.setenv("KUBE_FEATURE_WatchListClient", said)
    log = tmp_path / "log"
    with running_agent(f"--kubeconfig={api.write_kubeconfig(tmp_path / 'kubeconfig')}", *flags, log=log):
        eventually(lambda: "IPv4: synced" in log.read_text(), "the first sync", log)
        for kind in ("Service", "EndpointSlice", "Node"):
            api.wait_for_streams(kind, 1)
    assert sorted(verbs) == sorted(each.verb for each in api.requests if each.verb != "create")
