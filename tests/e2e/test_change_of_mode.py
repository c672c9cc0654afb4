"""A node goes from iptables to nftables mode and back, while clients ask its Services without a break."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kproxy.kernel import process
from kproxy.kernel.iptables import Backend
from lab.cluster import Cluster, agent, eventually
from lab.topology import CLIENT, NODE, Lab, Outcome
from namespaces import inside

pytestmark = pytest.mark.netns

CLUSTER_IP, VIP = "10.96.0.10", "192.0.2.10"


@contextmanager
def asking(lab: Lab, role: str, address: str) -> Iterator[list[Outcome]]:
    """Requests from there, one after the other, all the while."""
    outcomes: list[Outcome] = []
    ending = threading.Event()

    def ask() -> None:
        while not ending.is_set():
            outcomes.extend(lab.ask(role, address, 80, count=5))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield outcomes
    finally:
        ending.set()
        thread.join()


def rules(lab: Lab) -> tuple[bool, ...]:
    """Whether there are rules of nftables mode, and of iptables mode in either packet filter."""
    with inside(lab.name(NODE)):
        saved = [process.run([f"iptables-{backend}-save"]) for backend in Backend]
        return "table ip kproxy" in process.run(["nft", "list", "tables"]), *(
            "KUBE-S" in each for each in saved
        )


@pytest.mark.parametrize("backend", Backend)
def test_no_request_fails_when_the_mode_changes(backend: Backend, tmp_path: Path) -> None:
    manifests, log = tmp_path / "manifests", tmp_path / "agent.log"
    manifests.mkdir()
    cluster = Cluster(manifests)
    cluster.add_node()
    cluster.add_service("web", [CLUSTER_IP], type="LoadBalancer", ingress=[VIP], node_port=30080)
    cluster.set_endpoints("web", "pod-1", "pod-2", "far-1")
    old = (backend is Backend.NFT, backend is Backend.LEGACY)
    with Lab() as lab:
        with agent(lab, manifests, backend, log):
            assert (False, *old) == rules(lab)
        with asking(lab, CLIENT, VIP) as from_outside, asking(lab, "pod-4", CLUSTER_IP) as from_a_pod:
            for _ in range(2):
                with agent(lab, manifests, backend, log, "--proxy-mode", "nftables"):
                    eventually(lambda: rules(lab) == (True, False, False), "the end of iptables mode")
                with agent(lab, manifests, backend, log):
                    eventually(lambda: rules(lab) == (False, *old), "the end of nftables mode")
        for outcomes in (from_outside, from_a_pod):
            assert len(outcomes) > 50
            assert {"pod-1", "pod-2", "far-1"} == {outcome[0] for outcome in outcomes}
