"""Packets at the very moment when the table of nftables mode changes."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from subprocess import PIPE, Popen

import pytest

from facts import CLUSTER_CIDRS, WEB, a_service, a_slice, a_view, an_endpoint
from kproxy import process
from kproxy.agent.nftables_proxy import NftablesProxy
from kproxy.kernel.programs.nft import NftTable
from kproxy.model.settings import Settings
from kproxy.observed.nftables import Commits
from kproxy.ruleset.inputs import Circumstances
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import EndpointPort, Kind, ServicePort, ServiceType
from kproxy.state.store import Store
from kproxy.values import Address, Family, Network, Protocol
from namespaces import DIES_WITH_ITS_PARENT, fresh_namespace, inside
from scenarios import RENDER

pytestmark = pytest.mark.netns

SETTINGS = Settings(
    cluster_cidrs=CLUSTER_CIDRS, is_nftables=True, node_port_primary=True, localhost_node_ports=False
)

CHANGES = 20
LONG_WAY = "\tmeta mark 0xdead\n" * 2000
"""Beside each look-up, so that every change of the table meets some packet between two of them."""

CLUSTER_IP, EXTERNAL_IP = Address("10.96.0.10"), Address("203.0.113.10")

NEW_FLOWS = """
import random, socket, sys
while True:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((f"127.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(1, 255)}", 0))
        try:
            one.sendto(b"", (sys.argv[1], 80))
        except OSError:
            pass
"""

COUNTING = """
table ip seen {
	chain asking { type filter hook output priority -150; ip daddr %(asked)s counter; }
	chain unrewritten { type filter hook output priority -50; ip daddr %(asked)s counter; }
	chain rewritten { type filter hook output priority 50; ip daddr 10.128.2.0/24 counter; }
	chain gone { type filter hook output priority 50; ip daddr %(asked)s counter; }
}
"""


def render_long(template: str, values: dict[str, object]) -> str:
    chains = r"(?ms)^(chain (?:services|internal-\d+|pick/\S+) \{\n)(.*?)^\}"
    return re.sub(chains, rf"\1{LONG_WAY}\2{LONG_WAY}}}", RENDER(template, values))


class Node:
    """A node in this thread's namespace, with Services for UDP, and a proxy."""

    def __init__(self) -> None:
        self.store = Store()
        self.restart()
        process.run(["ip", "address", "add", "10.199.0.2/32", "dev", "lo"])
        process.run(["ip", "route", "add", "default", "dev", "lo"])

    def restart(self) -> None:
        self.proxy = NftablesProxy(NftTable(Family.IPV4), render_long, Commits())

    def serve(self, name: str = "web", address: Address = CLUSTER_IP, **fields: object) -> None:
        ports = (ServicePort("", Protocol.UDP, 80),)
        self.store.apply(Changed(a_service(name, cluster_ips=(address,), ports=ports, **fields)))

    def endpoints(self, count: int, name: str = "web") -> None:
        chosen = (an_endpoint(f"10.128.2.{number}", "node-2") for number in range(count))
        ports = (EndpointPort("", Protocol.UDP, 53),)
        self.store.apply(Changed(a_slice(*chosen, name=f"{name}-a", service=name, ports=ports)))

    def sync(self) -> None:
        circumstances = Circumstances(a_view(node_port_primary=True), SETTINGS)
        assert self.proxy.sync(self.store, self.store.take_dirty(), circumstances, verify=False).error is None

    def change(self, asked: Address, *turns: Callable[[], None]) -> dict[str, int]:
        """How many packets each chain of `COUNTING` saw while these took turns."""
        process.run(["nft", "-f", "-"], stdin=COUNTING % {"asked": asked})
        self.sync()
        with new_flows(asked):
            for _, turn in zip(range(CHANGES), cycle(turns), strict=False):
                turn()
                self.sync()
        seen = process.run(["nft", "list", "table", "ip", "seen"])
        counted = re.findall(r"chain (\w+) .*?counter packets (\d+)", seen, re.DOTALL)
        return {chain: int(packets) for chain, packets in counted}


@pytest.fixture
def node() -> Iterator[Node]:
    with fresh_namespace() as name, inside(name):
        yield Node()


@contextmanager
def new_flows(asked: Address) -> Iterator[None]:
    command = [*DIES_WITH_ITS_PARENT, sys.executable, "-c", NEW_FLOWS, asked]
    with Popen(command, stderr=PIPE) as sender:
        try:
            yield
            assert sender.poll() is None
        finally:
            sender.kill()


@pytest.mark.long
@pytest.mark.parametrize("affinity_s", [None, 60], ids=["by-maps", "affinity"])
def test_no_packet_misses_its_service_while_endpoints_come_and_go(node: Node, affinity_s: int | None) -> None:
    """The Service's verdict leads to another chain each time, which is new; with affinity it has chains that change."""
    node.serve(affinity_timeout_s=affinity_s)
    node.endpoints(3)
    counted = node.change(CLUSTER_IP, partial(node.endpoints, 4), partial(node.endpoints, 3))
    assert counted["rewritten"] > 100 * CHANGES
    assert counted["unrewritten"] == 0


def test_no_packet_misses_its_service_while_it_moves_between_chains_of_others(node: Node) -> None:
    """No rule changes, so all of it goes by netlink, which is quicker than some packets are."""
    for count in (3, 4):
        node.serve(f"other-{count}", Address(f"10.96.0.{20 + count}"))
        node.endpoints(count, f"other-{count}")
    node.serve()
    node.endpoints(3)
    counted = node.change(CLUSTER_IP, partial(node.endpoints, 4), partial(node.endpoints, 3))
    assert counted["rewritten"] > 10 * CHANGES
    assert counted["unrewritten"] == 0


def test_no_packet_misses_its_service_while_a_new_agent_writes_all_again(node: Node) -> None:
    node.serve()
    node.endpoints(3)
    counted = node.change(CLUSTER_IP, node.restart)
    assert counted["rewritten"] > 100 * CHANGES
    assert counted["unrewritten"] == 0


def test_no_packet_leaves_as_it_came_while_a_service_gains_its_first_endpoint(node: Node) -> None:
    """It is refused, or sent to an endpoint."""
    node.serve(external_ips=(EXTERNAL_IP,))
    counted = node.change(EXTERNAL_IP, partial(node.endpoints, 2), partial(node.endpoints, 0))
    assert min(counted["rewritten"], counted["unrewritten"]) > 0
    assert counted["gone"] == 0


def test_no_packet_evades_the_source_ranges_of_a_service_that_comes_or_goes(node: Node) -> None:
    """It is dropped, or left as it came where the Service is none; another Service has what leads to endpoints there."""
    node.serve("other", Address("10.96.0.11"), external_ips=(Address("203.0.113.11"),))
    for name in ("web", "other"):
        node.endpoints(2, name)
    come = partial(
        node.serve,
        type=ServiceType.LOAD_BALANCER,
        load_balancer_vips=(EXTERNAL_IP,),
        source_ranges=(Network("192.0.2.0/24"),),
    )
    go = partial(node.store.apply, Deleted(Kind.SERVICE, WEB))
    counted = node.change(EXTERNAL_IP, come, go)
    assert counted["asking"] > counted["gone"] > 0
    assert counted["rewritten"] == 0
