"""One family's rules: what they should be, what the kernel is known to hold, and the way there."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import chain as chain_up
from typing import Protocol, TypeVar

from kproxy.agent.course import Course, Stage, TimedRender
from kproxy.errors import ProgramFailed
from kproxy.kernel.iptables import Iptables
from kproxy.ruleset.chains import Chain, Ruleset
from kproxy.ruleset.desired import Circumstances, DesiredRuleset
from kproxy.ruleset.iptables import Render
from kproxy.state.events import Rejection
from kproxy.state.store import Store
from kproxy.transaction.ahead import sections_ahead
from kproxy.transaction.fit import fitting
from kproxy.transaction.plan import Known, is_ours, plan
from kproxy.transaction.transaction import Section, Transaction
from kproxy.values import Family, NamespacedName

_log = logging.getLogger(__name__)


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


class Rules(Protocol):
    """What the kernel holds, as one of its two packet filters can tell."""

    def look(self, desired: Ruleset) -> Known: ...
    def look_again(self, known: Known) -> Known: ...
    def may_write_ahead(self) -> bool: ...
    def begins(self) -> None: ...
    def before(self, section: Section) -> None: ...
    def took_effect(self, transaction: Transaction) -> None: ...
    def record(self, transaction: Transaction) -> None: ...


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
    chain that may differ, so a failed apply loses nothing. After it the kernel is looked at anew: the order that
    keeps every state in between harmless rests on what is there.
    """

    def __init__(
        self,
        iptables: Iptables,
        rules: Rules,
        render: Render,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.family = iptables.family
        self._iptables = iptables
        self._rules = rules
        self._clock = clock
        self._render = TimedRender(render, clock)
        self._desired = DesiredRuleset(self._render)
        self._pending: set[NamespacedName] = set()
        self._known: dict[Chain, str | None] | None = None
        self._unsettled: set[Chain] = set()
        self._unrecorded = Transaction()
        self._failed_before = False
        self._drifted = 0

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
        self._drifted = 0
        rendered_s = self._render.spent_s
        self._pending |= dirty
        error = None
        try:
            self._apply(self._sections(store, circumstances, course, verify=verify), course)
        except BaseException as failed:
            self._known = None  # whatever it was, all is compared again
            if not isinstance(failed, ProgramFailed):
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
            drifted=self._drifted,
            render_s=self._render.spent_s - rendered_s,
            observe_s=observe_s,
            lock_wait_s=lock_wait_s,
            rules_by_table=transaction.rules_by_table,
        )

    def record(self) -> None:
        """Note what the last sync applied; reading the kernel back takes a tenth of what a large apply took.

        ProgramFailed if the kernel cannot be read; an agent that starts again then writes those chains anew.
        """
        applied, self._unrecorded = self._unrecorded, Transaction()
        if applied:
            self._rules.record(applied)

    def _worked_s(self) -> float:
        """A clock that stands while we wait for the lock."""
        return self._clock() - self._iptables.lock_waited_s

    def _sections(
        self, store: Store, circumstances: Circumstances, course: Course, *, verify: bool
    ) -> Iterator[Section]:
        """What is to be committed; on a kernel that holds none of it, new chains while the rest is still computed."""
        looks_at_jumps = verify or self._known is None
        updates = self._updates(store, circumstances)
        backend = self._iptables.backend
        held: dict[Chain, str | None] | None = None
        if self._known is None and self._rules.may_write_ahead():
            held = dict(self._rules.look({}))
            parts = (_only(self._desired.chains, changed) for changed in updates)
            for section in sections_ahead(parts, held, backend.section_size_ahead):
                course.enter(Stage.APPLY)
                yield section
                course.enter(Stage.COMPUTE)
        else:
            for _ in updates:
                pass
        course.enter(Stage.OBSERVE)
        missing = self._missing_jumps() if looks_at_jumps else {}
        course.known = known = self._observed(held, verify=verify)
        course.enter(Stage.APPLY)
        yield from plan(
            _only(known, self._unsettled),
            _only(self._desired.chains, self._unsettled),
            missing,
            section_size=backend.section_size(len(known)),
            deletes_apart=self._failed_before,
        ).sections

    def _updates(self, store: Store, circumstances: Circumstances) -> Iterator[set[Chain]]:
        """The chains that change, some pending Services at a time."""
        for changed in self._desired.update_in_parts(store, self._pending, circumstances):
            self._unsettled |= changed
            yield changed
        self._pending.clear()

    def _missing_jumps(self) -> dict[str, list[str]]:
        if not self._iptables.lacks_jumps(self._desired.jumps):
            return {}
        missing = self._iptables.missing_jumps(self._desired.jumps)
        if missing and self._known is not None:
            _log.warning("%s: jumps to our chains are gone; all rules are checked again", self.family)
            self._known = None
            self._drifted += sum(map(len, missing.values()))
        return missing

    def _observed(self, held: Known | None, *, verify: bool) -> dict[Chain, str | None]:
        """What the kernel holds of ours, which is `held` if that was found out before."""
        if self._known is None:
            self._known = self._only_ours(self._rules.look(self._desired.chains) if held is None else held)
            self._unsettled = _differing(self._known, self._desired.chains)
        elif verify:
            self._take_in(self._known, self._only_ours(self._rules.look_again(self._known)))
        return self._known

    def _only_ours(self, found: Known) -> dict[Chain, str | None]:
        return {
            chain: rules for chain, rules in found.items() if is_ours(chain) or chain in self._desired.chains
        }

    def _take_in(self, known: Known, newest: dict[Chain, str | None]) -> None:
        """This sync puts right the rules that others changed. Another agent may have changed them to those wanted now."""
        differing = _differing(known, newest)
        wanted = self._desired.chains
        altered = [
            chain
            for chain in differing
            if known.get(chain) is not None and newest.get(chain) != wanted.get(chain)
        ]
        self._drifted += len(altered)
        if altered:
            _log.warning(
                "%s: somebody else changed %d of our chains, such as %s; they are put right",
                self.family,
                len(altered),
                min(altered).name,
            )
        self._unsettled |= differing
        self._known = newest

    def _apply(self, sections: Iterator[Section], course: Course) -> None:
        sections = fitting(sections, self._iptables.commit_room())
        if first := next(sections, None):
            self._rules.begins()
            self._iptables.restore(self._texts(chain_up((first,), sections), course))
            self._unrecorded = course.transaction
            self._rules.took_effect(self._unrecorded)
            course.known.update(self._unrecorded.written)
            for chain in self._unrecorded.deleted:
                del course.known[chain]
        wanted = _only(self._desired.chains, self._unsettled)
        # what was equal already need not be held twice
        course.known.update(
            {chain: rules for chain, rules in wanted.items() if course.known.get(chain) == rules}
        )
        self._unsettled.clear()

    def _texts(self, sections: Iterable[Section], course: Course) -> Iterator[str]:
        for section in sections:
            self._rules.before(section)
            course.sections.append(section)
            yield str(section)


def _differing(known: Known, other: Known) -> set[Chain]:
    """The chains that only one has, or that they have with different rules."""
    gone = known.keys() - other.keys()
    return gone | {chain for chain, rules in other.items() if chain not in known or known[chain] != rules}


_Rules = TypeVar("_Rules", str, str | None)


def _only(chains: Mapping[Chain, _Rules], of: AbstractSet[Chain]) -> dict[Chain, _Rules]:
    return {chain: chains[chain] for chain in of if chain in chains}
