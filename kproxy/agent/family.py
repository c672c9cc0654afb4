"""One family's rules: what they should be, what the kernel is known to hold, and the way there."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import chain as chain_up
from typing import Protocol

from kproxy.agent.applied import AppliedChains, Rules, only
from kproxy.agent.course import Course, Stage, TimedRender
from kproxy.agent.suspects import Suspects, limited
from kproxy.errors import ProgramFailed
from kproxy.kernel.accounting import ensure_counters
from kproxy.kernel.iptables import Iptables
from kproxy.ruleset.chains import Chain
from kproxy.ruleset.desired import Circumstances, DesiredRuleset
from kproxy.ruleset.iptables import Render
from kproxy.state.events import Rejection
from kproxy.state.store import Store
from kproxy.transaction.ahead import sections_ahead
from kproxy.transaction.halving import Refusal, find_culprits
from kproxy.transaction.refusal import is_refusal, named_rule
from kproxy.transaction.transaction import Section
from kproxy.values import Family, NamespacedName

_log = logging.getLogger(__name__)

_MOST_REFUSALS_OF_COUNTERS = 2
"""In a row, until a new agent: once, somebody may have deleted the counters amid a sync; twice, the kernel has no match for them."""

_PROBED = (Chain("filter", "KUBE-FORWARD"), Chain("nat", "KUBE-MARK-MASQ"))


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What one sync of one family did. Times are seconds; `error` is None if it took effect.

    `drifted` counts chains and jumps of ours that somebody else had changed. `observe_s` and `lock_wait_s` are parts
    of `apply_s`, and `render_s` of `compute_s`; `rules_by_table` is `rules_written` by table. `left_something` says that
    what nothing leads to any more could not be removed. `quarantined` has every Service whose newest rules cannot be
    rendered or are refused by the kernel, whether this sync found it or one before.
    """

    services: int
    chains_written: int
    chains_deleted: int
    rules_written: int
    compute_s: float
    apply_s: float
    error: ProgramFailed | None = None
    drifted: int = 0
    render_s: float = 0.0
    observe_s: float = 0.0
    lock_wait_s: float = 0.0
    rules_by_table: Mapping[str, int] = field(default_factory=dict)
    left_something: bool = False
    quarantined: tuple[Rejection, ...] = ()

    @property
    def took_s(self) -> float:
        return self.compute_s + self.apply_s

    @property
    def stages_s(self) -> Mapping[str, float]:
        """What took how long; `observe` is looking at the kernel, `apply` writing to it, both without `lock_wait`."""
        return {
            "compute": self.compute_s - self.render_s,
            "render": self.render_s,
            "observe": self.observe_s,
            "lock_wait": self.lock_wait_s,
            "apply": self.apply_s - self.observe_s - self.lock_wait_s,
        }


class Proxy(Protocol):
    """Keeps one family's rules at the newest state, in any mode."""

    @property
    def family(self) -> Family: ...
    def sync(
        self, store: Store, dirty: AbstractSet[NamespacedName], circumstances: Circumstances, *, verify: bool
    ) -> SyncReport: ...
    def record(self) -> None: ...


