"""A node goes from iptables to nftables mode and back, while clients ask its Services without a break."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kproxy import process
from kproxy.kernel.programs.iptables import Variant
from lab.cluster import Cluster, agent, eventually
from lab.topology import CLIENT, NODE, PODS, Lab, Outcome
from lab.worker import PORT
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
        saved = [process.run([f"iptables-{variant}-save"]) for variant in Variant]
        return "table ip kproxy" in process.run(["nft", "list", "tables"]), *(
            "KUBE-S" in each for each in saved
        )


def a_cluster(directory: Path) -> Path:
    """Its manifests."""
    manifests = directory / "manifests"
    manifests.mkdir()
    cluster = Cluster(manifests)
    cluster.add_node()
    cluster.add_service("web", [CLUSTER_IP], type="LoadBalancer", ingress=[VIP], node_port=30080)
    cluster.set_endpoints("web", "pod-1", "pod-2", "far-1")
    return manifests


KUBE_PROXYS = f"""
table ip kube-proxy {{
	chain nat-prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
		jump services
	}}
	chain nat-output {{
		type nat hook output priority -100; policy accept;
		jump services
	}}
	chain nat-postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x4000 != 0 meta mark set meta mark ^ 0x4000 masquerade fully-random
	}}
	chain services {{
		ip daddr {CLUSTER_IP} tcp dport 80 goto service-default/web/tcp/
		ip daddr {VIP} tcp dport 80 goto external-default/web/tcp/
	}}
	chain external-default/web/tcp/ {{
		meta mark set meta mark | 0x4000
		goto service-default/web/tcp/
	}}
	chain service-default/web/tcp/ {{
		meta l4proto tcp dnat ip to numgen random mod 2 map {{ 0 : {PODS["pod-1"][0]} . {PORT}, 1 : {PODS["pod-2"][0]} . {PORT} }}
	}}
}}
table ip6 kube-proxy {{
	chain services {{
	}}
}}
"""
"""The table that kube-proxy programs in nftables mode, without the parts that no request here meets."""


@pytest.mark.parametrize("flags", [(), ("--proxy-mode", "nftables")], ids=["iptables", "nftables"])
def test_no_request_fails_when_kube_proxys_own_tables_give_way(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    manifests, log = a_cluster(tmp_path), tmp_path / "agent.log"
    with Lab() as lab:

        def tables() -> list[str]:
            with inside(lab.name(NODE)):
                return [each for each in process.run(["nft", "list", "tables"]).split() if "k" in each]

        with inside(lab.name(NODE)):
            process.run(["nft", "-f", "-"], stdin=KUBE_PROXYS)
        with asking(lab, CLIENT, VIP) as from_outside, asking(lab, "pod-4", CLUSTER_IP) as from_a_pod:
            eventually(
                lambda: min(len(from_outside), len(from_a_pod)) > 20, "requests by kube-proxy's tables"
            )
            assert ["kube-proxy", "kube-proxy"] == tables()
            with agent(lab, manifests, Variant.NFT, log, *flags):
                eventually(lambda: "kube-proxy" not in tables(), "the end of kube-proxy's tables")
                assert (["kproxy", "kproxy"] if flags else []) == tables()
                until = len(from_outside) + 30
                eventually(lambda: len(from_outside) > until, "requests by ours")
        for outcomes in (from_outside, from_a_pod):
            assert {"pod-1", "pod-2", "far-1"} == {outcome[0] for outcome in outcomes}


@pytest.mark.long
@pytest.mark.parametrize("variant", Variant)
def test_no_request_fails_when_the_mode_changes(variant: Variant, tmp_path: Path) -> None:
    manifests, log = a_cluster(tmp_path), tmp_path / "agent.log"
    old = (variant is Variant.NFT, variant is Variant.LEGACY)
    with Lab() as lab:
        with agent(lab, manifests, variant, log):
            assert (False, *old) == rules(lab)
        with asking(lab, CLIENT, VIP) as from_outside, asking(lab, "pod-4", CLUSTER_IP) as from_a_pod:
            for _ in range(2):
                with agent(lab, manifests, variant, log, "--proxy-mode", "nftables"):
                    eventually(lambda: rules(lab) == (True, False, False), "the end of iptables mode")
                with agent(lab, manifests, variant, log):
                    eventually(lambda: rules(lab) == (False, *old), "the end of nftables mode")
        for outcomes in (from_outside, from_a_pod):
            assert len(outcomes) > 50
            assert {"pod-1", "pod-2", "far-1"} == {outcome[0] for outcome in outcomes}


@pytest.mark.long
def test_no_request_fails_when_the_backend_changes_and_the_one_before_holds_no_rules_of_ours(
    tmp_path: Path,
) -> None:
    manifests, log = a_cluster(tmp_path), tmp_path / "agent.log"
    with Lab() as lab:
        with agent(lab, manifests, Variant.LEGACY, log):
            assert (False, False, True) == rules(lab)
        with asking(lab, CLIENT, VIP) as from_outside, asking(lab, "pod-4", CLUSTER_IP) as from_a_pod:
            for _ in range(2):
                with agent(lab, manifests, Variant.NFT, log):
                    eventually(lambda: rules(lab) == (False, True, False), "the end of the rules in legacy")
                with agent(lab, manifests, Variant.LEGACY, log):
                    eventually(lambda: rules(lab) == (False, False, True), "the end of the rules in nft")
        for outcomes in (from_outside, from_a_pod):
            assert len(outcomes) > 50
            assert {"pod-1", "pod-2", "far-1"} == {outcome[0] for outcome in outcomes}
