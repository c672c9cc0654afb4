"""One family's rules in nftables mode: what the table should be, what the kernel holds, and the way there."""

import logging
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from kproxy.agent.family import SyncReport
from kproxy.agent.nft_table import AppliedTable
from kproxy.errors import ProgramFailed
from kproxy.kernel.nft import NftTable
from kproxy.ruleset.desired import Circumstances
from kproxy.ruleset.iptables import Render
from kproxy.ruleset.nftables.desired import DesiredTable, Plans, TableChange
from kproxy.state.store import Store
from kproxy.transaction.halving import find_culprits
from kproxy.transaction.nftables import anew, change_table, from_scratch
from kproxy.values import NamespacedName

_log = logging.getLogger(__name__)


class NftablesProxy:
    """Keeps one family's table at the newest state, each sync in one transaction.

    A transaction that is refused changes nothing. If some Services are at fault they keep their old rules until they
    change, and all others get theirs.
    """

    def __init__(self, kernel: NftTable, render: Render, clock: Callable[[], float] = time.monotonic) -> None:
        self.family = kernel.family
        self._kernel = kernel
        self._render = render
        self._clock = clock
        self._applied = AppliedTable(kernel)
        self._table: DesiredTable | None = None
        self._pending: set[NamespacedName] = set()
        self._were: dict[NamespacedName, Plans] = {}
        self._quarantined: dict[NamespacedName, Plans] = {}
        self._keeps_clients = True

    def sync(
        self, store: Store, dirty: AbstractSet[NamespacedName], circumstances: Circumstances, *, verify: bool
    ) -> SyncReport:
        """Bring the kernel to the newest state; with `verify`, mend also what somebody else did to our table."""
        began = computed = self._clock()
        self._pending |= dirty
        table = self._table or DesiredTable(self._render, circumstances)
        if self._table is None:
            self._table = table
            self._pending |= store.services.keys()
        change, error = TableChange(), None
        try:
            if verify and table.is_settled:
                self._applied.look(table)
            self._take_in(table, store, circumstances, verify=verify)
            change = table.changes() if self._applied.in_place else _everything(table)
            computed = self._clock()
            self._bring(table, change)
        except ProgramFailed as failed:
            error = failed
        return SyncReport(
            services=sum(1 for _ in table.plans),
            chains_written=sum(1 for block, (_, after) in change.blocks.items() if block.is_chain and after),
            chains_deleted=sum(
                1 for block, (_, after) in change.blocks.items() if block.is_chain and after is None
            ),
            rules_written=change.rule_count,
            compute_s=computed - began,
            apply_s=self._clock() - computed,
            error=error,
        )

    def record(self) -> None:
        """An agent that starts again writes the table anew, so there is nothing to note."""

    def _take_in(
        self, table: DesiredTable, store: Store, circumstances: Circumstances, *, verify: bool
    ) -> None:
        table.adopt(circumstances)
        if verify:
            self._pending |= self._quarantined.keys()
            self._quarantined.clear()
        for key in self._pending | table.stale:
            plans = table.planned(store, key)
            if plans == self._quarantined.get(key):
                plans = table.plans_of(key)
            else:
                self._quarantined.pop(key, None)
            self._were.setdefault(key, table.plans_of(key))
            table.place(key, plans)
        self._pending.clear()

    def _bring(self, table: DesiredTable, change: TableChange) -> None:
        if self._applied.in_place and not change:
            self._settle(table)
            return
        try:
            self._apply(table, change)
        except ProgramFailed as failed:
            if failed.exit_code is None:
                raise
            self._recover(table, failed)

    def _recover(self, table: DesiredTable, failed: ProgramFailed) -> None:
        """After a refusal: is it what others did to the table, the table as a whole, or some Services?"""
        if self._applied.in_place and self._applied.is_uncertain:
            _log.warning(
                "%s: somebody else changed nftables; our table is written anew: %s", self.family, failed
            )
            self._applied.in_place = False
            self._bring(table, _everything(table))
            return
        wanted = {key: table.plans_of(key) for key in self._were}
        keys = sorted(wanted)

        def is_refused(part: Sequence[NamespacedName]) -> bool:
            chosen = set(part)
            for key in keys:
                table.place(key, wanted[key] if key in chosen else self._were[key])
            try:
                self._kernel.check(self._text(table, table.changes()))
            except ProgramFailed:
                return True
            return False

        if is_refused(()):
            for key in keys:
                table.place(key, wanted[key])
            if self._applied.in_place or not self._keeps_clients:
                raise failed
            self._keeps_clients = False
            self._bring(table, _everything(table))
            return
        culprits = find_culprits(keys, is_refused)
        for key in keys:
            table.place(key, self._were[key] if key in culprits else wanted[key])
        for key in culprits:
            self._quarantined[key] = wanted[key]
            _log.error(
                "%s: the kernel refuses Service %s; it keeps the rules that it had, until it changes: %s",
                self.family,
                key,
                failed,
            )
        self._apply(table, table.changes())

    def _apply(self, table: DesiredTable, change: TableChange) -> None:
        written = (
            [
                block.name
                for block, (_, after) in change.blocks.items()
                if block.is_chain and after is not None
            ]
            if self._applied.in_place
            else [block.name for block in table.blocks if block.is_chain]
        )
        self._applied.apply(self._text(table, change), written)
        self._keeps_clients = True
        self._settle(table)

    def _text(self, table: DesiredTable, change: TableChange) -> str:
        if self._applied.in_place:
            return change_table(self.family, change)
        if self._keeps_clients:
            return anew(self.family, self._kernel.blocks(), table.blocks, table.elements())
        return from_scratch(self.family, table.blocks, table.elements())

    def _settle(self, table: DesiredTable) -> None:
        table.settle()
        self._were.clear()


def _everything(table: DesiredTable) -> TableChange:
    return TableChange({block: (None, text) for block, text in table.blocks.items()}, [], [*table.elements()])
