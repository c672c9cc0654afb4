"""One family's rules in nftables mode: what the table should be, what the kernel holds, and the way there."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import count

from kproxy.agent.family import SyncReport
from kproxy.agent.nft_table import AppliedTable, Commits
from kproxy.errors import ProgramFailed
from kproxy.kernel.nft import DoesNotFit, NftTable
from kproxy.ruleset.desired import Circumstances
from kproxy.ruleset.iptables import Render
from kproxy.ruleset.nftables.desired import DesiredTable, Plans
from kproxy.state.store import Store
from kproxy.transaction.halving import find_culprits
from kproxy.transaction.nft_run import NO_RUN
from kproxy.transaction.nftables import (
    TableTransaction,
    anew,
    change_table,
    from_scratch,
    in_steps,
    in_steps_instead,
    picks,
)
from kproxy.values import NamespacedName

_log = logging.getLogger(__name__)

_NOTHING = TableTransaction(NO_RUN, ())
_MOST_CHECKS = 100
"""A culprit among 10,000 Services is found with 30; one check of so many takes a second."""


class NftablesProxy:
    """Keeps one family's table at the newest state.

    A transaction that is refused changes nothing. If some Services are at fault they keep their old rules, and all
    others get theirs; those are tried again when they change, and with each `verify`.
    """

    def __init__(
        self, kernel: NftTable, render: Render, ours: Commits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.family = kernel.family
        self._kernel = kernel
        self._render = render
        self._clock = clock
        self._applied = AppliedTable(kernel, ours)
        self._table: DesiredTable | None = None
        self._pending: set[NamespacedName] = set()
        self._were: dict[NamespacedName, Plans] = {}
        self._quarantined: set[NamespacedName] = set()
        self._keeps_clients = True

    def sync(
        self, store: Store, dirty: AbstractSet[NamespacedName], circumstances: Circumstances, *, verify: bool
    ) -> SyncReport:
        """Bring the kernel to the newest state; with `verify`, mend also what somebody else did to our table."""
        began = self._clock()
        self._pending |= dirty
        table = self._table or DesiredTable(self._render, circumstances)
        if self._table is None:
            self._table = table
            self._pending |= store.services.keys()
        laid_out = observed = computed = self._clock()
        done, error, drifted = _NOTHING, None, 0
        try:
            if verify and table.is_settled:
                drifted = self._applied.look(table)
            observed = self._clock()
            self._take_in(table, store, circumstances, verify=verify)
            computed = self._clock()
            done = self._bring(table)
        except ProgramFailed as failed:
            error = failed
        return SyncReport(
            services=table.service_ports,
            chains_written=len(done.written),
            chains_deleted=len(done.deleted),
            rules_written=done.line_count,
            compute_s=computed - observed + laid_out - began,
            apply_s=self._clock() - computed + observed - laid_out,
            error=error,
            drifted=drifted,
            observe_s=observed - laid_out,
            left_something=error is None and not self._applied.in_place,
        )

    def record(self) -> None:
        """An agent that starts again writes the table anew, so there is nothing to note."""

    def _take_in(
        self, table: DesiredTable, store: Store, circumstances: Circumstances, *, verify: bool
    ) -> None:
        table.adopt(circumstances)
        if verify:
            self._pending |= self._quarantined
            self._quarantined.clear()
        # as API and memory have them: in the order of a set they take a tenth longer
        for key in sorted(self._pending | table.stale):
            self._were.setdefault(key, table.plans_of(key))
            table.place(key, table.planned(store, key))
        self._pending.clear()

    def _bring(self, table: DesiredTable) -> TableTransaction:
        """What was applied in the end."""
        transaction = self._transaction(table)
        was_in_place = self._applied.in_place
        try:
            self._apply(table, transaction)
        except DoesNotFit as failed:
            return self._bring_in_steps(table, failed)
        except ProgramFailed as failed:
            if not failed.is_verdict:
                raise
            if was_in_place and not self._applied.in_place:
                return self._bring(table)
            return self._recover(table, failed)
        return transaction

    def _bring_in_steps(self, table: DesiredTable, failed: DoesNotFit) -> TableTransaction:
        """Where the sockets of `nft` are too small for the change; on a node without our table that was what failed."""
        if not self._applied.found():
            raise failed
        _log.warning(
            "%s: our table is removed and written in steps, and new connections find no Services meanwhile: %s",
            self.family,
            failed,
        )
        self._applied.in_place = False
        transaction = in_steps_instead(self.family, table.blocks, table.contents())
        self._apply(table, transaction)
        return transaction

    def _recover(self, table: DesiredTable, failed: ProgramFailed) -> TableTransaction:
        """After a refusal: is it what others did to the table, the table as a whole, or some Services?"""
        if self._applied.in_place and self._applied.is_uncertain:
            _log.warning(
                "%s: our table, which somebody may have changed, is written anew: %s", self.family, failed
            )
            self._applied.in_place = False
            return self._bring(table)
        if not self._applied.in_place and self._keeps_clients:
            self._keeps_clients = False
            if not self._is_refused(table):
                return self._bring(table)
            self._keeps_clients = True
        wanted = {key: table.plans_of(key) for key in sorted(self._were)}
        culprits = self._culprits(table, wanted, failed)
        if culprits is None:
            raise failed
        for key in culprits:
            table.place(key, self._were[key])
            self._quarantined.add(key)
            _log.error(
                "%s: the kernel refuses Service %s, which keeps the rules that it had and is tried again later: %s",
                self.family,
                key,
                failed,
            )
        transaction = self._transaction(table)
        self._apply(table, transaction)
        return transaction

    def _culprits(
        self, table: DesiredTable, wanted: Mapping[NamespacedName, Plans], failed: ProgramFailed
    ) -> list[NamespacedName] | None:
        """The Services whose newest plans the kernel refuses; None if it refuses also what is left without any.

        Raises `failed` where they are too many to be found in time.
        """
        checks = count(1)

        def is_refused(part: Sequence[NamespacedName]) -> bool:
            if next(checks) > _MOST_CHECKS:
                raise failed
            chosen = set(part)
            for key, plans in wanted.items():
                table.place(key, plans if key in chosen else self._were[key])
            return self._is_refused(table)

        try:
            return None if is_refused(()) else find_culprits([*wanted], is_refused)
        finally:
            for key, plans in wanted.items():
                table.place(key, plans)

    def _is_refused(self, table: DesiredTable) -> bool:
        try:
            self._kernel.check(self._transaction(table).refusable)
        except ProgramFailed as refused:
            if not refused.is_verdict:
                raise
            return True
        return False

    def _transaction(self, table: DesiredTable) -> TableTransaction:
        if self._applied.in_place:
            return change_table(self.family, table.blocks, table.changes())
        found = self._applied.found()
        if not found:
            return in_steps(self.family, table.blocks, table.contents())
        if self._keeps_clients:
            intact = self._applied.intact(found & picks(table.blocks).keys(), table.blocks)
            return anew(self.family, found, table.blocks, table.contents(), intact)
        return from_scratch(self.family, table.blocks, table.contents())

    def _apply(self, table: DesiredTable, transaction: TableTransaction) -> None:
        if transaction:
            self._applied.apply(transaction)
            self._keeps_clients = True
        table.settle()
        self._were.clear()
