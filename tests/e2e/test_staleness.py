"""A real agent that cannot get its rules into the kernel says so: a failing program, a lock that never comes."""

import fcntl
import json
import os
import re
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kproxy import process
from namespaces import fresh_namespace, inside
from running import NODE, eventually, metric, running_agent
from stubapi import StubApi
from stubapi.manifests import endpoint_slice, node, service

pytestmark = pytest.mark.netns


@pytest.fixture
def api() -> Iterator[StubApi]:
    with fresh_namespace() as name, inside(name), StubApi() as stub:
        stub.put("Node", node(NODE))
        stub.put("Service", service("web"))
        stub.put("EndpointSlice", endpoint_slice("web-a", "web", "10.128.1.5"))
        yield stub


def answers(path: str, status: int) -> Callable[[], bool]:
    def holds() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:10256{path}", timeout=10) as answer:
                return bool(answer.status == status)
        except urllib.error.HTTPError as refused:
            refused.close()
            return refused.code == status
        except OSError:
            return False

    return holds


LOCK_WAIT = 'kproxy_sync_stage_duration_seconds_sum{ip_family="IPv4",stage="lock_wait"}'
PARTIAL = 'kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total{ip_family="IPv4"}'
FAILURES = 'kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv4"}'


def kill_programs_of(agent: int) -> None:
    """End a program that hangs, as an operator does."""
    for children in Path(f"/proc/{agent}/task").glob("*/children"):
        for pid in children.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize(
    "hindrance", ["a program that fails", "a program that hangs", "a lock that never comes"]
)
def test_agent_that_cannot_write_becomes_unhealthy_and_well_again(
    hindrance: str, api: StubApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, lock, broken = (tmp_path / name for name in ("log", "lock", "broken"))
    monkeypatch.setenv("XTABLES_LOCKFILE", str(lock))
    program = shutil.which("iptables-legacy-restore", path=f"{os.environ['PATH']}:/usr/sbin")
    stand_in = tmp_path / "iptables-legacy-restore"
    trouble = "exec sleep 600" if hindrance == "a program that hangs" else "exit 1"
    stand_in.write_text(f'#!/bin/sh\n[ -e {broken} ] && {trouble}\nexec {program} "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    kubeconfig = str(api.write_kubeconfig(tmp_path / "kubeconfig"))
    with running_agent("--kubeconfig", kubeconfig, "--iptables-backend", "legacy", log=log) as agent:
        eventually(answers("/readyz", 200), "ready after the first sync", log)
        with lock.open("w") as held:
            if hindrance == "a lock that never comes":
                fcntl.flock(held, fcntl.LOCK_EX)
            else:
                broken.touch()
            api.put("EndpointSlice", endpoint_slice("web-a", "web", "10.128.1.6"))
            for path in ("/healthz", "/livez", "/readyz"):
                eventually(answers(path, 503), "unhealthy after twice the sync period", log)
            broken.unlink(missing_ok=True)
            if hindrance == "a program that hangs":
                kill_programs_of(agent.pid)
        for path in ("/healthz", "/livez", "/readyz"):
            eventually(answers(path, 200), "well once the change is in the kernel", log)
        waited_s = metric(LOCK_WAIT)
        failures, partial = metric(FAILURES), metric(PARTIAL)
    waits = hindrance == "a lock that never comes"
    assert (waited_s > 2.0) is waits
    assert waits or failures >= 1.0
    if hindrance == "a program that fails":  # again and again, and not each time when all is verified
        assert failures >= partial >= 1.0
    assert waits is any(float(ms) > 100.0 for ms in re.findall(r"lock wait ([\d.]+) ms", log.read_text()))


NFT_FAILURES = 'kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"}'
HEALTH_PORT = 31234


def guarded_service() -> dict[str, Any]:
    """It needs chains of its own, which `nft` writes, and tells a load balancer how it is."""
    manifest = service("guarded")
    manifest["spec"] |= {
        "type": "LoadBalancer",
        "clusterIP": "10.96.0.20",
        "clusterIPs": ["10.96.0.20"],
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": HEALTH_PORT,
        "loadBalancerSourceRanges": ["192.0.2.0/24"],
    }
    manifest["status"]["loadBalancer"] = {"ingress": [{"ip": "203.0.113.9"}]}
    return manifest


def told_to_load_balancers() -> tuple[int, bool]:
    try:
        with urllib.request.urlopen(f"http://10.199.0.2:{HEALTH_PORT}/", timeout=10) as answer:
            return answer.status, json.load(answer)["serviceProxyHealthy"]
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)["serviceProxyHealthy"]


def test_agent_whose_nft_fails_counts_it_and_is_unhealthy_until_it_works(
    api: StubApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, broken, stand_in = (tmp_path / name for name in ("log", "broken", "nft"))
    program = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin")
    stand_in.write_text(f'#!/bin/sh\n[ -e {broken} ] && exit 1\nexec {program} "$@"\n')
    stand_in.chmod(0o755)
    process.run(["ip", "address", "add", "10.199.0.2/24", "dev", "lo"])
    api.put("Service", guarded_service())
    here = endpoint_slice("guarded-a", "guarded", "10.128.1.7")
    here["endpoints"][0]["nodeName"] = NODE
    api.put("EndpointSlice", here)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    kubeconfig = str(api.write_kubeconfig(tmp_path / "kubeconfig"))
    quick = ("--proxy-mode=nftables", "--iptables-sync-period=500ms")
    with running_agent("--kubeconfig", kubeconfig, *quick, log=log):
        eventually(answers("/readyz", 200), "ready after the first sync", log)
        assert (200, True) == told_to_load_balancers()
        assert 0.0 == metric(NFT_FAILURES)
        broken.touch()
        narrowed = guarded_service()
        narrowed["spec"]["loadBalancerSourceRanges"] = ["198.51.100.0/24"]
        api.put("Service", narrowed)
        for path in ("/healthz", "/livez", "/readyz"):
            eventually(answers(path, 503), "unhealthy after twice the sync period", log)
        assert (503, False) == told_to_load_balancers()
        failures = metric(NFT_FAILURES)
        broken.unlink()
        for path in ("/healthz", "/livez", "/readyz"):
            eventually(answers(path, 200), "well once the change is in the kernel", log)
        assert (200, True) == told_to_load_balancers()
        for probe in ("healthz", "livez"):
            assert metric(f'kubeproxy_proxy_{probe}_total{{code="503"}}') >= 1.0
        assert 0.0 == metric(FAILURES), "that one is of iptables mode"
    assert failures >= 1.0
    assert "198.51.100.0/24" in process.run(["nft", "list", "table", "ip", "kproxy"])
