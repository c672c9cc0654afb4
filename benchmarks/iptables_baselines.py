"""The rivals of iptables mode: the smallest input for iptables-restore, and kube-proxy's usual way.

`bare` restores the Service's own chains, all of them and nothing else. If a Service comes or goes, it also restores the
dispatch chains that change, or the Service's rule alone if the dispatch is flat. `least` leaves out the chains that do
not change. `usual` reads the table by iptables-save and writes all of KUBE-SERVICES again.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from benchmarks.cluster import Entry, Size, entries, filled_store
from benchmarks.iptables_dispatch import NO_CHANGE, Dispatch, DispatchChange
from benchmarks.subject import Change, Rival
from kproxy import process
from kproxy.kernel.programs.iptables import RESTORE_TIMEOUT_S, Variant
from kproxy.model.plan import plan_service
from kproxy.render.templates import rule_templates
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.iptables.compiler import service_port_chains
from kproxy.ruleset.iptables.desired import LARGE_CLUSTER_ENDPOINTS, DesiredRuleset
from kproxy.transaction.iptables.order import children_first, in_sections, jumps_in
from kproxy.transaction.iptables.transaction import Section

_DISPATCH = Chain("nat", "KUBE-SERVICES")
_USUAL = Chain("nat", "KUBE-USUAL")
"""Takes the place of KUBE-SERVICES, which must stay correct for kproxy."""

_READABLE_CHAINS = 3000
"""Chains in one table. iptables-nft-save 1.8.9 is quadratic: 0.1 s for these, over 240 s for a hundred thousand."""

_SECTION_SIZES = (100, 200, 300, 500, 1000)


class IptablesBaselines:
    """Rivals for one cluster, in a kernel that holds its rules already, or none yet for a first sync."""

    def __init__(self, variant: Variant, size: Size, circumstances: Circumstances) -> None:
        self._variant = variant
        self._size = size
        self._circumstances = circumstances
        self._chain_count = size.services * (size.endpoints + 1)
        self._render = rule_templates()
        self._comments = size.services * size.endpoints <= LARGE_CLUSTER_ENDPOINTS
        rules = {each.service.key: self._chains(each)[_DISPATCH] for each in entries(size)}
        self._dispatch = Dispatch(_DISPATCH, rules, circumstances, self._render)

    def of_change(
        self,
        changes: Sequence[Change],
        beside: Sequence[Entry] = (),  # noqa: ARG002 # no chain that changes is theirs
    ) -> list[Rival]:
        """Services whose endpoints change; or one Service that comes or goes."""
        old = self._own(before for before, _ in changes)
        new = self._own(after for _, after in changes)
        gone = [chain for chain in old if chain not in new]
        differing = {chain: rules for chain, rules in new.items() if old.get(chain) != rules}
        dispatch = self._dispatched(changes)
        rivals = [self._rival("bare", self._sections(new, dispatch, gone))]
        if len(differing) < len(new):
            rivals.append(self._rival("least", self._sections(differing, dispatch, gone)))
        if len(changes) == 1:
            rivals.append(self._usual(new, gone))
        return rivals

    def of_first_sync(self) -> list[Rival]:
        """All rules, filter first, in sections of several sizes; the jumps from the built-in chains last."""
        desired = DesiredRuleset(self._render)
        store = filled_store(self._size)
        desired.update(store, store.services, self._circumstances)
        filter_, nat = (
            {chain: rules for chain, rules in desired.chains.items() if chain.table == table}
            for table in ("filter", "nat")
        )
        jumps = "".join(_jumps(table, desired.jumps) for table in ("filter", "nat"))
        sizes = [size for size in _SECTION_SIZES if size < len(nat)] if self._variant is Variant.NFT else []
        return [
            self._rival(
                "bare",
                "".join((_written("filter", filter_, size), _written("nat", nat, size), jumps)),
                f"in sections of {size:,} chains",
            )
            for size in sizes or [len(nat)]
        ]

    def of_restart(self) -> list[Rival]:
        """None: kproxy writes nothing, and nobody can write less."""
        return []

    def _dispatched(self, changes: Sequence[Change]) -> DispatchChange:
        before, after = changes[0]
        if len(changes) > 1 or (before and after):
            return NO_CHANGE
        if after:
            return self._dispatch.replace(after.service.key, self._chains(after)[_DISPATCH])
        return self._dispatch.replace(before.service.key, "") if before else NO_CHANGE

    def _rival(self, name: str, text: str, note: str = "") -> Rival:
        return Rival(name, partial(self._restore, text), note=note)

    def _usual(self, own: Mapping[Chain, str], gone: Sequence[Chain]) -> Rival:
        """Part of the usual way that does not take too long: iptables-nft-save is quadratic in the chains."""
        saves = self._variant is Variant.LEGACY or self._chain_count <= _READABLE_CHAINS
        rules = self._dispatch.all_rules.replace(f"-A {_DISPATCH.name} ", f"-A {_USUAL.name} ")
        text = str(Section("nat", {**own, _USUAL: rules}, deleted=tuple(gone)))

        def work() -> None:
            if saves:
                process.run([f"iptables-{self._variant}-save", "-t", "nat"], timeout_s=RESTORE_TIMEOUT_S)
            self._restore(text)

        undo = partial(self._restore, str(Section("nat", deleted=(_USUAL,))))
        note = "" if saves else f"without its iptables-save, which is quadratic: {self._chain_count:,} chains"
        return Rival("usual", work, undo, note)

    def _own(self, found: Iterable[Entry | None]) -> dict[Chain, str]:
        """The chains that only these Services have, children first."""
        own = {chain: rules for each in found if each for chain, rules in self._chains(each).items()}
        own.pop(_DISPATCH, None)
        return {chain: own[chain] for chain in children_first(jumps_in(own))}

    def _chains(self, each: Entry) -> dict[Chain, str]:
        circumstances = self._circumstances
        found: dict[Chain, str] = {}
        for plan in plan_service(each.service, (each.slice,), circumstances.node):
            found |= service_port_chains(
                plan,
                circumstances.node,
                circumstances.settings,
                circumstances.layout,
                self._render,
                comments=self._comments,
            )
        return found

    def _sections(self, own: Mapping[Chain, str], dispatch: DispatchChange, gone: Sequence[Chain]) -> str:
        """One section, unless there are too many chains for one."""
        size = self._variant.section_size(self._chain_count)
        if size is None or len(own) + len(gone) <= size:
            written = {**own, **dispatch.written}
            return str(Section("nat", written, deleted=tuple(gone), edited=dict(dispatch.edited)))
        return _written("nat", own, size) + "".join(
            str(Section("nat", deleted=tuple(gone[at : at + size]))) for at in range(0, len(gone), size)
        )

    def _restore(self, text: str) -> None:
        command = [f"iptables-{self._variant}-restore", "-w", "5", "--noflush", "--counters"]
        process.run(command, stdin=text, timeout_s=RESTORE_TIMEOUT_S)


def _written(table: str, chains: Mapping[Chain, str], size: int) -> str:
    """Children before parents, sections that mention up to `size` chains."""
    jumps = jumps_in(chains)
    pieces = in_sections(children_first(jumps), jumps, size)
    return "".join(str(Section(table, {chain: chains[chain] for chain in piece})) for piece in pieces)


def _jumps(table: str, jumps: Mapping[Chain, str]) -> str:
    lines = (line for chain, rules in jumps.items() if chain.table == table for line in rules.splitlines())
    return str(Section(table, jumps=tuple(lines)))
