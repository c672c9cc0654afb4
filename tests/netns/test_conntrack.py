"""Stale UDP flows, in a real conntrack table: which go, which stay, and what it costs among many others."""

import resource
import time
from collections.abc import Callable, Collection, Iterator

import pytest

from conntracked import TCP, Seen, put_flows
from facts import NODE, a_node, a_service, a_slice, an_endpoint
from kproxy import process
from kproxy.agent.observers import udp_flows as flows
from kproxy.agent.observers.observer import SyncOutcome
from kproxy.agent.observers.udp_flows import FlowCleaner
from kproxy.agent.proxy import SyncReport
from kproxy.errors import KproxyError
from kproxy.kernel.netlink.conntrack import UdpFlows
from kproxy.kernel.node.addresses import local_addresses
from kproxy.model.node import view_node
from kproxy.model.settings import Settings
from kproxy.model.udp import Frontend
from kproxy.state.events import Changed, Deleted, Event
from kproxy.state.objects import EndpointPort, Kind, ServicePort
from kproxy.state.store import Store
from kproxy.values import Address, Family, NamespacedName, Protocol
from namespaces import fresh_namespace, inside

pytestmark = pytest.mark.netns

BOUND_S = 10.0
DNS = NamespacedName("default", "dns")
ADDRESSES = {
    Family.IPV4: ("10.96.0.10", "10.128.1.{}", "10.199.0.2", "10.200.0.9"),
    Family.IPV6: ("fd00:96::10", "fd00:128::{}", "fd00:199::2", "fd00:200::9"),
}


@pytest.fixture
def here() -> Iterator[None]:
    with fresh_namespace() as name, inside(name):
        for address in ("10.199.0.2/24", "fd00:199::2/64"):
            process.run(["ip", "address", "add", address, "dev", "lo"])
        process.run(
            ["iptables-nft", "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW"]
        )  # conntrack in use
        yield


class Cleaner:
    """A FlowCleaner in this thread, fed with syncs that succeed."""

    def __init__(
        self, family: Family, read_addresses: Callable[[], tuple[Address, ...]] = local_addresses
    ) -> None:
        self.family = family
        self.removed = 0
        self.took_s = 0.0
        self._store = Store()
        self._cleaner = FlowCleaner(self._reconciled, read_addresses)

    def _reconciled(self, _family: Family, took_s: float, removed: int) -> None:
        self.took_s, self.removed = took_s, self.removed + removed

    def sync(self, *events: Event, succeeded: bool = True) -> None:
        self.hand_over(*events, succeeded=succeeded)
        while self._cleaner.has_work:
            self._cleaner.work()

    def hand_over(self, *events: Event, succeeded: bool = True) -> None:
        for event in events:
            self._store.apply(event)
        view = view_node(NODE, a_node(), (), Settings(), self.family)
        report = SyncReport(1, 0, 0, 0, 0.0, 0.0)
        outcome = SyncOutcome(view, report if succeeded else None, verified=True)
        self._cleaner.synced(self._store, self._store.take_dirty(), {self.family: outcome})


def dns(family: Family, *, node_port: int = 0, **fields: object) -> Changed:
    ports = (ServicePort("", Protocol.UDP, 53, node_port),)
    return Changed(a_service("dns", cluster_ips=(Address(ADDRESSES[family][0]),), ports=ports, **fields))


def endpoints(family: Family, *numbers: int, port: int = 5353, down: Collection[int] = ()) -> Changed:
    members = [
        an_endpoint(ADDRESSES[family][1].format(number), ready=number not in down, serving=number not in down)
        for number in numbers
    ]
    ports = (EndpointPort("", Protocol.UDP, port),)
    return Changed(a_slice(*members, name="dns-a", service="dns", ports=ports, family=family))


def flow(
    family: Family,
    number: int | None,
    *,
    to: tuple[str, int] | None = None,
    port: int = 5353,
    client: int = 4000,
) -> Seen:
    """From one client to the Service, or elsewhere, answered by an endpoint, or by whom it was sent to."""
    service, endpoint, _, outside = ADDRESSES[family]
    sent_to = to or (service, 53)
    return Seen((outside, client), sent_to, sent_to if number is None else (endpoint.format(number), port))


def left(family: Family) -> set[tuple[str, int, str, int]]:
    """Destination and answerer of each UDP flow, as the conntrack tool lists them."""
    listed = process.run(["conntrack", "-L", "-p", "udp", "-f", family.lower()])
    found = set()
    for line in listed.splitlines():
        words = [word.partition("=")[::2] for word in line.split() if "=" in word]
        dst = next(value for name, value in words if name == "dst")
        dport = next(value for name, value in words if name == "dport")
        src = [value for name, value in words if name == "src"][1]
        sport = [value for name, value in words if name == "sport"][1]
        found.add((dst, int(dport), src, int(sport)))
    return found


def as_left(seen: Seen) -> tuple[str, int, str, int]:
    return (*seen.to, *seen.by)


