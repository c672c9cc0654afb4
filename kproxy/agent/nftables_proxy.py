"""One family's rules in nftables mode: what the table should be, what the kernel holds, and the way there."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain as chain_up

from kproxy.agent.proxy import SyncReport
from kproxy.agent.suspects import Suspects, limited
from kproxy.errors import OperationFailed, ProgramFailed
from kproxy.kernel.programs.nft import DoesNotFit, NftTable
from kproxy.model.plan import Plans
from kproxy.observed.nftables import AppliedTable, Commits
from kproxy.ruleset.inputs import Circumstances, Render
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.state.store import Store
from kproxy.transaction.culprits import Findings, Refusal, find_culprits
from kproxy.transaction.nftables.change import change
from kproxy.transaction.nftables.endpoint_chains import endpoint_chains
from kproxy.transaction.nftables.transaction import Transaction
from kproxy.transaction.nftables.whole import install, refill, replace_all
from kproxy.transaction.refusal import is_refusal
from kproxy.values import NamespacedName

_log = logging.getLogger(__name__)


class NftablesProxy:
    """Keeps one family's table at the newest state.

    A transaction that is refused changes nothing. If some Services are at fault they keep their old rules, and all
    others get theirs; see `Suspects` for when those are tried again.
    """

    def __init__(
        self, kernel: NftTable, render: Render, ours: Commits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.family = kernel.family
        self._kernel = kernel
        self._render = render
        self._clock = clock
        self._applied = AppliedTable(kernel, ours)
        self._suspects = Suspects(kernel.family, clock)
        self._table: DesiredTable | None = None
        self._pending: set[NamespacedName] = set()
        self._were: dict[NamespacedName, Plans] = {}
        self._untried: list[list[NamespacedName]] = []
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
        done, drifted = list[Transaction](), 0
        error: OperationFailed | None = None
        try:
            if verify and table.is_settled:
                drifted = self._applied.look(table)
            observed = self._clock()
            second = self._take_in(table, store, circumstances)
            computed = self._clock()
            error = self._bring(table, done)
            if second and error is None:
                self._place(table, store, second)
                groups, self._untried = self._untried, []
                error = self._bring(table, done, groups)
        except OperationFailed as failed:
            error = failed
        return SyncReport(
            services=table.service_ports,
            chains_written=sum(len(each.written) for each in done),
            chains_deleted=sum(len(each.deleted) for each in done),
            rules_written=sum(each.line_count for each in done),
            compute_s=computed - observed + laid_out - began,
            apply_s=self._clock() - computed + observed - laid_out,
            error=error,
            drifted=drifted,
            observe_s=observed - laid_out,
            left_something=error is None and not self._applied.in_place,
            quarantined=self._suspects.rejections,
        )

    def record(self) -> None:
        """An agent that starts again writes the table anew, so there is nothing to note."""

    def _take_in(
        self, table: DesiredTable, store: Store, circumstances: Circumstances
    ) -> AbstractSet[NamespacedName]:
        """Place all Services except the refused ones; returns the refused ones that are due."""
        if table.adopt(circumstances):
            self._suspects.reconsider_all()
        self._suspects.reconsider(self._pending)
        untried = set(chain_up.from_iterable(self._untried))
        refused, due = self._suspects.refused | untried, self._suspects.due | untried
        stale = table.stale - self._suspects.waiting
        self._place(table, store, (self._pending | stale | due) - refused)
        self._pending.clear()
        return due & refused

    def _place(self, table: DesiredTable, store: Store, keys: AbstractSet[NamespacedName]) -> None:
        # as API and memory have them: in the order of a set they take a tenth longer
        for key in sorted(keys):
            self._were.setdefault(key, table.plans_of(key))
            table.place_newest(store, key)
        self._suspects.computed(keys, table.take_not_computed())

    def _bring(
        self,
        table: DesiredTable,
        done: list[Transaction],
        groups: Sequence[Sequence[NamespacedName]] = (),
    ) -> ProgramFailed | None:
        """Apply the change, and add it to `done`; returns a refusal if no tries were left for some Services.

        Each of the groups was refused by an earlier search, which had no more tries for its parts.
        """
        transaction = self._transaction(table)
        was_in_place = self._applied.in_place
        try:
            self._apply(table, transaction)
        except DoesNotFit as failed:
            self._bring_in_steps(table, failed, done)
            return None
        except ProgramFailed as failed:
            if not is_refusal(failed):
                raise
            if was_in_place and not self._applied.in_place:
                return self._bring(table, done, groups)
            return self._recover(table, failed, done, groups)
        self._took_effect(transaction, done)
        return None

    def _took_effect(self, transaction: Transaction, done: list[Transaction]) -> None:
        """All Services have their newest rules, as far as these could be computed."""
        self._suspects.release(self._were.keys() - self._suspects.not_computed_now)
        self._were.clear()
        done.append(transaction)

    def _bring_in_steps(self, table: DesiredTable, failed: DoesNotFit, done: list[Transaction]) -> None:
        """Write our table anew in steps, since the change is too large for the sockets of `nft`.

        Raises `failed` on a node without our table, where this is what was tried.
        """
        if not self._applied.found():
            raise failed
        _log.warning(
            "%s: our table is removed and written in steps, and new connections find no Services meanwhile: %s",
            self.family,
            failed,
        )
        self._applied.remove()
        transaction = install(self.family, table.blocks, table.contents())
        self._apply(table, transaction)
        self._took_effect(transaction, done)

    def _recover(
        self,
        table: DesiredTable,
        failed: ProgramFailed,
        done: list[Transaction],
        groups: Sequence[Sequence[NamespacedName]],
    ) -> ProgramFailed | None:
        """After a refusal: is it what others did to the table, the table as a whole, or some Services?"""
        if self._applied.in_place and self._applied.is_uncertain:
            _log.warning(
                "%s: our table, which somebody may have changed, is written anew: %s", self.family, failed
            )
            self._applied.in_place = False
            return self._bring(table, done, groups)
        if not self._applied.in_place and self._keeps_clients:
            self._keeps_clients = False
            if not self._refusal(table):
                return self._bring(table, done, groups)
            self._keeps_clients = True
        found = self._culprits(table, failed, groups)
        left = {*found.culprits, *chain_up.from_iterable(found.untried)}
        self._suspects.release(self._were.keys() - left - self._suspects.not_computed_now)
        self._suspects.refuse(found.culprits)
        self._untried += found.untried
        transaction = self._transaction(table)
        self._apply(table, transaction)
        self._were.clear()
        done.append(transaction)
        return failed if found.untried else None

    def _culprits(
        self, table: DesiredTable, failed: ProgramFailed, groups: Sequence[Sequence[NamespacedName]]
    ) -> Findings[NamespacedName, ProgramFailed]:
        """The Services whose newest plans the kernel refuses; these have their old plans afterwards.

        Raises `failed`, and changes no plan, if the kernel refuses the table also without all of the newest plans.
        """
        wanted = {key: table.plans_of(key) for key in sorted(self._were)}

        def attempt(group: Sequence[NamespacedName]) -> Refusal[NamespacedName, ProgramFailed] | None:
            self._place_all(table, {key: wanted[key] for key in group})
            refused = self._refusal(table)
            if refused is None:
                return None
            self._place_all(table, {key: self._were[key] for key in group})
            return Refusal(refused)

        others = wanted.keys() - set(chain_up.from_iterable(groups))
        try:
            self._place_all(table, self._were)
            if not self._refusal(table):
                return find_culprits([*groups, sorted(others)], attempt, limited(self._clock))
        except BaseException:
            self._pending |= wanted.keys()  # in case that placing them fails too
            self._place_all(table, wanted)
            raise
        self._place_all(table, wanted)
        raise failed

    @staticmethod
    def _place_all(table: DesiredTable, plans_of: Mapping[NamespacedName, Plans]) -> None:
        for key, plans in plans_of.items():
            table.place(key, plans)

    def _refusal(self, table: DesiredTable) -> ProgramFailed | None:
        try:
            self._kernel.check(self._transaction(table).refusable)
        except ProgramFailed as refused:
            if not is_refusal(refused):
                raise
            return refused
        return None

    def _transaction(self, table: DesiredTable) -> Transaction:
        if self._applied.in_place:
            return change(self.family, table.blocks, table.changes())
        found = self._applied.found()
        if not found:
            return install(self.family, table.blocks, table.contents())
        if self._keeps_clients:
            intact = self._applied.intact(found & endpoint_chains(table.blocks).keys(), table.blocks)
            return refill(self.family, found, table.blocks, table.contents(), intact)
        return replace_all(self.family, table.blocks, table.contents())

    def _apply(self, table: DesiredTable, transaction: Transaction) -> None:
        if transaction:
            self._applied.apply(transaction)
            self._keeps_clients = True
        table.settle()
