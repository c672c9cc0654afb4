"""The chains of one family in the kernel: known from the commits that took effect, read where these do not tell."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain as chain_up
from typing import Protocol, TypeVar

from kproxy.agent.progress import Progress
from kproxy.errors import KernelRefused, ProgramFailed
from kproxy.kernel.programs.iptables import Iptables
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import Ruleset
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.ruleset.iptables.ownership import is_of_a_service
from kproxy.transaction.iptables.fit import fitting
from kproxy.transaction.iptables.plan import Known, plan
from kproxy.transaction.iptables.transaction import Section, Transaction
from kproxy.values import NamespacedName

_log = logging.getLogger(__name__)


class Rules(Protocol):
    """The chains in the kernel, as one of its two packet filters can tell."""

    def look(self, desired: Ruleset) -> Known: ...
    def look_again(self, known: Known) -> Known: ...
    def may_write_ahead(self) -> bool: ...
    def begins(self) -> None: ...
    def before(self, section: Section) -> None: ...
    def took_effect(self, transaction: Transaction) -> None: ...
    def record(self, transaction: Transaction) -> None: ...


class AppliedChains:
    """`known` holds the rules of each chain; it is None until the kernel is read.

    Sections are committed one after the other, and a refusal names a line: so those in effect are known also then.
    """

    def __init__(self, iptables: Iptables, rules: Rules, desired: DesiredRuleset) -> None:
        self._iptables = iptables
        self._rules = rules
        self._desired = desired
        self.known: dict[Chain, str | None] | None = None
        self.unsettled: set[Chain] = set()
        """Chains that may differ from what is desired; all others do not."""
        self.drifted = 0
        self._unrecorded: tuple[Section, ...] = ()

    def forget(self) -> None:
        """Anything may be in the kernel."""
        self.known, self._unrecorded = None, ()

    def commit(self, sections: Iterator[Section], progress: Progress) -> None:
        """Let them take effect; ProgramFailed where one is refused, which the progress then has as `refused`."""
        progress.refused, progress.refused_line = None, ""
        room = self._iptables.commit_room()
        sections = fitting(sections, room)
        first = next(sections, None)
        if first is None:
            return
        begun = len(progress.sections)
        if not self._unrecorded:
            self._rules.begins()
        try:
            self._iptables.restore(self._texts(chain_up((first,), sections), progress))
        except ProgramFailed as failed:
            self._took_part(progress, begun, failed.line)
            if room is not None:
                self.forget()  # a chain may have been divided
            raise
        except KernelRefused:  # the kernel is read while sections are made
            self.forget()
            raise
        self._took_effect(progress.sections[begun:], progress)

    def rest(self, progress: Progress, *, deletes_apart: bool) -> Iterator[Section]:
        """The sections that bring the kernel from the known state to the desired one."""
        known = self.known or {}
        return iter(
            plan(
                only(known, self.unsettled),
                only(self._desired.chains, self.unsettled),
                progress.missing_jumps or {},
                section_size=self._iptables.variant.section_size(len(known)),
                deletes_apart=deletes_apart,
            ).sections
        )

    def commit_rest(self, progress: Progress, more: Iterable[Section] = ()) -> None:
        """Let what the kernel is known to lack take effect, and then these sections."""
        progress.known = self.known or {}
        self.commit(chain_up(self.rest(progress, deletes_apart=True), more), progress)

    def look_anew(self, progress: Progress) -> None:
        """Read the kernel, and trust nothing that was known."""
        self.record()  # reading relies on a record that is complete
        self.forget()
        progress.missing_jumps = self.missing_jumps()
        self.observed(None, verify=False)

    def take_stock(self, progress: Progress) -> None:
        """After a refusal the commits before it are known; all chains that still differ count as unsettled."""
        known, self.known = self.known or {}, None
        if progress.missing_jumps is None:
            progress.missing_jumps = self.missing_jumps()
        self.known = self._only_ours(known)
        self.unsettled = _differing(self.known, self._desired.chains)

    def settle(self, keys: Iterable[NamespacedName]) -> None:
        """The kernel holds what is desired, and these Services stay as they are."""
        known = self.known or {}
        wanted = only(self._desired.chains, self.unsettled)
        # of two equal texts only one is kept in memory
        known.update({chain: rules for chain, rules in wanted.items() if known.get(chain) == rules})
        self.unsettled.clear()
        self._desired.settle(keys)

    def missing_jumps(self) -> dict[str, list[str]]:
        if not self._iptables.lacks_jumps(self._desired.jumps):
            return {}
        missing = self._iptables.missing_jumps(self._desired.jumps)
        if missing and self.known is not None:
            _log.warning(
                "%s: jumps to our chains are gone; all rules are checked again", self._iptables.family
            )
            self.known = None
            self.drifted += sum(map(len, missing.values()))
        return missing

    def observed(self, held: Known | None, *, verify: bool) -> dict[Chain, str | None]:
        """Our chains in the kernel; `held` if they were read before."""
        known = self.known
        if known is None:
            known = self._only_ours(self._rules.look(self._desired.chains) if held is None else held)
            self.known = known
            self.unsettled = _differing(known, self._desired.chains)
        elif verify:
            known = self._take_in(known, self._only_ours(self._rules.look_again(known)))
        return known

    def _only_ours(self, found: Known) -> dict[Chain, str | None]:
        return {
            chain: rules
            for chain, rules in found.items()
            if is_of_a_service(chain) or chain in self._desired.chains
        }

    def _take_in(self, known: Known, newest: dict[Chain, str | None]) -> dict[Chain, str | None]:
        """Note the chains that others changed, which this sync puts right.

        A chain that another agent changed to the rules that are wanted now is no drift.
        """
        differing = _differing(known, newest)
        wanted = self._desired.chains
        altered = [
            chain
            for chain in differing
            if known.get(chain) is not None and newest.get(chain) != wanted.get(chain)
        ]
        self.drifted += len(altered)
        if altered:
            _log.warning(
                "%s: somebody else changed %d of our chains, such as %s; they are put right",
                self._iptables.family,
                len(altered),
                min(altered).name,
            )
        self.unsettled |= differing
        self.known = newest
        return newest

    def record(self) -> None:
        """Note what was committed since the last time."""
        applied, self._unrecorded = Transaction(self._unrecorded), ()
        if applied:
            self._rules.record(applied)

    def _texts(self, sections: Iterable[Section], progress: Progress) -> Iterator[str]:
        for section in sections:
            self._rules.before(section)
            progress.sections.append(section)
            yield str(section)

    def _took_effect(self, sections: Sequence[Section], progress: Progress) -> None:
        transaction = Transaction(tuple(sections))
        self._rules.took_effect(transaction)
        self._unrecorded += transaction.sections
        for section in sections:
            if section.jumps and progress.missing_jumps:
                progress.missing_jumps.pop(section.table, None)
        if self.known is not None:
            self.known.update(transaction.written)
            for chain in transaction.deleted:
                self.known.pop(chain, None)

    def _took_part(self, progress: Progress, begun: int, line: int) -> None:
        """Some of the sections since `begun` are in effect: those before the one with this line of their text."""
        tried = progress.sections[begun:]
        found = _find_line(tried, line)
        if found is None:
            self.forget()
            return
        number, progress.refused_line = found
        progress.refused = tried[number]
        del progress.sections[begun + number :]
        self.known = progress.known
        self._took_effect(tried[:number], progress)
        self._keep_records(tried[number:])

    def _keep_records(self, sections: Iterable[Section]) -> None:
        """Chains that were about to change are as before, and the record has to say so."""
        known = self.known or {}
        touched = {
            chain
            for each in sections
            for chain in (*each.written, *each.edited, *each.deleted)
            if chain in known
        }
        as_they_are = {chain: rules for chain in touched if (rules := known[chain]) is not None}
        if len(as_they_are) < len(touched):
            self._unrecorded = ()  # unknown rules cannot be recorded; the next agent reads them
            return
        for table in sorted({chain.table for chain in as_they_are}):
            rules_of = {chain: rules for chain, rules in as_they_are.items() if chain.table == table}
            self._unrecorded += (Section(table, rules_of),)


def _find_line(sections: Iterable[Section], line: int) -> tuple[int, str] | None:
    """The number of the section in which that line of their text is, and the line."""
    end = 0
    for number, section in enumerate(sections):
        begin, text = end, str(section)
        end += text.count("\n")
        if begin < line <= end:
            return number, text.split("\n")[line - begin - 1]
    return None


def _differing(known: Known, other: Known) -> set[Chain]:
    """The chains that only one has, or that they have with different rules."""
    gone = known.keys() - other.keys()
    return gone | {chain for chain, rules in other.items() if chain not in known or known[chain] != rules}


_Rules = TypeVar("_Rules", str, str | None)


def only(chains: Mapping[Chain, _Rules], of: AbstractSet[Chain]) -> dict[Chain, _Rules]:
    return {chain: chains[chain] for chain in of if chain in chains}
