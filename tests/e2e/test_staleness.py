"""A real agent that cannot get its rules into the kernel says so: a failing program, a lock that never comes."""

import fcntl
import os
import re
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
FAILURES = 'kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv4"}'


def kill_programs_of(agent: int) -> None:
    """What an operator does about one that hangs."""
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
        failures = metric(FAILURES)
    waits = hindrance == "a lock that never comes"
    assert (waited_s > 2.0) is waits
    assert waits or failures >= 1.0
    assert waits is any(float(ms) > 100.0 for ms in re.findall(r"lock wait ([\d.]+) ms", log.read_text()))
