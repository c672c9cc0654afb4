"""The health-check node ports, asked over loopback: where they are open, and what they answer."""

import socket
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection

import pytest

from facts import NODE, WEB, a_service, a_slice, a_view, an_endpoint
from kproxy.agent.http.listening import Listener
from kproxy.agent.http.page import Answer, Page
from kproxy.agent.http.web import WebServer
from kproxy.agent.observers.health_check_ports import HealthCheckPorts
from kproxy.agent.observers.observer import SyncOutcome
from kproxy.agent.proxy import SyncReport
from kproxy.model.node import NodeView, view_node
from kproxy.model.settings import Settings
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.values import Address, Family, Network

LOOPBACK = (Address("127.0.0.1"), Address("127.0.0.2"), Address("::1"))


class Watched(WebServer):
    """Notes what a client is answered whose request came just before its port was closed, and one just after."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[Listener, Answer] = {}
        self.before: list[int] = []

    def listen(self, address: str, port: int, answer: Answer) -> Listener:
        listener = super().listen(address, port, answer)
        self.answers[listener] = answer
        return listener

    def close(self, listener: Listener) -> None:
        self.before.append(self.status(listener))
        super().close(listener)

    def status(self, listener: Listener) -> int:
        page = self.answers[listener]("/")
        return page.status if isinstance(page, Page) else 404

    def after(self) -> set[int]:
        return {self.status(listener) for listener in self.answers}


class Node:
    """A node whose health-check ports follow what the test does to its Service."""

    def __init__(self, web: Watched, port: int) -> None:
        self.port = port
        self.store = Store()
        self.web = web
        self.checks = HealthCheckPorts(web, lambda: True, lambda *_: None)
        self.store.apply(Changed(a_service(health_check_node_port=port)))
        self.store.apply(Changed(a_slice(an_endpoint("10.128.1.1"))))

    def sync(self, nodes: Mapping[Family, NodeView], *, failed: frozenset[Family] = frozenset()) -> None:
        outcomes = {
            family: SyncOutcome(node, None if family in failed else SyncReport(1, 0, 0, 0, 0.0, 0.0), False)
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
    web = Watched()
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


def test_each_family_is_told_of_its_own_endpoints(node: Node) -> None:
    both = (Address("10.96.0.10"), Address("fd00:10:96::10"))
    node.store.apply(Changed(a_service(health_check_node_port=node.port, cluster_ips=both)))
    node.sync({family: a_view(family) for family in Family})
    assert {"127.0.0.1", "127.0.0.2"} == node.open_at()
    node.store.apply(Changed(a_slice(an_endpoint("fd00:10:128:1::1"), name="web-b")))
    node.store.apply(Changed(a_slice(an_endpoint("10.128.1.1", "node-2"))))
    node.sync({family: a_view(family) for family in Family})
    assert {"::1"} == node.open_at()


def test_port_is_closed_until_rules_are_in_force(node: Node) -> None:
    node.sync(narrow_ipv4(), failed=frozenset(Family))
    assert set() == node.open_at()


def test_port_that_moves_is_answered_for_until_it_is_closed(node: Node) -> None:
    node.sync(narrow_ipv4())
    node.store.apply(Changed(a_service(health_check_node_port=node.port + 1)))
    node.sync(narrow_ipv4())
    assert [200, 200] == node.web.before


def test_request_that_came_before_its_service_went_is_told_that_nobody_serves(node: Node) -> None:
    node.sync(narrow_ipv4())
    node.store.apply(Deleted(Kind.SERVICE, WEB))
    node.sync(narrow_ipv4())
    assert [200, 200] == node.web.before
    assert {503} == node.web.after()
