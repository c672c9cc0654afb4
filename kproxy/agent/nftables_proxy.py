"""One family's rules in nftables mode: a sync updates, observes, plans, applies and settles, in that order."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from kproxy.agent.nftables_culprits import TableCulprits
from kproxy.agent.nftables_plans import plans, refusal
from kproxy.agent.proxy import SyncReport
from kproxy.agent.stopwatch import Stage, Stopwatch
from kproxy.agent.suspects import Suspects
from kproxy.errors import OperationFailed, ProgramFailed
from kproxy.kernel.programs.nft import DoesNotFit
from kproxy.observed.nftables import Commits, ObservedTable
from kproxy.observed.nftables_kernel import KernelTable
from kproxy.observed.states import State
from kproxy.ruleset.inputs import Circumstances, Render
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.state.store import Store
from kproxy.transaction.nftables.table_delta import TableDelta
from kproxy.transaction.nftables.transaction import Transaction
from kproxy.transaction.refusal import is_refusal
from kproxy.values import NamespacedName

_log = logging.getLogger(__name__)

_MOST_PLANS = 5
"""In one sync: a change, the table as somebody else left it, all in steps; and two more if others do not stop."""


class NftablesProxy:
    """Keeps one family's table at the newest state.

    A transaction that is refused changes nothing. If some Services are at fault they keep their old rules, and all
    others get theirs; see `Suspects` for when those are tried again.
    """

    def __init__(
        self, kernel: KernelTable, render: Render, ours: Commits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.family = kernel.family
        self._clock = clock
        delta = TableDelta()
        self._desired = DesiredTable(render, parts=delta.desired)
        self._observed = ObservedTable(kernel, ours, delta)
        self._suspects = Suspects(kernel.family, clock)
        self._culprits = TableCulprits(self._desired, self._suspects, self._refusal, clock)
        self._pending: set[NamespacedName] = set()
        self._watch = Stopwatch(clock)
        self._done: list[Transaction] = []
        """The transactions of the present sync that took effect."""

    def sync(
        self, store: Store, dirty: AbstractSet[NamespacedName], circumstances: Circumstances, *, verify: bool
    ) -> SyncReport:
        """Bring the kernel to the newest state; with `verify`, mend also what somebody else did to our table."""
        self._watch, self._done = Stopwatch(self._clock), []
        self._observed.begin_sync()
        self._pending |= dirty | self._culprits.interrupted
        self._culprits.interrupted.clear()
        if self._desired.is_new:
            self._pending |= store.services.keys()
        error: OperationFailed | None = None
        try:
            refused_before = self._update(store, circumstances)
            error = self._bring(verify=verify)
            if refused_before and error is None:
                groups = self._update_refused(store, refused_before)
                error = self._bring(groups)
        except OperationFailed as failed:
            error = failed
        return self._report(error)

    def record(self) -> None:
        """An agent that starts again writes all of the table, so there is nothing to note."""

    def _report(self, error: OperationFailed | None) -> SyncReport:
        observe_s = self._watch.spent_s(Stage.OBSERVE)
        return SyncReport(
            services=self._desired.service_ports,
            chains_written=sum(len(each.written) for each in self._done),
            chains_deleted=sum(len(each.deleted) for each in self._done),
            rules_written=sum(each.line_count for each in self._done),
            compute_s=self._watch.spent_s(Stage.COMPUTE),
            apply_s=observe_s + self._watch.spent_s(Stage.APPLY),
            error=error,
            drifted=self._observed.drifted,
            observe_s=observe_s,
            left_something=error is None and self._observed.state is State.UNREAD,
            quarantined=self._suspects.rejections,
        )

    def _update(self, store: Store, circumstances: Circumstances) -> AbstractSet[NamespacedName]:
        """Compute the newest plans of all Services except the refused ones; returns the refused ones that are due."""
        desired, suspects = self._desired, self._suspects
        if desired.adopt(circumstances):
            suspects.reconsider_all()
        suspects.reconsider(self._pending)
        untried = self._culprits.untried
        refused, due = suspects.refused | untried, suspects.due | untried
        stale = desired.stale - suspects.waiting
        self._culprits.place(store, (self._pending | stale | due) - refused)
        self._pending.clear()
        return due & refused

    def _update_refused(
        self, store: Store, keys: AbstractSet[NamespacedName]
    ) -> Sequence[Sequence[NamespacedName]]:
        """Compute the newest plans of refused Services that are due; returns the groups in which to try them first."""
        self._watch.enter(Stage.COMPUTE)
        self._culprits.place(store, keys)
        return self._culprits.take_untried()

    def _bring(
        self, groups: Sequence[Sequence[NamespacedName]] = (), *, verify: bool = False
    ) -> ProgramFailed | None:
        """Bring the kernel to what is desired, without Services at fault; returns a refusal if some are untried.

        Each of the groups was refused by an earlier search, which had no more tries for its parts.
        """
        refused = self._write(verify=verify)
        if refused is None:
            self._culprits.release()
            self._culprits.settle()
            return None
        are_all_tried = self._culprits.search(refused, groups)
        again = self._write()
        if again is not None:
            raise again
        self._culprits.settle()
        return None if are_all_tried else refused

    def _write(self, *, verify: bool = False) -> ProgramFailed | None:
        """Observe, plan, apply and settle, until the kernel holds what is desired.

        Returns a refusal for which nothing but Services can be at fault. After any other refusal the state of the table
        is another one, or doubted; so the table is observed, and the next plan is for the new state.
        """
        refused: ProgramFailed | None = None
        for _ in range(_MOST_PLANS):
            self._observe(verify=verify or refused is not None)
            planned_for = self._observed.state
            for transaction in self._plan():
                refused = self._apply(transaction)
                if refused is None:
                    return None
                if self._observed.state is not planned_for:
                    break
            else:
                if planned_for is not State.DOUBTED:
                    return refused
        if refused is not None:
            raise refused
        return None

    def _observe(self, *, verify: bool) -> None:
        """Hear whether others committed; look at a table of which nothing is known, or with `verify` at one in doubt."""
        self._watch.enter(Stage.OBSERVE)
        if verify:
            self._observed.verify()
        else:
            self._observed.listen()
        self._watch.enter(Stage.APPLY)
        if self._observed.state is State.UNREAD:
            self._observed.look()

    def _plan(self) -> Iterator[Transaction]:
        """The transactions that would do, the gentlest first."""
        return plans(self.family, self._observed, self._desired)

    def _apply(self, transaction: Transaction) -> ProgramFailed | None:
        """Let the transaction take effect, and settle; returns a refusal. Any other OperationFailed is raised."""
        planned_for = self._observed.state
        try:
            self._observed.apply(transaction)
        except DoesNotFit as failed:
            if planned_for is State.ABSENT:
                raise
            self._make_room(failed)
            return failed
        except OperationFailed as failed:
            if not is_refusal(failed):
                raise
            self._observed.listen()  # somebody may have committed since the plan was made
            return failed
        self._done.append(transaction)
        return None

    def _make_room(self, failed: DoesNotFit) -> None:
        """Remove our table, which then goes in in steps, because the change is too large for the sockets of `nft`."""
        _log.warning(
            "%s: our table is removed and written in steps, and new connections find no Services meanwhile: %s",
            self.family,
            failed,
        )
        self._observed.remove()

    def _refusal(self) -> ProgramFailed | None:
        """Why the kernel would take no plan for what is desired now; None if it would take one."""
        return refusal(self.family, self._observed, self._desired)