@pytest.fixture(params=list(Family))
def family(request: pytest.FixtureRequest) -> Family:
    return Family(request.param)


def test_flow_whose_endpoint_went_is_removed_and_others_stay(here: None, family: Family) -> None:
    cleaner = Cleaner(family)
    cleaner.sync(dns(family), endpoints(family, 1, 2))
    stale, kept = flow(family, 1), flow(family, 2, client=4001)
    other = flow(family, 1, to=(ADDRESSES[family][3], 53), client=4002)
    put_flows([stale, kept, other])
    cleaner.sync(endpoints(family, 2, 3))
    assert {as_left(kept), as_left(other)} == left(family)
    assert 1 == cleaner.removed


def test_flow_whose_endpoint_serves_no_longer_is_removed(here: None, family: Family) -> None:
    cleaner = Cleaner(family)
    cleaner.sync(dns(family), endpoints(family, 1, 2))
    put_flows([flow(family, 1)])
    cleaner.sync(endpoints(family, 1, 2, down=[1]))
    assert set() == left(family)


def test_flow_through_this_node_to_the_port_of_another_is_not_ours(here: None, family: Family) -> None:
    here_address, outside = ADDRESSES[family][2:]
    cleaner = Cleaner(family)
    cleaner.sync(dns(family, node_port=30053), endpoints(family, 1))
    through = flow(family, None, to=(outside, 30053), client=4001)
    put_flows([flow(family, 1, to=(here_address, 30053)), through])
    cleaner.sync(endpoints(family, 2))
    assert {as_left(through)} == left(family)


def test_endpoint_that_moves_to_another_port_is_another_endpoint(here: None, family: Family) -> None:
    cleaner = Cleaner(family)
    cleaner.sync(dns(family), endpoints(family, 1))
    put_flows([flow(family, 1)])
    cleaner.sync(endpoints(family, 1, port=5300))
    assert set() == left(family)


@pytest.mark.parametrize("is_listed", [True, False], ids=["serves no longer", "is gone"])
def test_flow_whose_last_endpoint_went_is_removed_and_what_was_never_rewritten_stays(
    here: None, family: Family, is_listed: bool
) -> None:
    cleaner = Cleaner(family)
    cleaner.sync(dns(family), endpoints(family, 1))
    unrewritten = flow(family, None, client=4001)
    put_flows([flow(family, 1), unrewritten])
    cleaner.sync(endpoints(family, 1, down=[1]) if is_listed else endpoints(family))
    assert {as_left(unrewritten)} == left(family)
    assert 1 == cleaner.removed


def test_flow_to_a_node_port_whose_last_endpoint_went_is_removed(here: None, family: Family) -> None:
    here_address, outside = ADDRESSES[family][2:]
    cleaner = Cleaner(family)
    cleaner.sync(dns(family, node_port=30053), endpoints(family, 1))
    through = flow(family, 1, to=(outside, 30053), client=4001)
    put_flows([flow(family, 1, to=(here_address, 30053)), through])
    cleaner.sync(endpoints(family))
    assert {as_left(through)} == left(family)


def test_flow_of_an_endpoint_listed_twice_stays_while_one_copy_is_not_terminating(
    here: None, family: Family
) -> None:
    cleaner = Cleaner(family)
    cleaner.sync(dns(family), endpoints(family, 1))
    seen = flow(family, 1)
    put_flows([seen])
    address = ADDRESSES[family][1].format(1)
    dead = an_endpoint(address, ready=False, serving=False, terminating=True)
    ports = (EndpointPort("", Protocol.UDP, 5353),)
    for copies in ((dead, an_endpoint(address, "node-2")), (an_endpoint(address, "node-2"), dead)):
        cleaner.sync(Changed(a_slice(*copies, name="dns-a", service="dns", ports=ports, family=family)))
        assert {as_left(seen)} == left(family)
    cleaner.sync(Changed(a_slice(dead, name="dns-a", service="dns", ports=ports, family=family)))
    assert set() == left(family)


def test_flow_that_was_never_rewritten_goes_once_somebody_serves(here: None, family: Family) -> None:
    cleaner = Cleaner(family)
    cleaner.sync(dns(family))
    put_flows([flow(family, None)])
    cleaner.sync(endpoints(family, 1))
    assert set() == left(family)


def test_flows_of_a_deleted_service_go_and_what_was_never_rewritten_stays(here: None, family: Family) -> None:
    cleaner = Cleaner(family)
    cleaner.sync(dns(family), endpoints(family, 1))
    unrewritten = flow(family, None, client=4001)
    put_flows([flow(family, 1), unrewritten])
    cleaner.sync(Deleted(Kind.SERVICE, DNS))
    assert {as_left(unrewritten)} == left(family)


