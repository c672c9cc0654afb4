"""One family's rules: what they should be, what the kernel is known to hold, and the way there."""

import logging
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace

from kproxy.agent.applied import AppliedChains, Rules, only
from kproxy.agent.culprits import Culprits
from kproxy.agent.progress import Progress, Stage, TimedRender
from kproxy.agent.proxy import SyncReport
from kproxy.agent.suspects import Suspects
from kproxy.errors import OperationFailed, ProgramFailed
from kproxy.kernel.netlink.accounting import ensure_counters
from kproxy.kernel.programs.iptables import Iptables
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.inputs import Circumstances, Render
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.state.store import Store
from kproxy.transaction.iptables.early_sections import early_sections
from kproxy.transaction.iptables.transaction import Section
from kproxy.transaction.refusal import is_refusal, named_rule
from kproxy.values import NamespacedName

_log = logging.getLogger(__name__)

_MOST_REFUSALS_OF_COUNTERS = 2
"""In a row, until a new agent: once, somebody may have deleted the counters amid a sync; twice, the kernel has no match for them."""


class IptablesProxy:
    """Keeps one family's rules at the newest state.

    Level-triggered: each sync compares what is wanted with what is known to be in the kernel, for every
    chain that may differ, so a failed apply loses nothing. The order that keeps every state in between harmless rests
    on what is there, so where that is not known after a failure, the kernel is looked at anew.

    If some Services are at fault when rules are refused, they keep those that they had, and all others get theirs.
    """

    def __init__(
        self,
        iptables: Iptables,
        rules: Rules,
        render: Render,
        clock: Callable[[], float] = time.monotonic,
        ensure_counters: Callable[[], bool] = ensure_counters,
    ) -> None:
        self.family = iptables.family
        self._iptables = iptables
        self._rules = rules
        self._clock = clock
        self._ensure_counters = ensure_counters
        self._render = TimedRender(render, clock)
        self._desired = DesiredRuleset(self._render)
        self._applied = AppliedChains(iptables, rules, self._desired)
        self._suspects = Suspects(self.family, clock)
        self._culprits = Culprits(self._applied, self._desired, self._suspects, self._worked_s)
        self._pending: set[NamespacedName] = set()
        self._updates: Iterator[set[Chain]] = iter(())
        self._failed_before = False
        self._refusals_of_counters = 0

    @property
    def desired(self) -> DesiredRuleset:
        """What the kernel should hold, as of the last sync."""
        return self._desired

    def sync(
        self, store: Store, dirty: AbstractSet[NamespacedName], circumstances: Circumstances, *, verify: bool
    ) -> SyncReport:
        """Bring the kernel to the newest state; with `verify`, mend also what somebody else did to our rules.

        `record` is to be called soon after.
        """
        progress, waited_s = Progress(self._worked_s), self._iptables.lock_waited_s
        self._applied.drifted = 0
        rendered_s = self._render.spent_s
        self._pending |= dirty
        try:
            error: OperationFailed | None = self._bring_counted(store, circumstances, progress, verify=verify)
            error = error or progress.not_deleted
            if progress.not_deleted:
                self._applied.forget()
        except BaseException as failed:
            self._applied.forget()  # the next sync compares all
            if not isinstance(failed, OperationFailed):
                self._desired.forget_circumstances()
                raise
            error = failed
        self._failed_before = error is not None
        transaction = progress.transaction
        lock_wait_s = self._iptables.lock_waited_s - waited_s
        observe_s = progress.spent_s(Stage.OBSERVE)
        return SyncReport(
            services=self._desired.service_ports,
            chains_written=len(transaction.written),
            chains_deleted=len(transaction.deleted),
            rules_written=transaction.rule_count,
            compute_s=progress.spent_s(Stage.COMPUTE),
            apply_s=observe_s + progress.spent_s(Stage.APPLY) + lock_wait_s,
            error=error,
            drifted=self._applied.drifted,
            render_s=self._render.spent_s - rendered_s,
            observe_s=observe_s,
            lock_wait_s=lock_wait_s,
            rules_by_table=transaction.rules_by_table,
            quarantined=self._suspects.rejections,
        )

    def record(self) -> None:
        """Note what the last sync applied; reading the kernel back takes a tenth of what a large apply took.

        KernelRefused if the kernel cannot be read; an agent that starts again then writes those chains anew.
        """
        self._applied.record()

    def _worked_s(self) -> float:
        """A clock that stands while we wait for the lock."""
        return self._clock() - self._iptables.lock_waited_s

    def _bring_counted(
        self, store: Store, circumstances: Circumstances, progress: Progress, *, verify: bool
    ) -> ProgramFailed | None:
        """With packet counters; without them if the kernel lacks any, as it refuses rules that name a missing one."""
        settings = circumstances.settings
        uncounted = replace(circumstances, settings=replace(settings, accounting=False))
        takes_none = self._refusals_of_counters >= _MOST_REFUSALS_OF_COUNTERS
        if not settings.accounting or takes_none or not self._ensure_counters():
            return self._bring(store, uncounted, progress, verify=verify)
        try:
            error = self._bring(store, circumstances, progress, verify=verify)
        except ProgramFailed as failed:
            if not is_refusal(failed) or "nfacct" not in (named_rule(failed) or str(progress.refused)):
                raise
            _log.warning("%s: the rules are tried without packet counters: %s", self.family, failed)
        else:
            self._refusals_of_counters = 0
            return error
        self._applied.forget()
        error = self._bring(store, uncounted, progress, verify=verify)
        self._refusals_of_counters += 1
        return error

    def _bring(
        self, store: Store, circumstances: Circumstances, progress: Progress, *, verify: bool
    ) -> ProgramFailed | None:
        """First all Services except the refused ones, then the refused ones that are due.

        Returns a refusal if the tries were used up before each Service had one.
        """
        suspects = self._suspects
        suspects.reconsider(self._pending)
        if self._desired.is_new(circumstances):
            suspects.reconsider_all()
        untried = self._culprits.untried
        refused, due = suspects.refused | untried, suspects.due | untried
        first = (self._pending | due) - refused
        self._updates = self._computed(store, first, circumstances, kept=refused)
        error = self._bring_most(progress, verify=verify)
        second = due & refused
        if error is not None or not second:
            return error
        progress.enter(Stage.COMPUTE)
        self._updates = self._computed(store, second, circumstances, kept=refused - second)
        self._compute_rest()
        return self._culprits.try_again(second, progress)

    def _computed(
        self,
        store: Store,
        keys: AbstractSet[NamespacedName],
        circumstances: Circumstances,
        kept: AbstractSet[NamespacedName],
    ) -> Iterator[set[Chain]]:
        """The chains that change, some Services at a time."""
        for changed in self._desired.update_in_parts(store, keys, circumstances, kept):
            self._applied.unsettled |= changed
            yield changed
        self._suspects.computed(keys, self._desired.take_not_computed())
        self._pending.clear()

    def _compute_rest(self) -> None:
        for _ in self._updates:
            pass

    def _bring_most(self, progress: Progress, *, verify: bool) -> ProgramFailed | None:
        was_known = self._applied.known is not None
        try:
            self._applied.commit(self._sections(progress, verify=verify), progress)
        except ProgramFailed as failed:
            if not is_refusal(failed):
                raise
            progress.enter(Stage.COMPUTE)
            self._compute_rest()
            return self._culprits.recover(failed, progress, may_have_been_others=was_known)
        self._applied.settle(self._desired.changed)
        return None

    def _sections(self, progress: Progress, *, verify: bool) -> Iterator[Section]:
        """What is to be committed; on a kernel that holds none of it, new chains while the rest is still computed."""
        applied = self._applied
        looks_at_jumps = verify or applied.known is None
        held: dict[Chain, str | None] | None = None
        if applied.known is None and self._rules.may_write_ahead():
            held = dict(self._rules.look({}))
            progress.known = dict(held)
            parts = (only(self._desired.chains, changed) for changed in self._updates)
            for section in early_sections(parts, held, self._iptables.variant.section_size_ahead):
                progress.enter(Stage.APPLY)
                yield section
                progress.enter(Stage.COMPUTE)
        else:
            self._compute_rest()
        progress.enter(Stage.OBSERVE)
        progress.missing_jumps = applied.missing_jumps() if looks_at_jumps else {}
        known = applied.observed(held, verify=verify)
        if held is None:
            progress.known = known
        progress.enter(Stage.APPLY)
        yield from applied.rest(progress, deletes_apart=self._failed_before)
