"""Where packets to each address and port of a Service go: the decisions of a plan as elements of maps.

Service ports with as many endpoints share a chain, and their endpoints a map; what a packet asks for and a number
below the count are the key. So a service port is elements, and a rule of its own is the exception.
"""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from kproxy.model.endpoints import Backend
from kproxy.model.plan import ServicePortPlan, Unserved
from kproxy.ruleset.nftables.table import DROP, NOWHERE, Element, Key, Numbered, Verdict
from kproxy.values import Address

_REFUSE = Verdict("refuse")


class Frontend(Struct, frozen=True, gc=False):
    """An address, protocol and port that a packet can ask for; node ports have no address."""

    address: Address
    protocol: str
    port: int

    @property
    def is_node_port(self) -> bool:
        return not self.address

    @property
    def key(self) -> Key:
        """As the maps that packets ask have it."""
        return Key(NOWHERE, self.address, self.protocol, self.port)


class Picks(NamedTuple):
    """A chain that picks one of `size` endpoints, from the map of all that have as many."""

    is_node_port: bool
    is_local: bool
    size: int

    @property
    def chain(self) -> str:
        return f"{self._prefix}pick-{self.size}"

    @property
    def map(self) -> str:
        return f"{self._prefix}endpoints-{self.size}"

    @property
    def needed(self) -> tuple["Picks", ...]:
        """No other shared chains."""
        return ()

    @property
    def _prefix(self) -> str:
        return ("nodeport-" if self.is_node_port else "") + ("local-" if self.is_local else "")


class Way(Struct, frozen=True, gc=False):
    """A chain that decides on masquerading for all service ports with as many endpoints, then lets one be picked.

    `local_size` counts this node's endpoints where the policy is Local, which keeps the client's address.
    """

    kind: str
    size: int
    local_size: int | None = None

    @property
    def chain(self) -> str:
        name = f"{self.kind}-{self.size}"
        return name if self.local_size is None else f"{name}-local-{self.local_size}"

    @property
    def needed(self) -> tuple[Picks, ...]:
        """The shared chains that it leads to."""
        return (self.picks, self.local_picks) if self.local_picks else (self.picks,)

    @property
    def picks(self) -> Picks:
        return Picks(self.kind == NODE_PORT, is_local=False, size=self.size)

    @property
    def local_picks(self) -> Picks | None:
        """None also where this node has no endpoint."""
        return Picks(self.kind == NODE_PORT, is_local=True, size=self.local_size) if self.local_size else None


INTERNAL, EXTERNAL, NODE_PORT = "internal", "external", "nodeport"


class Served(Struct, frozen=True):
    """The fate of packets to a frontend; each verdict may be None.

    `verdict` leads to the chain of `way`, or to one of the service port's own. `refusal` is for packets that are not
    sent to an endpoint, and `guard` leads to the chain that only lets some clients on. Backends are numbered in their
    order.
    """

    verdict: Verdict | None = None
    way: Way | None = None
    targets: tuple[Backend, ...] = ()
    local_targets: tuple[Backend, ...] = ()
    refusal: Verdict | None = None
    guard: Verdict | None = None


def frontends_of(plan: ServicePortPlan) -> Iterator[tuple[Frontend, Served]]:
    """Each address and port of a service port; an address that it names twice comes twice."""
    protocol = plan.name.protocol.lower()
    yield Frontend(plan.cluster_ip, protocol, plan.port), _internal(plan)
    if not plan.is_externally_accessible:
        return
    external = _external(plan, EXTERNAL)
    for address in plan.external_ips:
        yield Frontend(address, protocol, plan.port), external
    guarded = replace(external, guard=_to_own("firewall", plan)) if plan.is_restricted else external
    for address in plan.load_balancer_vips:
        yield Frontend(address, protocol, plan.port), guarded
    if plan.node_port:
        yield Frontend(NOWHERE, protocol, plan.node_port), _external(plan, NODE_PORT)


def contents_of(frontend: Frontend, served: Served) -> list[Element | Numbered]:
    """All elements that a frontend is."""
    key = frontend.key
    place = "nodeports" if frontend.is_node_port else "ips"
    found: list[Element | Numbered] = []
    if served.verdict:
        found.append(Element(f"service-{place}", key, served.verdict))
    if served.refusal:
        found.append(Element(f"unserved-{place}", key, served.refusal))
    if served.guard:
        found.append(Element("firewall-ips", key, served.guard))
    if served.way:
        targets = served.targets, served.local_targets
        found += [
            Numbered(holder, key, each) for holder, each in zip(_maps(served.way), targets, strict=False)
        ]
    return found


@cache
def _maps(way: Way) -> tuple[str, ...]:
    """Where its endpoints stand, and those of this node. There are no more ways than numbers of endpoints."""
    return tuple(picks.map for picks in way.needed)


def own_chain(kind: str, plan: ServicePortPlan) -> str:
    """The name of a chain of one service port; no two share it, for no name holds a slash."""
    (namespace, name), port, protocol = plan.name
    return f"{kind}/{namespace}/{name}/{protocol.lower()}/{port}"


def _internal(plan: ServicePortPlan) -> Served:
    if plan.internal_unserved:
        return Served(refusal=_refusal(plan.internal_unserved))
    if plan.affinity_timeout_s is not None:
        return Served(_to_own(INTERNAL, plan))
    targets = plan.usable.local if plan.internal_policy_local else plan.usable.cluster
    return replace(_by_way(INTERNAL, len(targets)), targets=targets)


def _external(plan: ServicePortPlan, kind: str) -> Served:
    refusal = _refusal(plan.external_unserved)
    if not plan.has_backends:
        return Served(refusal=refusal)
    if plan.affinity_timeout_s is not None:
        return Served(_to_own(EXTERNAL, plan), refusal=refusal)
    targets = plan.usable.cluster
    if not plan.external_policy_local:
        return replace(_by_way(kind, len(targets)), targets=targets)
    local = plan.usable.local
    by_way = _by_way(kind, len(targets), len(local))
    return replace(by_way, targets=targets, local_targets=local, refusal=refusal)


@cache
def _by_way(kind: str, size: int, local_size: int | None = None) -> Served:
    """Made once for all that take it."""
    way = Way(kind, size, local_size)
    return Served(Verdict(way.chain), way)


def _refusal(unserved: Unserved | None) -> Verdict | None:
    if unserved is None:
        return None
    return _REFUSE if unserved.is_refused else DROP


def _to_own(kind: str, plan: ServicePortPlan) -> Verdict:
    return Verdict(own_chain(kind, plan))
