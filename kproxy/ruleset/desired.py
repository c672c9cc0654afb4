"""The chains one family should have on this node, kept up to date Service by Service."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from kproxy.model.node import NodeView
from kproxy.model.plan import ServicePortPlan, plan_service
from kproxy.model.settings import Settings
from kproxy.ruleset.chains import Chain, Ruleset
from kproxy.ruleset.iptables import Render, dispatch_chain, node_chains, service_port_chains
from kproxy.ruleset.tree import FLAT, DispatchTree, Layout
from kproxy.state.store import Store
from kproxy.values import NamespacedName

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


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What all rules depend on; when it changes, every Service is looked at again."""

    node: NodeView
    settings: Settings
    layout: Layout = FLAT


class _Contribution(NamedTuple):
    """What one Service adds: chains of its own, and lines in the dispatch chains."""

    chains: tuple[Chain, ...]
    dispatched: dict[Chain, str]


_NOTHING = _Contribution((), {})


class DesiredRuleset:
    """The complete ruleset of one family: `chains` holds ours, `jumps` what built-in chains need.

    The result depends on the newest state alone, not on the way there: Services stand in the
    dispatch chains in name order.
    """

    def __init__(self, render: Render) -> None:
        self._render = render
        self._circumstances: Circumstances | None = None
        self._comments = True
        self._plans: dict[NamespacedName, tuple[ServicePortPlan, ...]] = {}
        self._contributions: dict[NamespacedName, _Contribution] = {}
        self._node: dict[Chain, str] = {}
        self._trees: dict[Chain, DispatchTree] = {}
        self._endpoints = 0
        self.chains: dict[Chain, str] = {}
        self.jumps: Ruleset = {}

    @property
    def plans(self) -> Iterable[ServicePortPlan]:
        return (plan for plans in self._plans.values() for plan in plans)

    def update(self, store: Store, dirty: Iterable[NamespacedName], circumstances: Circumstances) -> None:
        """Take in what changed: the Services named, or all of them if the circumstances did."""
        if circumstances != self._circumstances:
            self._circumstances = circumstances
            self._enter_node(circumstances)
            dirty = {*store.services, *self._plans}
        replanned = {key for key in dirty if self._replan(store, key, circumstances.node)}
        comments = self._endpoints <= LARGE_CLUSTER_ENDPOINTS
        if comments is not self._comments:
            self._comments = comments
            replanned |= self._plans.keys()
        self._recompile(replanned, circumstances)

    def _enter_node(self, circumstances: Circumstances) -> None:
        chains = node_chains(circumstances.node, circumstances.settings, self._render)
        self.jumps = {chain: rules for chain, rules in chains.items() if chain.is_built_in}
        self._node = {chain: rules for chain, rules in chains.items() if not chain.is_built_in}
        self._plans.clear()
        self._endpoints = 0
        self._contributions.clear()
        self._trees = {
            chain: DispatchTree(chain.name, circumstances.node.family, circumstances.layout)
            for chain in DISPATCH
        }
        self.chains = dict(self._node)

    def _replan(self, store: Store, key: NamespacedName, node: NodeView) -> bool:
        service = store.services.get(key)
        plans = plan_service(service, store.slices_of(key), node) if service else ()
        known = self._plans.get(key, ())
        self._endpoints += sum(plan.endpoint_count for plan in plans)
        self._endpoints -= sum(plan.endpoint_count for plan in known)
        if plans:
            self._plans[key] = plans
        else:
            self._plans.pop(key, None)
        return plans != known

    def _recompile(self, keys: Iterable[NamespacedName], circumstances: Circumstances) -> None:
        touched: set[Chain] = set()
        for key in sorted(keys):
            old = self._contributions.pop(key, _NOTHING)
            compiled = self._compile(key, circumstances)
            new = _Contribution(
                tuple(chain for chain in compiled if chain not in DISPATCH),
                {chain: rules for chain, rules in compiled.items() if chain in DISPATCH},
            )
            if compiled:
                self._contributions[key] = new
            for chain in set(old.chains).difference(new.chains):
                del self.chains[chain]
            self.chains.update((chain, compiled[chain]) for chain in new.chains)
            for chain in DISPATCH:
                before, after = old.dispatched.get(chain, ""), new.dispatched.get(chain, "")
                if before != after:
                    self._trees[chain].replace(key, before, after)
                    touched.add(chain)
        for chain in touched:
            self._redispatch(chain)

    def _compile(self, key: NamespacedName, circumstances: Circumstances) -> dict[Chain, str]:
        merged: dict[Chain, str] = {}
        for plan in self._plans.get(key, ()):
            chains = service_port_chains(
                plan,
                circumstances.node,
                circumstances.settings,
                circumstances.layout,
                self._render,
                comments=self._comments,
            )
            for chain, rules in chains.items():
                merged[chain] = merged.get(chain, "") + rules
        return merged

    def _redispatch(self, root: Chain) -> None:
        for name, part in self._trees[root].changes().items():
            chain = Chain(root.table, name)
            if part is None:
                self.chains.pop(chain, None)
            else:
                self.chains[chain] = dispatch_chain(part, self._render) + self._node.get(chain, "")