class FamilyProxy:
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
        self._pending: set[NamespacedName] = set()
        self._untried: list[list[NamespacedName]] = []
        self._updates: Iterator[set[Chain]] = iter(())
        self._trying: AbstractSet[NamespacedName] = frozenset()
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
        course, waited_s = Course(self._worked_s), self._iptables.lock_waited_s
        self._applied.drifted, self._trying = 0, frozenset()
        rendered_s = self._render.spent_s
        self._pending |= dirty
        try:
            error = self._bring_counted(store, circumstances, course, verify=verify) or course.not_deleted
            if course.not_deleted:
                self._applied.forget()
        except BaseException as failed:
            self._applied.forget()  # whatever it was, all is compared again
            if not isinstance(failed, ProgramFailed):
                self._desired.begin_anew()
                raise
            error = failed
        self._failed_before = error is not None
        transaction = course.transaction
        lock_wait_s = self._iptables.lock_waited_s - waited_s
        observe_s = course.spent_s(Stage.OBSERVE)
        return SyncReport(
            services=self._desired.service_ports,
            chains_written=len(transaction.written),
            chains_deleted=len(transaction.deleted),
            rules_written=transaction.rule_count,
            compute_s=course.spent_s(Stage.COMPUTE),
            apply_s=observe_s + course.spent_s(Stage.APPLY) + lock_wait_s,
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

        ProgramFailed if the kernel cannot be read; an agent that starts again then writes those chains anew.
        """
        self._applied.record()

    def _worked_s(self) -> float:
        """A clock that stands while we wait for the lock."""
        return self._clock() - self._iptables.lock_waited_s

    def _bring_counted(
        self, store: Store, circumstances: Circumstances, course: Course, *, verify: bool
    ) -> ProgramFailed | None:
        """With counters, or without where the kernel cannot have them now: a rule that names one that is not there is refused."""
        settings = circumstances.settings
        uncounted = replace(circumstances, settings=replace(settings, accounting=False))
        takes_none = self._refusals_of_counters >= _MOST_REFUSALS_OF_COUNTERS
        if not settings.accounting or takes_none or not self._ensure_counters():
            return self._bring(store, uncounted, course, verify=verify)
        try:
            error = self._bring(store, circumstances, course, verify=verify)
        except ProgramFailed as failed:
            if not is_refusal(failed) or "nfacct" not in (named_rule(failed) or str(course.refused)):
                raise
            _log.warning("%s: the rules are tried without packet counters: %s", self.family, failed)
        else:
            self._refusals_of_counters = 0
            return error
        self._applied.forget()
        error = self._bring(store, uncounted, course, verify=verify)
        self._refusals_of_counters += 1
        return error

    def _bring(
        self, store: Store, circumstances: Circumstances, course: Course, *, verify: bool
    ) -> ProgramFailed | None:
        """First all Services but those that were refused, then those of them that are due; the refusal if tries were used up."""
        suspects = self._suspects
        suspects.reconsider(self._pending)
        if self._desired.is_new(circumstances):
            suspects.reconsider_all()
        untried = set(chain_up.from_iterable(self._untried))
        refused, due = suspects.refused | untried, suspects.due | untried
        first = (self._pending | due) - refused
        self._updates = self._computed(store, first, circumstances, kept=refused)
        error = self._bring_most(course, verify=verify)
        second = due & refused
        if error is not None or not second:
            return error
        course.enter(Stage.COMPUTE)
        self._updates = self._computed(store, second, circumstances, kept=refused - second)
        self._compute_rest()
        self._applied.unsettled |= self._desired.withdraw(second)
        self._trying = second
        course.enter(Stage.APPLY)
        groups, self._untried = [*self._untried, sorted(second - untried)], []
        failed = suspects.not_computed_now
        return self._search([[key for key in group if key not in failed] for group in groups], course)

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

    def _bring_most(self, course: Course, *, verify: bool) -> ProgramFailed | None:
        was_known = self._applied.known is not None
        try:
            self._applied.commit(self._sections(course, verify=verify), course)
        except ProgramFailed as failed:
            if not is_refusal(failed):
                raise
            return self._recover(failed, course, may_have_been_others=was_known)
        self._applied.settle(self._desired.changed)
        return None

    def _sections(self, course: Course, *, verify: bool) -> Iterator[Section]:
        """What is to be committed; on a kernel that holds none of it, new chains while the rest is still computed."""
        applied = self._applied
        looks_at_jumps = verify or applied.known is None
        held: dict[Chain, str | None] | None = None
        if applied.known is None and self._rules.may_write_ahead():
            held = dict(self._rules.look({}))
            course.known = dict(held)
            parts = (only(self._desired.chains, changed) for changed in self._updates)
            for section in sections_ahead(parts, held, self._iptables.backend.section_size_ahead):
                course.enter(Stage.APPLY)
                yield section
                course.enter(Stage.COMPUTE)
        else:
            self._compute_rest()
        course.enter(Stage.OBSERVE)
        course.missing_jumps = applied.missing_jumps() if looks_at_jumps else {}
        known = applied.observed(held, verify=verify)
        if held is None:
            course.known = known
        course.enter(Stage.APPLY)
        yield from applied.rest(course, deletes_apart=self._failed_before)

    def _commit_rest(self, course: Course, probes: Iterable[Section] = ()) -> None:
        """What could not be deleted, as others hold on to it, is left for the next sync: it holds up no Service."""
        if self._applied.known is None:
            self._look_anew(course)
        try:
            self._applied.commit_rest(course, probes)
        except ProgramFailed as failed:
            if not (course.refused and course.refused.only_deletes):
                raise
            course.not_deleted = failed

    def _probes(self) -> Iterator[Section]:
        """Chains of the node written as they are: the kernel refuses this only if it takes nothing at all."""
        for chain in _PROBED:
            rules = self._desired.chains.get(chain)
            if rules is not None and chain not in self._applied.unsettled:
                yield Section(chain.table, {chain: rules})

    def _recover(
        self, failed: ProgramFailed, course: Course, *, may_have_been_others: bool
    ) -> ProgramFailed | None:
        """After a refusal: is it what others did to our chains, a deletion, or some Services?"""
        course.enter(Stage.COMPUTE)
        self._compute_rest()
        refused = course.refused
        if may_have_been_others or refused is None:
            self._look_anew(course)
        else:
            self._applied.take_stock(course)
        course.enter(Stage.APPLY)
        if may_have_been_others or refused is None or refused.deleted:
            try:
                self._commit_rest(course)
            except ProgramFailed as again:
                if not is_refusal(again):
                    raise
                failed = again
            else:
                self._applied.settle(self._desired.changed)
                return None
        return self._blame(failed, course)

    def _look_anew(self, course: Course) -> None:
        course.enter(Stage.OBSERVE)
        self._applied.look_anew(course)
        self._desired.reopen(self._applied.known or {})

    def _blame(self, failed: ProgramFailed, course: Course) -> ProgramFailed | None:
        """Find the Services at fault. Raises `failed` if rules are refused also without the newest of any."""
        changed = self._desired.changed
        if not changed:
            raise failed
        refusal = Refusal(failed, self._desired.owner(course.refused_line))
        self._applied.unsettled |= self._desired.withdraw(changed)
        if refusal.named is None:
            try:
                self._commit_rest(course, self._probes())
            except ProgramFailed:
                self._applied.unsettled |= self._desired.admit(changed)
                raise failed from None
        # one alone is tried again: what failed may be over
        is_certain = refusal.named is not None or len(changed) > 1
        return self._search([changed], course, refusal if is_certain else None)

    def _search(
        self,
        groups: Sequence[Sequence[NamespacedName]],
        course: Course,
        refusal: Refusal[NamespacedName, ProgramFailed] | None = None,
    ) -> ProgramFailed | None:
        """Let those withdrawn Services that can have their newest rules have them; `refusal` was that of the only group."""
        changed = self._desired.changed
        refusals = [refusal] if refusal else []
        last: ProgramFailed | None = None

        def attempt(group: Sequence[NamespacedName]) -> Refusal[NamespacedName, ProgramFailed] | None:
            nonlocal last
            refused = refusals.pop() if refusals else self._attempt(group, course)
            last = refused.reason if refused else last
            return refused

        try:
            found = find_culprits(groups, attempt, limited(self._worked_s))
        except BaseException:
            self._applied.unsettled |= self._desired.admit(changed)  # the next sync begins anew
            raise
        self._suspects.refuse(found.culprits)
        self._untried += found.untried
        self._desired.settle([*found.culprits, *chain_up.from_iterable(found.untried)])
        self._commit_rest(course)  # refused tries may have left chains behind
        self._applied.settle(changed)
        return last if found.untried else None

    def _attempt(
        self, group: Sequence[NamespacedName], course: Course
    ) -> Refusal[NamespacedName, ProgramFailed] | None:
        self._applied.unsettled |= self._desired.admit(group)
        try:
            self._commit_rest(course)
        except ProgramFailed as failed:
            if not is_refusal(failed):
                raise
            refusal = Refusal(failed, self._desired.owner(course.refused_line))
            self._applied.unsettled |= self._desired.withdraw(group)
            return refusal
        self._applied.settle(group)
        self._suspects.release(self._trying & set(group))
        return None
