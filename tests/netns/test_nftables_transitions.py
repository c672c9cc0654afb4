"""Packets at the very moment when the table of nftables mode changes."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen

import pytest

from facts import CLUSTER_CIDRS, a_service, a_slice, a_view, an_endpoint
from kproxy.agent.nft_table import Commits
from kproxy.agent.nftables import NftablesProxy
from kproxy.kernel import process
from kproxy.kernel.nft import NftTable
from kproxy.model.settings import Settings
from kproxy.ruleset.desired import Circumstances
from kproxy.state.events import Changed
from kproxy.state.objects import EndpointPort, ServicePort
from kproxy.state.store import Store
from kproxy.values import Family, Protocol
from namespaces import DIES_WITH_ITS_PARENT, fresh_namespace, inside
from scenarios import RENDER

pytestmark = pytest.mark.netns

CHANGES = 20
LONG_WAY = "\tmeta mark 0xdead\n" * 2000
"""Before each look-up, so that every change of the table meets some packet between two of them."""

NEW_FLOWS = """
import socket
while True:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.sendto(b"", ("10.96.0.10", 80))
        except OSError:
            pass
"""

COUNTING = """
table ip seen {
	chain before { type filter hook output priority -150; ip daddr 10.96.0.10 counter; }
	chain after { type filter hook output priority -50; ip daddr 10.96.0.10 counter; }
}
"""


def render_long(template: str, values: dict[str, object]) -> str:
    return re.sub(r"(?m)^chain (services|internal-\d+) \{\n", rf"\g<0>{LONG_WAY}", RENDER(template, values))


@contextmanager
def new_flows() -> Iterator[None]:
    with Popen([*DIES_WITH_ITS_PARENT, sys.executable, "-c", NEW_FLOWS], stderr=PIPE) as sender:
        try:
            yield
            assert sender.poll() is None
        finally:
            sender.kill()


def counted(chain: str) -> int:
    (packets,) = re.findall(
        r"counter packets (\d+)", process.run(["nft", "list", "chain", "ip", "seen", chain])
    )
    return int(packets)


def test_no_packet_misses_its_service_while_endpoints_come_and_go() -> None:
    """With each change the Service's verdict leads to another chain, which is new."""
    store = Store()
    store.apply(Changed(a_service(ports=(ServicePort("", Protocol.UDP, 80),))))
    circumstances = Circumstances(
        a_view(node_port_primary=True),
        Settings(
            cluster_cidrs=CLUSTER_CIDRS, is_nftables=True, node_port_primary=True, localhost_node_ports=False
        ),
    )
    proxy = NftablesProxy(NftTable(Family.IPV4), render_long, Commits())

    def sync_with(count: int) -> None:
        endpoints = (an_endpoint(f"10.128.2.{number}", "node-2") for number in range(count))
        store.apply(Changed(a_slice(*endpoints, ports=(EndpointPort("", Protocol.UDP, 53),))))
        assert proxy.sync(store, store.take_dirty(), circumstances, verify=False).error is None

    with fresh_namespace() as name, inside(name):
        process.run(["ip", "address", "add", "10.199.0.2/32", "dev", "lo"])
        process.run(["ip", "route", "add", "default", "dev", "lo"])
        process.run(["nft", "-f", "-"], stdin=COUNTING)
        sync_with(3)
        with new_flows():
            for change in range(CHANGES):
                sync_with(4 if change % 2 == 0 else 3)
        assert counted("before") > 100 * CHANGES
        assert counted("after") == 0
