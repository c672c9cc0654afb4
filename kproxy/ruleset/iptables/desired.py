"""The chains one family should have on this node, kept up to date Service by Service."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from kproxy.errors import InputError
from kproxy.model.node import NodeView
from kproxy.model.plan import Plans, plan_service
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.inputs import Circumstances, Render
from kproxy.ruleset.iptables.compiler import dispatch_chain, node_chains, service_port_chains
from kproxy.ruleset.iptables.contributions import (
    DISPATCH,
    NO_CONTRIBUTION,
    NO_STOCK,
    Contribution,
    Stock,
    count_endpoints,
    stock_of,
)
from kproxy.ruleset.iptables.tree import DispatchTree
from kproxy.state.store import Store
from kproxy.values import NamespacedName

LARGE_CLUSTER_ENDPOINTS = 1000
"""Above this number of endpoints kube-proxy leaves comments out of the per-endpoint rules."""


_BATCH = 10


class _Stood(NamedTuple):
    """The state before the circumstances changed."""

    contributions: dict[NamespacedName, Contribution]
    chains: dict[Chain, str]


class DesiredRuleset:
    """The complete ruleset of one family: `chains` holds ours, `jumps` what built-in chains need.

    The result depends on the newest state alone, not on the way there: Services stand in the
    dispatch chains in name order. `service_ports` and `endpoints` count what it was made of.

    A Service whose rules cannot be computed keeps those that it had. So does one that is withdrawn, as its newest rules
    may be what the kernel refuses: `changed` are the Services for which that makes a difference, since `settle`.
    """

    def __init__(self, render: Render, chains: dict[Chain, str] | None = None) -> None:
        """`chains` is an empty dictionary to keep the chains in, for a caller that wants to know of each change."""
        self._render = render
        self._circumstances: Circumstances | None = None
        self._comments = True
        self._contributions: dict[NamespacedName, Contribution] = {}
        self._stood: _Stood | None = None
        self._before: dict[NamespacedName, Stock] = {}
        self._withdrawn: dict[NamespacedName, Stock] = {}
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
        """Take in what changed: the Services named, or all of them if the circumstances did.

        Answers with the chains that are new, written anew or gone; one whose text is as before may be among them.
        """
        return set().union(*self.update_in_parts(store, dirty, circumstances))

    def update_in_parts(
        self,
        store: Store,
        dirty: Iterable[NamespacedName],
        circumstances: Circumstances,
        kept: AbstractSet[NamespacedName] = frozenset(),
    ) -> Iterator[set[Chain]]:
        """The same, some Services at a time: the chains of their own are complete then, the dispatch chains in the last part.

        Services that are `kept` stay as they are, whatever changed. If not all parts are taken, the next update begins
        anew, with all Services.
        """
        is_new, self._circumstances = self.is_new(circumstances), None
        if is_new:
            gone = {*self.chains}
            stood = self._enter_node(circumstances)
            yield gone | self.chains.keys()
            dirty = store.services.keys() | stood.contributions.keys()
        plans = self._plans(store, {*dirty} - kept, circumstances.node)
        comments = self._count(plans) <= LARGE_CLUSTER_ENDPOINTS
        if comments is not self._comments:
            others = store.services.keys() - plans - kept - self._not_computed.keys()
            plans |= self._plans(store, others, circumstances.node)
        if is_new:
            changed = [self._put(key, self._stock(key)) for key in stood.contributions.keys() - plans.keys()]
            yield set().union(*changed)
        for keys in _batches(sorted(plans)):
            changed = [self._replace(key, plans[key], circumstances, comments=comments) for key in keys]
            yield set().union(*changed)
        yield self._redispatched()
        self._circumstances, self._comments, self._stood = circumstances, comments, None

    def begin_anew(self) -> None:
        """Let the next update look at all Services: the last one may be half done."""
        self._circumstances = None

    def is_new(self, circumstances: Circumstances) -> bool:
        """Whether an update in these has to look at all Services."""
        return circumstances != self._circumstances

    def take_not_computed(self) -> dict[NamespacedName, Exception]:
        """The Services whose newest rules could not be computed, and why, since this was last asked."""
        taken, self._not_computed = self._not_computed, {}
        return taken

    @property
    def changed(self) -> list[NamespacedName]:
        return sorted(self._before)

    def withdraw(self, keys: Iterable[NamespacedName]) -> set[Chain]:
        """Let changed Services be what they were; the chains that this changes."""
        changed = set()
        for key in self._before.keys() & keys:
            if key not in self._withdrawn:
                self._withdrawn[key] = self._stock(key)
                changed |= self._put(key, self._before[key])
        return changed | self._redispatched()

    def admit(self, keys: Iterable[NamespacedName]) -> set[Chain]:
        """Let withdrawn Services be what they became; the chains that this changes."""
        changed = set()
        for key in self._withdrawn.keys() & keys:
            changed |= self._put(key, self._withdrawn.pop(key))
        return changed | self._redispatched()

    def settle(self, keys: Iterable[NamespacedName]) -> None:
        """These stay as they are now, withdrawn or not."""
        for key in [*keys]:
            self._before.pop(key, None)
            self._withdrawn.pop(key, None)

    def reopen(self, known: Container[Chain]) -> None:
        """Let Services that lack a chain in the kernel count as changed: no complete rules of theirs could stay."""
        for key, held in self._contributions.items():
            if key not in self._before and not all(
                chain in known for chain in (*held.chains, *held.dispatched)
            ):
                self._before[key] = NO_STOCK

    def owner(self, line: str) -> NamespacedName | None:
        """The changed Service to which a line of a transaction belongs, such as `-A CHAIN ...`."""
        command, chain, rule = (*line.split(" ", 2), "", "")[:3]
        if command == "-I":
            rule = rule.partition(" ")[2]
        elif command.startswith(":"):
            chain, rule = command[1:], ""
        for key in self.changed:
            if self._contributions.get(key, NO_CONTRIBUTION).holds(chain, rule):
                return key
        return None

    def _enter_node(self, circumstances: Circumstances) -> _Stood:
        chains = node_chains(circumstances.node, circumstances.settings, self._render)
        self._stood = stood = self._stood or _Stood(self._contributions, dict(self.chains))
        self.jumps = {chain: rules for chain, rules in chains.items() if chain.is_built_in}
        self._node = {chain: rules for chain, rules in chains.items() if not chain.is_built_in}
        self._node_alone = self._node.keys() - DISPATCH
        self.service_ports = self.endpoints = 0
        self._contributions = {}
        self._trees = {
            chain: DispatchTree(chain.name, circumstances.node.family, circumstances.layout)
            for chain in DISPATCH
        }
        self.chains.clear()
        self.chains.update(self._node)
        return stood

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
        """How many endpoints there are with these plans."""
        gone = sum(self._contributions.get(key, NO_CONTRIBUTION).endpoints for key in plans)
        return self.endpoints - gone + sum(map(count_endpoints, plans.values()))

    def _replace(
        self, key: NamespacedName, plans: Plans, circumstances: Circumstances, *, comments: bool
    ) -> set[Chain]:
        """Let a Service be what these plans say; the chains of its own that this changes."""
        try:
            compiled = self._compile(plans, circumstances, comments=comments)
        except MemoryError:
            raise
        except Exception as failed:  # noqa: BLE001 # as in `_plans`
            self._not_computed[key] = failed
            return self._put(key, self._stock(key))
        self._not_computed.pop(key, None)
        self._withdrawn.pop(key, None)
        old, new = self._stock(key), stock_of(plans, compiled)
        if new == self._before.setdefault(key, old):
            del self._before[key]
        return self._put(key, new)

    def _stock(self, key: NamespacedName) -> Stock:
        """The stock of the Service, or the one that it had before the circumstances changed."""
        for contributions, chains in ((self._contributions, self.chains), self._stood or _NOTHING_STOOD):
            if key in contributions:
                held = contributions[key]
                return Stock(held, tuple(chains[chain] for chain in held.chains))
        return NO_STOCK

    def _put(self, key: NamespacedName, new: Stock) -> set[Chain]:
        """Let this be the stock of the Service from now on; the chains of its own that this changes."""
        was, added = self._contributions.pop(key, NO_CONTRIBUTION), new.contribution
        if added != NO_CONTRIBUTION:
            self._contributions[key] = added
        self.service_ports += added.service_ports - was.service_ports
        self.endpoints += added.endpoints - was.endpoints
        gone = set(was.chains).difference(added.chains)
        for chain in gone:
            self.chains.pop(chain, None)
        written = {
            chain: rules
            for chain, rules in zip(added.chains, new.rules, strict=True)
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
        return set().union(*(self._redispatch(root) for root in DISPATCH if root in self._trees))

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


_NOTHING_STOOD = _Stood({}, {})


def _batches(keys: Sequence[NamespacedName]) -> Iterator[Sequence[NamespacedName]]:
    return (keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH))
