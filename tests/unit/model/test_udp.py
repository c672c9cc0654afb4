"""Which UDP frontends change, and whose endpoints may keep their flows."""

from facts import a_service, a_slice, an_endpoint
from kproxy.model.udp import Frontend, Target, UdpFrontends, is_stale
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import EndpointPort, Kind, ServicePort
from kproxy.state.store import Store
from kproxy.values import Address, Family, NamespacedName, Protocol

UDP = (ServicePort("", Protocol.UDP, 53),)
SHARED = Frontend(Address("203.0.113.5"), 53)
HERE, THERE = Target(Address("10.128.1.5"), 5353), Target(Address("10.128.1.6"), 5353)


def changed(store: Store, frontends: UdpFrontends) -> dict[Frontend, object]:
    return dict(frontends.update(store, store.take_dirty()))


def put(store: Store, name: str, target: Target, cluster_ip: str) -> None:
    store.apply(
        Changed(
            a_service(
                name,
                ports=UDP,
                cluster_ips=(Address(cluster_ip),),
                external_ips=(Address(SHARED.address or ""),),
            )
        )
    )
    ports = (EndpointPort("", Protocol.UDP, target.port),)
    store.apply(Changed(a_slice(an_endpoint(target.address), name=f"{name}-a", service=name, ports=ports)))


def test_services_that_share_an_address_keep_each_others_flows() -> None:
    store, frontends = Store(), UdpFrontends(Family.IPV4)
    put(store, "one", HERE, "10.96.0.1")
    put(store, "two", THERE, "10.96.0.2")
    assert frozenset({HERE, THERE}) == changed(store, frontends)[SHARED]
    store.apply(Deleted(Kind.SERVICE, NamespacedName("default", "one")))
    assert {Frontend(Address("10.96.0.1"), 53): frozenset(), SHARED: frozenset({THERE})} == changed(
        store, frontends
    )


def test_nothing_changes_with_tcp_services_and_other_families() -> None:
    store, frontends = Store(), UdpFrontends(Family.IPV6)
    put(store, "one", HERE, "10.96.0.1")
    store.apply(Changed(a_service("web", cluster_ips=(Address("fd00::1"),))))
    assert {} == changed(store, frontends)


def test_endpoint_keeps_its_flows_as_long_as_it_serves() -> None:
    store, frontends = Store(), UdpFrontends(Family.IPV4)
    put(store, "one", HERE, "10.96.0.1")
    leaving = an_endpoint(HERE.address, ready=False, terminating=True)
    gone = an_endpoint(THERE.address, ready=False, serving=False, terminating=True)
    ports = (EndpointPort("", Protocol.UDP, HERE.port),)
    store.apply(Changed(a_slice(leaving, gone, name="one-a", service="one", ports=ports)))
    assert frozenset({HERE}) == changed(store, frontends)[SHARED]


def test_same_endpoints_in_another_order_are_no_change() -> None:
    store, frontends = Store(), UdpFrontends(Family.IPV4)
    put(store, "one", HERE, "10.96.0.1")
    changed(store, frontends)
    assert {} == dict(frontends.update(store, {NamespacedName("default", "one")}))


def test_flow_is_stale_by_who_serves() -> None:
    frontend = Target(Address("10.96.0.1"), 53)
    assert is_stale(frontend, HERE, frozenset({THERE}))
    assert not is_stale(frontend, HERE, frozenset({HERE, THERE}))
    assert is_stale(frontend, frontend, frozenset({HERE}))
    assert is_stale(frontend, HERE, frozenset())
    assert not is_stale(frontend, frontend, frozenset())


def test_flow_of_an_address_listed_twice_goes_on_as_long_as_the_copy_that_decides_serves() -> None:
    store, frontends = Store(), UdpFrontends(Family.IPV4)
    put(store, "one", HERE, "10.96.0.1")
    put(store, "two", THERE, "10.96.0.2")
    ports = (EndpointPort("", Protocol.UDP, HERE.port),)
    starting = an_endpoint(HERE.address, ready=False, serving=False)
    running, leaving, gone = (
        an_endpoint(THERE.address),
        an_endpoint(HERE.address, ready=False, terminating=True),
        an_endpoint(THERE.address, ready=False, serving=False, terminating=True),
    )
    for name, copies in (("one", (leaving, starting)), ("two", (running, gone))):
        store.apply(Changed(a_slice(*copies, name=f"{name}-a", service=name, ports=ports)))
    told = changed(store, frontends)
    assert frozenset() == told[Frontend(Address("10.96.0.1"), 53)]
    assert frozenset({THERE}) == told[Frontend(Address("10.96.0.2"), 53)]


def test_external_ip_that_is_switched_off_is_no_frontend() -> None:
    store, frontends = Store(), UdpFrontends(Family.IPV4)
    put(store, "one", HERE, "10.96.0.1")
    told = frontends.update(store, store.take_dirty(), serves_external_ips=False)
    assert {Frontend(Address("10.96.0.1"), 53): frozenset({HERE})} == dict(told)
