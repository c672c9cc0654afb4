"""Random changes without an end to one node's tables, which must then be those of a node that knows only the last state."""

import os
import random
from collections.abc import Callable

import pytest

from facts import CLUSTER_CIDRS, a_service, a_slice, a_view, an_endpoint
from kproxy import process
from kproxy.agent.nftables_proxy import NftablesProxy
from kproxy.kernel.programs.nft import NftTable
from kproxy.model.settings import Settings
from kproxy.observed.nftables import Commits
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import (
    EndpointPort,
    EndpointSlice,
    Kind,
    Service,
    ServicePort,
    ServiceType,
)
from kproxy.state.store import Store
from kproxy.transaction.nftables.whole import whole_table
from kproxy.values import Address, Family, Network, Protocol
from namespaces import fresh_namespace, inside
from nftlisting import listing
from scenarios import RENDER
from seeds import DRAWN_SEED, FIXED_SEED

pytestmark = [pytest.mark.netns, pytest.mark.timeout(1800)]

CHANGES = int(os.environ.get("KPROXY_CHURN", "150"))
SERVICES = 25
MOST_ENDPOINTS = 5
SETTINGS = tuple(
    Settings(
        cluster_cidrs=CLUSTER_CIDRS,
        is_nftables=True,
        node_port_primary=primary,
        localhost_node_ports=False,
        masquerade_all=masquerade_all,
    )
    for primary, masquerade_all in ((True, False), (False, False), (True, True))
)
WRITTEN = {
    Family.IPV4: ("10.96.0.{}", "203.0.113.{}", "192.0.2.{}", "10.128.{}.{}", "198.51.{}.0/24"),
    Family.IPV6: (
        "fd00:10:96::{}",
        "2001:db8:ee::{}",
        "2001:db8:1b::{}",
        "fd00:10:128:{}::{}",
        "2001:db8:{}::/48",
    ),
}
"""Cluster IPs, external IPs, load balancers, pods and clients of each family."""


def a_change(draw: random.Random) -> Changed | Deleted:
    """To one Service of some, or to one of the slices that it may have."""
    number = draw.randrange(SERVICES)
    is_service, is_gone = draw.random() < 0.4, draw.random() < 0.25
    if is_service:
        service = random_service(draw, number)
        return Deleted(Kind.SERVICE, service.key) if is_gone else Changed(service)
    piece = random_slice(draw, f"s{number}", draw.choice([*Family]))
    return Deleted(Kind.ENDPOINT_SLICE, piece.key) if is_gone else Changed(piece)


def random_service(draw: random.Random, number: int) -> Service:
    """Its addresses are its own, but for an external IP that it may share."""
    families = draw.choice([(Family.IPV4,), (Family.IPV6,), tuple(Family)])
    type_ = draw.choice([*ServiceType])
    has_node_ports = type_ is not ServiceType.CLUSTER_IP
    ports = tuple(
        ServicePort(protocol.lower(), protocol, 80, 30000 + number if has_node_ports else 0)
        for protocol in draw.sample([*Protocol], draw.randint(1, 2))
    )

    def some(form: int, *numbers: int) -> tuple[str, ...]:
        chosen = [WRITTEN[family][form].format(each) for family in families for each in numbers]
        return tuple(draw.sample(chosen, draw.randint(0, len(chosen))))

    is_balanced = type_ is ServiceType.LOAD_BALANCER
    return a_service(
        f"s{number}",
        type=type_,
        ports=ports,
        cluster_ips=tuple(Address(WRITTEN[family][0].format(10 + number)) for family in families),
        external_ips=tuple(map(Address, some(1, 10 + number, 99))),
        load_balancer_vips=tuple(map(Address, some(2, 10 + number))) if is_balanced else (),
        source_ranges=tuple(map(Network, some(4, 100, 101))) if is_balanced else (),
        internal_policy_local=draw.random() < 0.3,
        external_policy_local=draw.random() < 0.5,
        affinity_timeout_s=draw.choice([None, None, 60, 10800]),
    )


def random_slice(draw: random.Random, service: str, family: Family) -> EndpointSlice:
    """One of the two slices that the Service may have in a family."""
    endpoints = []
    for number in draw.sample(range(2 * MOST_ENDPOINTS), draw.randint(0, MOST_ENDPOINTS)):
        is_here, is_ready = number % 2 == 0, draw.random() < 0.8
        endpoints.append(
            an_endpoint(
                WRITTEN[family][3].format(1 if is_here else 2, number + 1),
                "node-1" if is_here else "node-2",
                ready=is_ready,
                serving=is_ready or draw.random() < 0.5,
                terminating=not is_ready,
            )
        )
    return a_slice(
        *endpoints,
        name=f"{service}-{family.lower()}-{draw.choice('ab')}",
        service=service,
        family=family,
        ports=tuple(EndpointPort(protocol.lower(), protocol, 8080) for protocol in Protocol),
    )


def circumstances(settings: Settings, family: Family) -> Circumstances:
    return Circumstances(a_view(family, node_port_primary=settings.node_port_primary), settings)


@pytest.mark.parametrize("seed", [FIXED_SEED, DRAWN_SEED], ids=["fixed", "drawn"])
def test_endless_changes_leave_nothing_behind(seed: int, tell: Callable[[str], None]) -> None:
    """`KPROXY_CHURN=3000` makes so many; sometimes several come at once, or what all rules depend on changes too."""
    draw, store, settings, ours = random.Random(seed), Store(), SETTINGS[0], Commits()
    proxies = [NftablesProxy(NftTable(family), RENDER, ours) for family in Family]
    syncs = made = 0
    with fresh_namespace() as name, inside(name):
        while made < CHANGES:
            for _ in range(draw.choice([1, 1, 1, 2, 5])):
                store.apply(a_change(draw))
                made += 1
            if draw.random() < 0.02:
                settings = draw.choice(SETTINGS)
            if draw.random() < 0.1:
                process.run(["nft", "add table inet other"])  # what others change has our tables looked at
            dirty, verify = store.take_dirty(), draw.random() < 0.1
            for proxy in proxies:
                report = proxy.sync(store, dirty, circumstances(settings, proxy.family), verify=verify)
                assert (None, 0) == (report.error, report.drifted)
            syncs += 1
        left = {family: listing(family) for family in Family}
    with fresh_namespace() as name, inside(name):
        for family in Family:
            table = DesiredTable(RENDER, circumstances(settings, family))
            table.update(store, store.services, circumstances(settings, family))
            NftTable(family).apply(whole_table(family, table.blocks, table.contents()).runs[0])
            assert listing(family) == left[family]
    held = [len(left[family]) for family in Family]
    tell(
        f"nftables, seed {seed}: {made} changes in {syncs} syncs, {sum(held)} chains, sets and maps left, as in fresh tables"
    )
