"""One family's rules in iptables mode: a sync updates, observes, plans, applies and settles, in this order."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from itertools import chain as chain_up

from kproxy.agent.iptables_culprits import IptablesCulprits
from kproxy.agent.iptables_write import NOTHING_EARLY, EarlyWrites, Write, planned, writing
from kproxy.agent.progress import Progress, TimedRender
from kproxy.agent.proxy import SyncReport
from kproxy.agent.stopwatch import Stage
from kproxy.agent.suspects import Suspects
from kproxy.errors import OperationFailed, ProgramFailed
from kproxy.kernel.netlink.accounting import ensure_counters
from kproxy.kernel.programs.iptables import Variant
from kproxy.observed.iptables_chains import ObservedChains
from kproxy.observed.iptables_kernel import IptablesProgram, KernelChains
from kproxy.observed.states import REMEMBERED, State
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.inputs import Circumstances, Render
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.state.store import Store
from kproxy.transaction.delta import Delta
from kproxy.transaction.iptables.early_sections import CHAINS_A_PIECE, EarlySections
from kproxy.transaction.iptables.transaction import Reason, Section
from kproxy.transaction.refusal import is_refusal, named_rule
from kproxy.values import NamespacedName

_log = logging.getLogger(__name__)

_MOST_REFUSALS_OF_COUNTERS = 2
"""Refusals in a row, until a new agent. After one, somebody may have deleted the counters in the middle of a sync;
after two, the kernel has no match for them."""


class IptablesProxy:
    """Keeps one family's rules at the newest state.

    Each sync compares all chains, so a failed apply loses nothing; if it leaves the rules in the kernel unknown, the
    next sync reads them. If some Services are at fault when rules are refused, they keep their old rules, and all
    others get their new ones.
    """

    def __init__(
        self,
        iptables: IptablesProgram,
        kernel: KernelChains,
        render: Render,
        clock: Callable[[], float] = time.monotonic,
        ensure_counters: Callable[[], bool] = ensure_counters,
    ) -> None:
        self.family = iptables.family
        self._iptables = iptables
        self._clock = clock
        self._ensure_counters = ensure_counters
        self._render = TimedRender(render, clock)
        delta = Delta[Chain, str]()
        self._desired = DesiredRuleset(self._render, delta.desired)
        self._observed = ObservedChains(iptables, kernel, delta)
        self._suspects = Suspects(self.family, clock)
        self._culprits = IptablesCulprits(
            iptables, self._observed, self._desired, self._suspects, self._worked_s
        )
        self._pending: set[NamespacedName] = set()
        self._failed_before = False
        self._refusals_of_counters = 0

    @property
    def desired(self) -> DesiredRuleset:
        """The rules that the kernel should hold, as of the last sync."""
        return self._desired

    @property
    def observed(self) -> ObservedChains:
        """The rules that the kernel holds, as far as they are known."""
        return self._observed

    def sync(
        self, store: Store, dirty: AbstractSet[NamespacedName], circumstances: Circumstances, *, verify: bool
    ) -> SyncReport:
        """Bring the kernel to the newest state; with `verify`, mend also what somebody else did to our rules.

        `record` is to be called soon after.
        """
        progress, waited_s = Progress(self._worked_s), self._iptables.lock_waited_s
        self._observed.begin_sync()
        rendered_s = self._render.spent_s
        self._pending |= dirty
        try:
            error: OperationFailed | None = self._sync_with_counters(
                store, circumstances, progress, verify=verify
            )
            error = error or progress.not_deleted
            if progress.not_deleted:
                self._observed.forget()
        except BaseException as failed:
            self._observed.forget()  # the next sync compares all
            if not isinstance(failed, OperationFailed):
                self._desired.forget_circumstances()
                raise
            error = failed
        self._failed_before = error is not None
        lock_wait_s = self._iptables.lock_waited_s - waited_s
        return self._report(progress, error, self._render.spent_s - rendered_s, lock_wait_s)

    def _report(
        self, progress: Progress, error: OperationFailed | None, render_s: float, lock_wait_s: float
    ) -> SyncReport:
        transaction = progress.transaction
        observe_s = progress.spent_s(Stage.OBSERVE)
        return SyncReport(
            services=self._desired.service_ports,
            chains_written=len(transaction.written),
            chains_deleted=len(transaction.deleted),
            rules_written=transaction.rule_count,
            compute_s=progress.spent_s(Stage.COMPUTE),
            apply_s=observe_s + progress.spent_s(Stage.APPLY) + lock_wait_s,
            error=error,
            drifted=self._observed.drifted,
            render_s=render_s,
            observe_s=observe_s,
            lock_wait_s=lock_wait_s,
            rules_by_table=transaction.rules_by_table,
            quarantined=self._suspects.rejections,
        )

    def record(self) -> None:
        """Note what the last sync applied; reading the kernel back takes a tenth of what a large apply took.

        KernelRefused if the kernel cannot be read; an agent that starts again then writes these chains again.
        """
        self._observed.record()

    def _worked_s(self) -> float:
        """A clock that stands still while we wait for the lock."""
        return self._clock() - self._iptables.lock_waited_s

    def _sync_with_counters(
        self, store: Store, circumstances: Circumstances, progress: Progress, *, verify: bool
    ) -> ProgramFailed | None:
        """Sync with packet counters, or without them if one is missing: the kernel refuses rules that name it."""
        settings = circumstances.settings
        uncounted = replace(circumstances, settings=replace(settings, accounting=False))
        takes_none = self._refusals_of_counters >= _MOST_REFUSALS_OF_COUNTERS
        if not settings.accounting or takes_none or not self._ensure_counters():
            return self._sync_all(store, uncounted, progress, verify=verify)
        try:
            error = self._sync_all(store, circumstances, progress, verify=verify)
        except ProgramFailed as failed:
            if not is_refusal(failed) or "nfacct" not in (named_rule(failed) or str(progress.refused)):
                raise
            _log.warning("%s: the rules are tried without packet counters: %s", self.family, failed)
        else:
            self._refusals_of_counters = 0
            return error
        self._observed.forget()
        error = self._sync_all(store, uncounted, progress, verify=verify)
        self._refusals_of_counters += 1
        return error

    def _sync_all(
        self, store: Store, circumstances: Circumstances, progress: Progress, *, verify: bool
    ) -> ProgramFailed | None:
        """Sync all Services except the refused ones, and then the refused ones that are due.

        Returns a refusal if the tries were used up before each Service had one.
        """
        suspects = self._suspects
        suspects.reconsider(self._pending)
        if self._desired.has_other_circumstances(circumstances):
            suspects.reconsider_all()
        untried = self._culprits.untried
        refused, due = suspects.refused | untried, suspects.due | untried
        first = (self._pending | due) - refused
        error = self._run_steps(
            self._computed(store, first, circumstances, kept=refused), progress, verify=verify
        )
        second = due & refused
        if error is not None or not second:
            return error
        progress.enter(Stage.COMPUTE)
        _exhaust(self._computed(store, second, circumstances, kept=refused - second))
        return self._culprits.try_again(second, progress)

    def _run_steps(
        self, parts: Iterator[AbstractSet[Chain]], progress: Progress, *, verify: bool
    ) -> ProgramFailed | None:
        """Compute the parts, and write what they change: the five steps of a sync."""
        was_remembered = self._observed.state in REMEMBERED
        try:
            with writing(self._iptables, self._observed, progress) as write:
                early = self._update(parts, write, progress)
                self._observe(progress, verify=verify)
                self._apply(self._plan(early, progress), write)
        except ProgramFailed as failed:
            if not is_refusal(failed):
                raise
            progress.enter(Stage.COMPUTE)
            _exhaust(parts)
            return self._culprits.recover(failed, progress, may_have_been_others=was_remembered)
        self._settle()
        return None

    def _computed(
        self,
        store: Store,
        keys: AbstractSet[NamespacedName],
        circumstances: Circumstances,
        kept: AbstractSet[NamespacedName],
    ) -> Iterator[AbstractSet[Chain]]:
        """Compute the newest rules of these Services part by part; the chains that each part changes."""
        yield from self._desired.update_in_parts(store, keys, circumstances, kept)
        self._suspects.computed(keys, self._desired.take_not_computed())
        self._pending.clear()

    def _update(self, parts: Iterator[AbstractSet[Chain]], write: Write, progress: Progress) -> EarlyWrites:
        """Compute all parts. On a node that holds no Service, new chains are written meanwhile; returns these."""
        if self._observed.state in REMEMBERED or not self._observed.find_no_service():
            _exhaust(parts)
            return NOTHING_EARLY
        if self._iptables.variant is Variant.LEGACY:
            return self._update_in_one_commit(parts, write, progress)
        size = self._iptables.variant.early_section_size
        return EarlyWrites(self._write_early(parts, write.commit, size, progress))

    def _update_in_one_commit(
        self, parts: Iterator[AbstractSet[Chain]], write: Write, progress: Progress
    ) -> EarlyWrites:
        """Legacy replaces a whole table at each COMMIT, so nat is one section, open until all is computed.

        The filter rules of the node, which are in the first part, are committed before: they guard the node, and pass
        what nat will rewrite. Those of Services come with the rest: they refuse packets that nat does not rewrite.
        """
        changed = next(parts, set())
        progress.enter(Stage.OBSERVE)
        self._observed.look_at_jumps(self._desired.jumps)
        progress.enter(Stage.APPLY)
        delta = self._observed.delta
        guards = {
            chain: rules
            for chain, rules in delta.wanted.items()
            if chain.table == "filter" and chain not in delta.observed
        }
        jumps = (self._observed.missing_jumps or {}).get("filter", ())
        write.commit([Section("filter", guards, tuple(jumps), reason=Reason.REFUSE)])
        write.open("nat")
        progress.enter(Stage.COMPUTE)
        nat = self._write_early(chain_up([changed], parts), write.add_all, lambda _: CHAINS_A_PIECE, progress)
        return EarlyWrites(guards | nat, frozenset({"filter"}))

    def _write_early(
        self,
        parts: Iterable[AbstractSet[Chain]],
        write: Callable[[Sequence[Section]], None],
        size: Callable[[int], int | None],
        progress: Progress,
    ) -> dict[Chain, str]:
        early = EarlySections(frozenset(self._observed.delta.observed), size)
        for changed in parts:
            chains = self._desired.chains
            due = early.due({chain: chains[chain] for chain in changed if chain in chains})
            if due:
                progress.enter(Stage.APPLY)
                write(due)
                progress.enter(Stage.COMPUTE)
        return early.written

    def _observe(self, progress: Progress, *, verify: bool) -> None:
        """Read the kernel if nothing is known of it, or if it is to be verified."""
        progress.enter(Stage.OBSERVE)
        observed = self._observed
        if observed.missing_jumps is None and (verify or observed.state not in REMEMBERED):
            observed.look_at_jumps(self._desired.jumps)
        if observed.state is State.ABSENT:
            observed.disown()
        elif observed.state not in REMEMBERED:
            observed.look()
        elif verify:
            observed.verify()

    def _plan(self, early: EarlyWrites, progress: Progress) -> Sequence[Section]:
        """The sections that make up the difference, in an order that is harmless at each COMMIT."""
        progress.enter(Stage.APPLY)
        return planned(self._iptables, self._observed, early=early, deletes_apart=self._failed_before)

    @staticmethod
    def _apply(sections: Sequence[Section], write: Write) -> None:
        write.finish(sections)

    def _settle(self) -> None:
        """All Services have their newest rules in the kernel, so their old rules are no longer kept."""
        self._desired.settle(self._desired.changed)


def _exhaust(parts: Iterator[object]) -> None:
    for _ in parts:
        pass
