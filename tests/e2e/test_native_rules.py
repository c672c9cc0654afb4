"""An agent in iptables mode beside a firewall that others load with nft, into the tables of iptables-nft."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kproxy import process
from namespaces import fresh_namespace, inside
from running import BOUND_S, eventually, running_agent

pytestmark = pytest.mark.netns

DEMO = Path(__file__).parents[2] / "examples" / "demo"
FIREWALL = """
flush chain ip filter INPUT
add rule ip filter INPUT tcp dport 23 log prefix "telnet " counter drop
add rule ip filter INPUT ct state vmap { established : accept, related : accept }
add rule ip filter INPUT tcp dport 22 reject with tcp reset
add rule ip filter INPUT ct count 10 accept
add rule ip filter INPUT quota over 10 mbytes drop
add rule ip filter INPUT meta mark set 3
"""


@pytest.fixture(autouse=True)
def _here() -> Iterator[None]:
    with fresh_namespace() as name, inside(name):
        yield


def input_chain() -> list[str]:
    """Where its rules lead to, or the rules of others as they are."""
    listed = process.run(["nft", "-s", "list", "chain", "ip", "filter", "INPUT"]).splitlines()[2:-2]
    return [line.rpartition(" ")[2] if "KUBE-" in line else line.strip() for line in listed[1:]]


def syncs(log: Path) -> list[str]:
    return re.findall(r"IPv4: synced .* deleted", log.read_text())


def test_agent_and_its_cleanup_work_beside_a_firewall_that_is_loaded_again_and_again(tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    process.run(["iptables-nft", "-A", "INPUT", "-p", "udp", "-j", "ACCEPT"])
    process.run(["nft", "-f", "-"], stdin=FIREWALL)
    firewall = input_chain()
    assert 6 == len(firewall)
    with running_agent("--manifests", str(DEMO), "--iptables-backend", "auto", log=log) as agent:
        eventually(lambda: bool(syncs(log)), "the first sync", log)
        jumps = input_chain()[: -len(firewall)]
        assert [
            "KUBE-FIREWALL",
            "KUBE-PROXY-FIREWALL",
            "KUBE-NODEPORTS",
            "KUBE-EXTERNAL-SERVICES",
        ] == jumps
        for _ in range(2):
            process.run(["nft", "-f", "-"], stdin=FIREWALL)
            eventually(lambda: input_chain() == [*jumps, *firewall], "jumps before the firewall's rules", log)
        agent.terminate()
        assert 0 == agent.wait(timeout=BOUND_S)
    assert "incompatible" not in log.read_text()
    with running_agent("--cleanup", log=log, named=False) as cleaning:
        assert 0 == cleaning.wait(timeout=BOUND_S)
    assert ["KUBE-FIREWALL", *firewall] == input_chain()
