"""The chains of one family that the kernel holds: known from our commits, or read."""

import logging
from collections.abc import Iterable, Sequence

from kproxy.observed.iptables_kernel import Differences, IptablesProgram, KernelChains
from kproxy.observed.states import REMEMBERED, Event, Knowledge, State
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import Ruleset
from kproxy.ruleset.iptables.ownership import is_of_a_service
from kproxy.transaction.delta import Delta
from kproxy.transaction.iptables.transaction import Section, Transaction

_log = logging.getLogger(__name__)


class ObservedChains:
    """Keeps the observed side of a delta true; see `Observed` for when to look.

    A write calls `begin` before its first section, `about_to_write` before each, and then one of `applied`,
    `applied_in_part` and `failed_midway`. Sections are committed one after the other, and a refusal names a line, which
    tells which sections are in effect.
    """

    def __init__(self, iptables: IptablesProgram, kernel: KernelChains, delta: Delta[Chain, str]) -> None:
        self._iptables = iptables
        self._kernel = kernel
        self._knowledge = Knowledge()
        self._unrecorded: tuple[Section, ...] = ()
        self.delta = delta
        self.missing_jumps: dict[str, list[str]] | None = None
        """The rules that built-in chains lack, by table; None until they are looked for in this sync."""
        self.drifted = 0
        """How many of our chains and jumps others were found to have changed, in this sync."""

    @property
    def state(self) -> State:
        return self._knowledge.state

    # reading

    def begin_sync(self) -> None:
        """Count drift from 0, and forget which jumps are missing."""
        self.missing_jumps, self.drifted = None, 0

    def find_no_service(self) -> bool:
        """Whether the kernel holds no chain of any Service, so that new chains may be written before all is computed.

        If so, the state is ABSENT, and all chains that are there are observed, ours or not. `disown` is to be called
        when it is known which of them are desired. Called if nothing is remembered.
        """
        if not self._kernel.holds_no_service():
            return False
        self.delta.found(self._kernel.look({}))
        self._knowledge.note(Event.FOUND_NOTHING)
        return True

    def disown(self) -> None:
        """Observe the chains of others no longer.

        Called when all is computed, and so it is known which chains are desired.
        """
        desired = self.delta.desired
        self.delta.lacks(
            [chain for chain in self.delta.unwanted if chain not in desired and not is_of_a_service(chain)]
        )

    def look_at_jumps(self, jumps: Ruleset) -> None:
        """Find out which of these rules the built-in chains lack.

        If one of them was there in an earlier sync, the memory of all rules is distrusted.
        """
        self.missing_jumps = {}
        if not self._iptables.lacks_jumps(jumps):
            return
        self.missing_jumps = self._iptables.missing_jumps(jumps)
        if self.missing_jumps and self.state in REMEMBERED:
            _log.warning(
                "%s: jumps to our chains are gone; all rules are checked again", self._iptables.family
            )
            self._knowledge.note(Event.DISTRUSTED)
            self.drifted += sum(map(len, self.missing_jumps.values()))

    def look(self) -> None:
        self.record()  # a reader relies on a record that is complete
        self.forget()
        desired = self.delta.desired
        found = self._kernel.look(desired)
        self.delta.found({chain: rules for chain, rules in found.items() if self._is_ours(chain)})
        self._knowledge.note(self._event_of_look())

    def look_at_all(self, jumps: Ruleset) -> None:
        """Read these jumps and all chains, whatever the state."""
        self.record()
        self.forget()
        self.look_at_jumps(jumps)
        self.look()

    def _event_of_look(self) -> Event:
        if not self.delta.observed:
            return Event.FOUND_NOTHING
        return Event.FOUND_CHANGED if self.delta.pending else Event.VERIFIED

    def verify(self) -> int:
        """See `Observed`. A chain that another agent changed to the rules that are desired now is no drift."""
        self.record()  # as in `look`: a verification may make the record sure
        differences = self._kernel.verify(self.delta.observed)
        if differences is None:
            return 0
        self._knowledge.note(Event.OTHERS_COMMITTED)
        altered = self._take_in(differences)
        if altered:
            self._knowledge.note(Event.FOUND_CHANGED)
            _log.warning(
                "%s: somebody else changed %d of our chains, such as %s; they are put right",
                self._iptables.family,
                len(altered),
                min(altered).name,
            )
        elif differences.is_complete:
            self._knowledge.note(Event.VERIFIED)
        self.drifted += len(altered)
        return len(altered)

    def _take_in(self, differences: Differences) -> list[Chain]:
        """The chains that others changed to other rules than the desired ones; what they hold is observed now."""
        holds = {chain: rules for chain, rules in differences.holds.items() if self._is_ours(chain)}
        observed, desired = self.delta.observed, self.delta.desired
        altered = [
            chain
            for chain in (*holds, *differences.lacks)
            if observed.get(chain) is not None and holds.get(chain) != desired.get(chain)
        ]
        self.delta.holds(holds)
        self.delta.lacks(differences.lacks)
        return altered

    def _is_ours(self, chain: Chain) -> bool:
        return is_of_a_service(chain) or chain in self.delta.desired

    # writing

    def forget(self) -> None:
        self._knowledge.note(Event.DISTRUSTED)
        self._unrecorded = ()

    def begin(self) -> None:
        if not self._unrecorded:
            self._kernel.begin()

    def about_to_write(self, section: Section) -> None:
        self._kernel.about_to_write(section)

    def applied(self, sections: Sequence[Section]) -> None:
        """All sections are in effect. No sections: there was nothing to write."""
        self._took(sections)
        self._knowledge.note(Event.APPLIED)

    def applied_in_part(self, done: Sequence[Section], undone: Sequence[Section]) -> None:
        """The first sections are in effect, and the others are not."""
        self._took(done)
        self._keep_records(undone)
        self._knowledge.note(Event.APPLIED_IN_PART if done else Event.REFUSED)

    def failed_midway(self) -> None:
        """Nobody knows which sections are in effect."""
        self._knowledge.note(Event.FAILED_MIDWAY)
        self._unrecorded = ()

    def record(self) -> None:
        """Remember the sections that were committed since the last time; OperationFailed as `KernelChains.record`."""
        applied, self._unrecorded = Transaction(self._unrecorded), ()
        if applied:
            self._kernel.record(applied)

    def _took(self, sections: Sequence[Section]) -> None:
        if not sections:
            return
        transaction = Transaction(tuple(sections))
        self._kernel.wrote(transaction)
        self._unrecorded += transaction.sections
        for section in sections:
            if section.jumps and self.missing_jumps:
                self.missing_jumps.pop(section.table, None)
        self.delta.holds(transaction.written)
        self.delta.lacks(transaction.deleted)

    def _keep_records(self, sections: Iterable[Section]) -> None:
        """Chains of sections that did not take effect are as before, and the record has to say so."""
        observed = self.delta.observed
        touched = {
            chain
            for each in sections
            for chain in (*each.written, *each.edited, *each.deleted)
            if chain in observed
        }
        as_they_are = {chain: rules for chain in touched if (rules := observed[chain]) is not None}
        if len(as_they_are) < len(touched):
            self._unrecorded = ()  # unknown rules cannot be recorded; the next agent reads them
            return
        for table in sorted({chain.table for chain in as_they_are}):
            rules_of = {chain: rules for chain, rules in as_they_are.items() if chain.table == table}
            self._unrecorded += (Section(table, rules_of),)
