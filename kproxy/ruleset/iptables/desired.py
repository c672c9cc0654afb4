"""The chains that one family should have on this node, kept up to date Service by Service."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from kproxy.errors import InputError
from kproxy.model.node import NodeView
from kproxy.model.plan import Plans, plan_service
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.inputs import Circumstances, Render
from kproxy.ruleset.iptables.chains import DISPATCH
from kproxy.ruleset.iptables.compiler import dispatch_chain, node_chains, service_port_chains
from kproxy.ruleset.iptables.service_rules import (
    NO_CHAINS,
    NO_RULES,
    ServiceChains,
    ServiceRules,
    count_endpoints,
    service_rules,
)
from kproxy.ruleset.iptables.tree import DispatchTree
from kproxy.state.store import Store
from kproxy.values import NamespacedName

LARGE_CLUSTER_ENDPOINTS = 1000
"""Above this number of endpoints kube-proxy leaves comments out of the per-endpoint rules."""

_BATCH = 10
"""The Services of one part of an update. A part is written while the next is computed, so it has to be small."""


class _Previous(NamedTuple):
    """The state before the circumstances changed."""

    services: dict[NamespacedName, ServiceChains]
    chains: dict[Chain, str]


class DesiredRuleset:
    """The complete ruleset of one family: `chains` has our own, `jumps` the rules that built-in chains need.

    The result depends on the newest state alone, not on the order of changes: Services are in name order in the
    dispatch chains. `service_ports` and `endpoints` count the service ports and endpoints of all its Services.

    A Service whose rules cannot be computed keeps its last rules. A Service that is withdrawn also gets its last rules
    back, because the kernel may refuse the newest: `changed` are the Services whose rules changed since `settle`.
    """

    def __init__(self, render: Render, chains: dict[Chain, str] | None = None) -> None:
        """`chains` is an empty dictionary to keep the chains in, for a caller that wants to know of each change."""
        self._render = render
        self._circumstances: Circumstances | None = None
        self._comments = True
        self._services: dict[NamespacedName, ServiceChains] = {}
        self._previous: _Previous | None = None
        self._before: dict[NamespacedName, ServiceRules] = {}
        self._withdrawn: dict[NamespacedName, ServiceRules] = {}
        self._not_computed: dict[NamespacedName, Exception] = {}
        self._node: dict[Chain, str] = {}
        self._node_alone: set[Chain] = set()
        self._trees: dict[Chain, DispatchTree] = {}
        self.chains: dict[Chain, str] = {} if chains is None else chains
        self.jumps: dict[Chain, str] = {}
        self.service_ports = 0
        self.endpoints = 0

    def update(
        self, store: Store, dirty: Iterable[NamespacedName], circumstances: Circumstances
    ) -> set[Chain]:
        """Compute the Services in `dirty` again, or all Services if the circumstances changed.

        Answers with the chains that are new, changed or gone; a chain whose text is as before may be among them.
        """
        return set().union(*self.update_in_parts(store, dirty, circumstances))

    def update_in_parts(
        self,
        store: Store,
        dirty: Iterable[NamespacedName],
        circumstances: Circumstances,
        kept: AbstractSet[NamespacedName] = frozenset(),
    ) -> Iterator[set[Chain]]:
        """`update` in parts: each completes the own chains of some Services, the last part the dispatch chains.

        Services that are `kept` stay as they are, whatever changed. If not all parts are taken, the next update
        computes all Services again.
        """
        is_new, self._circumstances = self.has_other_circumstances(circumstances), None
        if is_new:
            gone = {*self.chains}
            previous = self._enter_node(circumstances)
            yield gone | self.chains.keys()
            dirty = store.services.keys() | previous.services.keys()
        plans = self._plans(store, {*dirty} - kept, circumstances.node)
        comments = self._count(plans) <= LARGE_CLUSTER_ENDPOINTS
        if comments is not self._comments:
            others = store.services.keys() - plans - kept - self._not_computed.keys()
            plans |= self._plans(store, others, circumstances.node)
        if is_new:
            changed = [self._put(key, self._rules_of(key)) for key in previous.services.keys() - plans.keys()]
            yield set().union(*changed)
        for keys in _batches(sorted(plans)):
            changed = [self._replace(key, plans[key], circumstances, comments=comments) for key in keys]
            yield set().union(*changed)
        yield self._redispatched()
        self._circumstances, self._comments, self._previous = circumstances, comments, None

    def forget_circumstances(self) -> None:
        """Let the next update compute all Services again, because the last update may be half done."""
        self._circumstances = None

    def has_other_circumstances(self, circumstances: Circumstances) -> bool:
        """Whether an update in these circumstances has to compute all Services again."""
        return circumstances != self._circumstances

    def take_not_computed(self) -> dict[NamespacedName, Exception]:
        """The Services whose newest rules could not be computed since the last call, each with the exception."""
        taken, self._not_computed = self._not_computed, {}
        return taken

    @property
    def changed(self) -> list[NamespacedName]:
        return sorted(self._before)

    def withdraw(self, keys: Iterable[NamespacedName]) -> set[Chain]:
        """Give changed Services their rules from before the change; answers with the chains that this changes."""
        changed = set()
        for key in self._before.keys() & keys:
            if key not in self._withdrawn:
                self._withdrawn[key] = self._rules_of(key)
                changed |= self._put(key, self._before[key])
        return changed | self._redispatched()

    def admit(self, keys: Iterable[NamespacedName]) -> set[Chain]:
        """Give withdrawn Services their newest rules; answers with the chains that this changes."""
        changed = set()
        for key in self._withdrawn.keys() & keys:
            changed |= self._put(key, self._withdrawn.pop(key))
        return changed | self._redispatched()

    def settle(self, keys: Iterable[NamespacedName]) -> None:
        """Keep the rules that these Services have now, withdrawn or not; they no longer count as changed."""
        for key in [*keys]:
            self._before.pop(key, None)
            self._withdrawn.pop(key, None)

    def reopen(self, known: Container[Chain]) -> None:
        """Count Services that lack a chain in the kernel as changed: they have no complete rules there to keep."""
        for key, chains in self._services.items():
            if key not in self._before and not all(
                chain in known for chain in (*chains.own, *chains.dispatched)
            ):
                self._before[key] = NO_RULES

    def owner(self, line: str) -> NamespacedName | None:
        """The changed Service to which a line of a transaction belongs, such as `-A CHAIN ...`."""
        command, chain, rule = (*line.split(" ", 2), "", "")[:3]
        if command == "-I":
            rule = rule.partition(" ")[2]
        elif command.startswith(":"):
            chain, rule = command[1:], ""
        for key in self.changed:
            if self._services.get(key, NO_CHAINS).holds(chain, rule):
                return key
        return None

    def _enter_node(self, circumstances: Circumstances) -> _Previous:
        chains = node_chains(circumstances.node, circumstances.settings, self._render)
        self._previous = previous = self._previous or _Previous(self._services, dict(self.chains))
        self.jumps = {chain: rules for chain, rules in chains.items() if chain.is_built_in}
        self._node = {chain: rules for chain, rules in chains.items() if not chain.is_built_in}
        self._node_alone = self._node.keys() - DISPATCH
        self.service_ports = self.endpoints = 0
        self._services = {}
        self._trees = {
            chain: DispatchTree(chain.name, circumstances.node.family, circumstances.layout)
            for chain in DISPATCH
        }
        self.chains.clear()
        self.chains.update(self._node)
        return previous

    def _plans(
        self, store: Store, keys: Iterable[NamespacedName], node: NodeView
    ) -> dict[NamespacedName, Plans]:
        plans: dict[NamespacedName, Plans] = {}
        for key in keys:
            service = store.services.get(key)
            try:
                plans[key] = plan_service(service, store.slices_of(key), node) if service else ()
            except MemoryError:
                raise
            except Exception as failed:  # noqa: BLE001 # whatever is wrong with one Service costs no other its rules
                self._not_computed[key] = failed
        return plans

    def _count(self, plans: Mapping[NamespacedName, Plans]) -> int:
        """The number of endpoints of all Services if these plans take the place of earlier ones."""
        gone = sum(self._services.get(key, NO_CHAINS).endpoints for key in plans)
        return self.endpoints - gone + sum(map(count_endpoints, plans.values()))

    def _replace(
        self, key: NamespacedName, plans: Plans, circumstances: Circumstances, *, comments: bool
    ) -> set[Chain]:
        """Compile the Service from these plans; answers with the chains of its own that this changes."""
        try:
            compiled = self._compile(plans, circumstances, comments=comments)
        except MemoryError:
            raise
        except Exception as failed:  # noqa: BLE001 # as in `_plans`
            self._not_computed[key] = failed
            return self._put(key, self._rules_of(key))
        self._not_computed.pop(key, None)
        self._withdrawn.pop(key, None)
        old, new = self._rules_of(key), service_rules(plans, compiled)
        if new == self._before.setdefault(key, old):
            del self._before[key]
        return self._put(key, new)

    def _rules_of(self, key: NamespacedName) -> ServiceRules:
        """The rules of the Service, or those from before the circumstances changed."""
        for services, rules in ((self._services, self.chains), self._previous or _NO_PREVIOUS):
            if key in services:
                chains = services[key]
                return ServiceRules(chains, tuple(rules[chain] for chain in chains.own))
        return NO_RULES

    def _put(self, key: NamespacedName, new: ServiceRules) -> set[Chain]:
        """Replace the rules of the Service; answers with the chains of its own that this changes."""
        was, added = self._services.pop(key, NO_CHAINS), new.chains
        if added != NO_CHAINS:
            self._services[key] = added
        self.service_ports += added.service_ports - was.service_ports
        self.endpoints += added.endpoints - was.endpoints
        gone = set(was.own).difference(added.own)
        for chain in gone:
            self.chains.pop(chain, None)
        written = {
            chain: rules
            for chain, rules in zip(added.own, new.rules, strict=True)
            if self.chains.get(chain) != rules
        }
        self.chains |= written
        for chain in DISPATCH:
            before, after = was.dispatched.get(chain, ""), added.dispatched.get(chain, "")
            if before != after:
                self._trees[chain].replace(key, before, after)
        return gone | written.keys()

    def _compile(self, plans: Plans, circumstances: Circumstances, *, comments: bool) -> dict[Chain, str]:
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
        if shared := merged.keys() & self._node_alone:
            raise InputError(
                f"chain {min(shared).name} belongs to the node's rules, not to those of a Service"
            )
        return merged

    def _redispatched(self) -> set[Chain]:
        return set().union(*(self._redispatch(root) for root in sorted(self._trees)))

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


_NO_PREVIOUS = _Previous({}, {})


def _batches(keys: Sequence[NamespacedName]) -> Iterator[Sequence[NamespacedName]]:
    return (keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH))
