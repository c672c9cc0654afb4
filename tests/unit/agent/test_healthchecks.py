"""The health-check node ports, asked over loopback: where they are open, and what they answer."""

import socket
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection

import pytest

from facts import NODE, a_service, a_slice, a_view, an_endpoint
from kproxy.agent.family import SyncReport
from kproxy.agent.follower import Outcome
from kproxy.agent.healthchecks import HealthCheckPorts
from kproxy.agent.web import WebServer
from kproxy.model.node import NodeView, view_node
from kproxy.model.settings import Settings
from kproxy.state.events import Changed
from kproxy.state.store import Store
from kproxy.values import Address, Family, Network

LOOPBACK = (Address("127.0.0.1"), Address("127.0.0.2"), Address("::1"))


class Node:
    """A node whose health-check ports follow what the test does to its Service."""

    def __init__(self, web: WebServer, port: int) -> None:
        self.port = port
        self.store = Store()
        self.checks = HealthCheckPorts(web, lambda: True, lambda *_: None)
        self.store.apply(Changed(a_service(health_check_node_port=port)))
        self.store.apply(Changed(a_slice(an_endpoint("10.128.1.1"))))

    def sync(self, nodes: Mapping[Family, NodeView], *, failed: frozenset[Family] = frozenset()) -> None:
        outcomes = {
            family: Outcome(node, None if family in failed else SyncReport(1, 0, 0, 0, 0.0, 0.0), False)
            for family, node in nodes.items()
        }
        self.checks.synced(self.store, self.store.take_dirty(), outcomes)

    def open_at(self) -> set[str]:
        return {address for address in LOOPBACK if self._is_open(address)}

    def _is_open(self, address: str) -> bool:
        connection = HTTPConnection(address, self.port, timeout=10)
        try:
            connection.request("GET", "/")
        except ConnectionRefusedError:
            return False
        else:
            return connection.getresponse().status == 200
        finally:
            connection.close()


@pytest.fixture
def node() -> Iterator[Node]:
    with socket.socket(socket.AF_INET6) as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    web = WebServer()
    web.start()
    yield Node(web, port)
    web.stop()


def narrow_ipv4() -> dict[Family, NodeView]:
    """Node ports where IPv4 has one address for them; that says nothing of IPv6."""
    settings = Settings(node_port_networks=(Network("127.0.0.2/32"),))
    return {family: view_node(NODE, None, LOOPBACK, settings, family) for family in Family}


def test_addresses_of_one_family_leave_the_other_as_it_is(node: Node) -> None:
    node.sync(narrow_ipv4())
    assert {"127.0.0.2", "::1"} == node.open_at()
    node.sync({family: a_view(family) for family in Family})
    assert set(LOOPBACK) == node.open_at()


def test_port_stays_open_in_a_family_that_fails(node: Node) -> None:
    node.sync(narrow_ipv4())
    node.sync(narrow_ipv4(), failed=frozenset({Family.IPV6}))
    assert {"127.0.0.2", "::1"} == node.open_at()


def test_port_is_closed_until_rules_are_in_force(node: Node) -> None:
    node.sync(narrow_ipv4(), failed=frozenset(Family))
    assert set() == node.open_at()
