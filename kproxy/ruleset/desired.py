"""The chains one family should have on this node, kept up to date Service by Service."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kproxy.model.node import NodeView
from kproxy.model.plan import ServicePortPlan, plan_service
from kproxy.model.settings import Settings
from kproxy.ruleset.chains import Chain, Ruleset
from kproxy.ruleset.iptables import Render, dispatch_chain, node_chains, service_port_chains
from kproxy.ruleset.tree import FLAT, DispatchTree, Layout
from kproxy.state.store import Store
from kproxy.values import NamespacedName, Network

DISPATCH = frozenset(
    {
        Chain("filter", "KUBE-SERVICES"),
        Chain("filter", "KUBE-EXTERNAL-SERVICES"),
        Chain("filter", "KUBE-PROXY-FIREWALL"),
        Chain("filter", "KUBE-NODEPORTS"),
        Chain("nat", "KUBE-NODEPORTS"),
        Chain("nat", "KUBE-SERVICES"),
    }
)
"""The chains to which every Service may add lines."""

LARGE_CLUSTER_ENDPOINTS = 1000
"""Above this number of endpoints kube-proxy leaves comments out of the per-endpoint rules."""


_BATCH = 10


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What all rules depend on; when it changes, every Service is looked at again."""

    node: NodeView
    settings: Settings
    layout: Layout = FLAT
    service_networks: tuple[Network, ...] = ()
    """Where cluster IPs are from, in nftables mode, which drops what is sent to those that no Service holds."""


class _Contribution(NamedTuple):
    """What one Service adds: chains of its own, lines in the dispatch chains, and to the numbers."""

    chains: tuple[Chain, ...]
    dispatched: dict[Chain, str]
    service_ports: int
    endpoints: int


_NOTHING = _Contribution((), {}, 0, 0)

_Plans = tuple[ServicePortPlan, ...]


class DesiredRuleset:
    """The complete ruleset of one family: `chains` holds ours, `jumps` what built-in chains need.

    The result depends on the newest state alone, not on the way there: Services stand in the
    dispatch chains in name order. `service_ports` and `endpoints` count what it was made of.
    """

    def __init__(self, render: Render) -> None:
        self._render = render
        self._circumstances: Circumstances | None = None
        self._comments = True
        self._contributions: dict[NamespacedName, _Contribution] = {}
        self._node: dict[Chain, str] = {}
        self._trees: dict[Chain, DispatchTree] = {}
        self.chains: dict[Chain, str] = {}
        self.jumps: Ruleset = {}
        self.service_ports = 0
        self.endpoints = 0

    def update(
        self, store: Store, dirty: Iterable[NamespacedName], circumstances: Circumstances
    ) -> set[Chain]:
        """Take in what changed: the Services named, or all of them if the circumstances did.

        Answers with the chains that are new, written anew or gone; one whose text is as before may be among them.
        """
        return set().union(*self.update_in_parts(store, dirty, circumstances))

    def update_in_parts(
        self, store: Store, dirty: Iterable[NamespacedName], circumstances: Circumstances
    ) -> Iterator[set[Chain]]:
        """The same, some Services at a time: the chains of their own are complete then, the dispatch chains in the last part.

        If not all parts are taken, the next update begins anew, with all Services.
        """
        before, self._circumstances = self._circumstances, None
        if circumstances != before:
            gone = {*self.chains}
            self._enter_node(circumstances)
            yield gone | self.chains.keys()
            dirty = store.services
        plans = {key: self._plan(store, key, circumstances.node) for key in dirty}
        comments = self._count(plans) <= LARGE_CLUSTER_ENDPOINTS
        if comments is not self._comments:
            others = store.services.keys() - plans
            plans.update((key, self._plan(store, key, circumstances.node)) for key in others)
        for keys in _batches(sorted(plans)):
            changed: set[Chain] = set()
            for key in keys:
                changed |= self._replace(
                    key, plans[key], self._compile(plans[key], circumstances, comments=comments)
                )
            yield changed
        yield set().union(*(self._redispatch(root) for root in DISPATCH))
        self._circumstances, self._comments = circumstances, comments

    def _enter_node(self, circumstances: Circumstances) -> None:
        chains = node_chains(circumstances.node, circumstances.settings, self._render)
        self.jumps = {chain: rules for chain, rules in chains.items() if chain.is_built_in}
        self._node = {chain: rules for chain, rules in chains.items() if not chain.is_built_in}
        self.service_ports = self.endpoints = 0
        self._contributions.clear()
        self._trees = {
            chain: DispatchTree(chain.name, circumstances.node.family, circumstances.layout)
            for chain in DISPATCH
        }
        self.chains = dict(self._node)

    @staticmethod
    def _plan(store: Store, key: NamespacedName, node: NodeView) -> _Plans:
        service = store.services.get(key)
        return plan_service(service, store.slices_of(key), node) if service else ()

    def _count(self, plans: Mapping[NamespacedName, _Plans]) -> int:
        """How many endpoints there are with these plans."""
        gone = sum(self._contributions.get(key, _NOTHING).endpoints for key in plans)
        return self.endpoints - gone + sum(_endpoints(each) for each in plans.values())

    def _replace(self, key: NamespacedName, plans: _Plans, compiled: dict[Chain, str]) -> set[Chain]:
        """What the Service adds is `compiled` from now on; the chains of its own that this changes."""
        old = self._contributions.pop(key, _NOTHING)
        new = _Contribution(
            tuple(chain for chain in compiled if chain not in DISPATCH),
            {chain: rules for chain, rules in compiled.items() if chain in DISPATCH},
            len(plans),
            _endpoints(plans),
        )
        if plans:
            self._contributions[key] = new
        self.service_ports += new.service_ports - old.service_ports
        self.endpoints += new.endpoints - old.endpoints
        gone = set(old.chains).difference(new.chains)
        for chain in gone:
            del self.chains[chain]
        written = {
            chain: compiled[chain] for chain in new.chains if self.chains.get(chain) != compiled[chain]
        }
        self.chains |= written
        for chain in DISPATCH:
            before, after = old.dispatched.get(chain, ""), new.dispatched.get(chain, "")
            if before != after:
                self._trees[chain].replace(key, before, after)
        return gone | written.keys()

    def _compile(self, plans: _Plans, circumstances: Circumstances, *, comments: bool) -> dict[Chain, str]:
        merged: dict[Chain, str] = {}
        for plan in plans:
            chains = service_port_chains(
                plan,
                circumstances.node,
                circumstances.settings,
                circumstances.layout,
                self._render,
                comments=comments,
            )
            for chain, rules in chains.items():
                merged[chain] = merged.get(chain, "") + rules
        return merged

    def _redispatch(self, root: Chain) -> set[Chain]:
        changed: set[Chain] = set()
        for name, part in self._trees[root].changes().items():
            chain = Chain(root.table, name)
            changed.add(chain)
            if part is None:
                self.chains.pop(chain, None)
            else:
                self.chains[chain] = dispatch_chain(part, self._render) + self._node.get(chain, "")
        return changed


def _batches(keys: Sequence[NamespacedName]) -> Iterator[Sequence[NamespacedName]]:
    return (keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH))


def _endpoints(plans: _Plans) -> int:
    return sum(plan.endpoint_count for plan in plans)