def test_flows_to_a_node_port_that_moved_go_but_not_those_through_this_node(
    here: None, family: Family
) -> None:
    here_address, outside = ADDRESSES[family][2:]
    cleaner = Cleaner(family)
    cleaner.sync(dns(family, node_port=30053), endpoints(family, 1))
    stale = flow(family, 1, to=(here_address, 30053))
    through = flow(family, None, to=(outside, 30053), client=4001)
    kept = flow(family, 1, client=4002)
    put_flows([stale, through, kept])
    cleaner.sync(dns(family, node_port=30054))
    assert {as_left(through), as_left(kept)} == left(family)


def test_restart_without_a_change_removes_nothing(here: None, family: Family) -> None:
    here_address = ADDRESSES[family][2]
    seen = [flow(family, 1), flow(family, 2, to=(here_address, 30053), client=4001)]
    put_flows(seen)
    cleaner = Cleaner(family)
    cleaner.sync(dns(family, node_port=30053), endpoints(family, 1, 2))
    assert set(map(as_left, seen)) == left(family)


def test_restart_removes_what_became_stale_meanwhile(here: None, family: Family) -> None:
    put_flows([flow(family, 1)])
    Cleaner(family).sync(dns(family), endpoints(family, 2))
    assert set() == left(family)


def test_nothing_goes_before_the_rules_are_in_force(here: None, family: Family) -> None:
    cleaner = Cleaner(family)
    cleaner.sync(dns(family), endpoints(family, 1))
    seen = flow(family, 1)
    put_flows([seen])
    cleaner.sync(endpoints(family, 2), succeeded=False)
    assert {as_left(seen)} == left(family)
    cleaner.sync()
    assert set() == left(family)


def test_changes_that_wait_are_not_replaced_by_those_of_others(here: None) -> None:
    cleaner = Cleaner(Family.IPV4)
    cleaner.sync(dns(Family.IPV4), endpoints(Family.IPV4, 1))
    put_flows([flow(Family.IPV4, 1)])
    cleaner.hand_over(endpoints(Family.IPV4, 2))
    ports = (ServicePort("", Protocol.UDP, 53),)
    cleaner.sync(Changed(a_service("other", cluster_ips=(Address("10.96.0.11"),), ports=ports)))
    assert set() == left(Family.IPV4)


class Addresses:
    """This node's, which cannot be read for the first `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.asked = 0

    def __call__(self) -> tuple[Address, ...]:
        self.asked += 1
        if self.asked <= self.failures:
            raise KproxyError("not now")
        return local_addresses()


@pytest.mark.parametrize(("failures", "asked", "stays"), [(12, 13, False), (99, 13, True)])
def test_what_fails_is_tried_again_for_a_minute(
    here: None, failures: int, asked: int, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "_RETRY_S", 0.0)
    addresses = Addresses(failures)
    seen = flow(Family.IPV4, 1, to=(ADDRESSES[Family.IPV4][2], 30053))
    put_flows([seen])
    Cleaner(Family.IPV4, addresses).sync(dns(Family.IPV4, node_port=30053), endpoints(Family.IPV4, 2))
    assert (asked, stays) == (addresses.asked, as_left(seen) in left(Family.IPV4))


def test_addresses_are_asked_for_only_if_a_node_port_changed(here: None) -> None:
    addresses = Addresses()
    cleaner = Cleaner(Family.IPV4, addresses)
    cleaner.sync(dns(Family.IPV4), endpoints(Family.IPV4, 1))
    assert 0 == addresses.asked
    cleaner.sync(dns(Family.IPV4, node_port=30053))
    assert 1 == addresses.asked


def test_tcp_flows_are_never_touched(here: None) -> None:
    cleaner = Cleaner(Family.IPV4)
    cleaner.sync(dns(Family.IPV4), endpoints(Family.IPV4, 1))
    put_flows([flow(Family.IPV4, 1)._replace(protocol=TCP)])
    cleaner.sync(endpoints(Family.IPV4, 2))
    assert "10.96.0.10" in process.run(["conntrack", "-L", "-p", "tcp"])


@pytest.mark.alone
def test_many_flows_of_others_cost_little(here: None, tell: Callable[[str], None]) -> None:
    count = 200_000
    others = ("10.200.0.9", 53)
    put_flows(
        Seen((f"10.{n // 50_000}.{n // 250 % 200}.{n % 250}", 1024 + n % 60_000), others, others)
        for n in range(count)
    )
    took_s = {}
    for what, number in (("a change", 1), ("a restart", 500)):
        asked = [Frontend(Address(f"10.96.{n // 250}.{n % 250}"), 53) for n in range(number)]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began_at = time.process_time()
        with UdpFlows(Family.IPV4) as udp:
            assert [] == list(udp.to(asked))
        took_s[what] = time.process_time() - began_at
        grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        tell(
            f"{count} UDP flows of others looked through after {what}: {took_s[what]:.2f} s of processor time, "
            f"{grown_mb:.0f} MB"
        )
        assert grown_mb < 10
    assert 3 * took_s["a change"] < took_s["a restart"] < 1.0, "the kernel looks for what changed"
