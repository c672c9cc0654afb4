"""A node is handed over in place: from kube-proxy's recorded rules to the agent, and from one agent to the next."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from kproxy import process
from kproxy.kernel.netlink.accounting import ensure_counters
from pods import node_and_pods
from recordings import DIRECTORY
from running import BOUND_S, eventually, metric, running_agent

pytestmark = pytest.mark.netns

CLUSTER = DIRECTORY / "catalogue" / "nodeport-tcp-and-udp"
SERVICE = ("10.96.0.53", 53)
ENDPOINTS = ("10.128.1.5", "10.128.2.6", "10.128.3.7")
PROGRAMS = {"iptables.v4": "iptables", "iptables.v6": "ip6tables"}


class Flows(NamedTuple):
    tcp: socket.socket
    udp: socket.socket

    def who_answers(self) -> list[str]:
        found = []
        for flow in self:
            flow.sendall(b"who?")
            found.append(flow.recv(100).decode())
        return found


@contextmanager
def open_flows() -> Iterator[Flows]:
    with (
        socket.create_connection(SERVICE, 10) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        udp.settimeout(10)
        udp.connect(SERVICE)
        yield Flows(tcp, udp)


def conntrack_ids() -> set[str]:
    """The numbers of the flows to the Service: a flow that was removed and came again has another number."""
    listed = process.run(["conntrack", "-L", "-d", SERVICE[0], "-o", "id"])
    return set(re.findall(r"\bid=(\d+)", listed))


def restore_recorded(backend: str) -> None:
    assert ensure_counters()
    for dump, program in PROGRAMS.items():
        process.run([f"{program}-{backend}-restore"], stdin=(CLUSTER / dump).read_text())


def syncs(log: Path) -> list[str]:
    return re.findall(r"(IPv\d: synced .* deleted);", log.read_text())


NOTHING = [
    "IPv4: synced 3 service ports: 0 chains and 0 rules written, 0 chains deleted",
    "IPv6: synced 0 service ports: 0 chains and 0 rules written, 0 chains deleted",
]


@pytest.fixture
def cluster(tmp_path: Path) -> tuple[str, ...]:
    """The flags for an agent of the recorded cluster."""
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "objects.json").write_text((CLUSTER / "objects.json").read_text())
    config, state = str(CLUSTER / "config.yaml"), str(tmp_path / "state")
    return ("--manifests", str(manifests), "--config", config, "--state-dir", state)


def has_synced(log: Path) -> bool:
    return len(syncs(log)) == len(NOTHING)


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_agent_takes_over_from_kube_proxy_and_from_itself_without_a_packet_lost(
    backend: str, cluster: tuple[str, ...], tmp_path: Path
) -> None:
    with node_and_pods(ENDPOINTS):
        restore_recorded(backend)
        with open_flows() as flows:
            answered, ids = flows.who_answers(), conntrack_ids()
            assert 2 == len(ids)
            for turn in ("kube-proxy's rules", "an earlier agent's"):
                log = tmp_path / turn
                with running_agent(*cluster, "--iptables-backend", backend, log=log, named=False) as running:
                    eventually(partial(has_synced, log), turn, log)
                    assert NOTHING == syncs(log)
                    assert answered == flows.who_answers()
                    running.terminate()
                    assert 0 == running.wait(timeout=BOUND_S)
                assert (answered, ids) == (flows.who_answers(), conntrack_ids())


def test_agent_writes_only_what_differs_from_kube_proxys_rules(
    cluster: tuple[str, ...], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with node_and_pods(ENDPOINTS):
        restore_recorded("nft")
        process.run(["iptables-nft", "-t", "nat", "-D", "KUBE-SVC-KHSPI2G3MMG2UFZO", "1"])
        process.run(["iptables-nft", "-t", "nat", "-N", "KUBE-SVC-AAAAAAAAAAAAAAAA"])
        with running_agent(*cluster, "--iptables-backend", "nft", log=log, named=False):
            eventually(partial(has_synced, log), "the first sync", log)
    assert "IPv4: synced 3 service ports: 1 chains and 4 rules written, 1 chains deleted" == syncs(log)[0]


@contextmanager
def busy_nftables() -> Iterator[list[float]]:
    """Another program that commits to nftables all the while, in this thread's network namespace; when it did."""
    commits: list[float] = []
    ending = threading.Event()

    def commit() -> None:
        while not ending.wait(0.01):
            process.run(["nft", "add table ip busy; delete table ip busy"])
            commits.append(time.monotonic())

    thread = threading.Thread(target=commit)
    thread.start()
    try:
        yield commits
    finally:
        ending.set()
        thread.join()


def test_agent_takes_over_rules_without_a_record_while_others_commit_and_finds_no_hand_of_others(
    cluster: tuple[str, ...], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    config = tmp_path / "often.yaml"
    config.write_text(
        (CLUSTER / "config.yaml").read_text() + "iptables: {syncPeriod: 1s, minSyncPeriod: 50ms}\n"
    )
    with node_and_pods(ENDPOINTS):
        restore_recorded("nft")
        before = {program: process.run([f"{program}-nft-save"]) for program in PROGRAMS.values()}
        with (
            busy_nftables() as commits,
            running_agent(*cluster, "--config", str(config), log=log, named=False),
        ):
            eventually(
                lambda: len(re.findall("a service|synced", log.read_text())) >= 2, "the first sync", log
            )
            until = time.monotonic() + 5
            while time.monotonic() < until:
                time.sleep(0.1)
            assert 0.0 == metric('kproxy_drift_found_total{ip_family="IPv4"}')
        assert len(commits) > 50
        after = {program: process.run([f"{program}-nft-save"]) for program in PROGRAMS.values()}
    assert NOTHING == syncs(log)
    assert "somebody else" not in log.read_text()
    for program in PROGRAMS.values():
        assert uncounted(before[program]) == uncounted(after[program])


def uncounted(saved: str) -> list[str]:
    return [re.sub(r"\[\d+:\d+\]", "", line) for line in saved.splitlines() if not line.startswith("#")]
