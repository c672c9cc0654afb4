"""What the kernel holds of one family's chains: known by what was committed, looked at where that does not tell."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain as chain_up
from typing import Protocol

from kproxy.agent.course import Course
from kproxy.errors import ProgramFailed
from kproxy.kernel.iptables import Iptables
from kproxy.ruleset.chains import Chain, Ruleset
from kproxy.transaction.plan import Known
from kproxy.transaction.transaction import Section, Transaction


class Rules(Protocol):
    """What the kernel holds, as one of its two packet filters can tell."""

    def look(self, desired: Ruleset) -> Known: ...
    def look_again(self, known: Known) -> Known: ...
    def may_write_ahead(self) -> bool: ...
    def begins(self) -> None: ...
    def before(self, section: Section) -> None: ...
    def took_effect(self, transaction: Transaction) -> None: ...
    def record(self, transaction: Transaction) -> None: ...


class AppliedChains:
    """`known` is None where only a look tells.

    Sections are committed one after the other, and a refusal names a line: so what is in effect is known also then.
    """

    def __init__(self, iptables: Iptables, rules: Rules) -> None:
        self._iptables = iptables
        self._rules = rules
        self.known: dict[Chain, str | None] | None = None
        self._unrecorded: tuple[Section, ...] = ()

    def forget(self) -> None:
        """Anything may be in the kernel."""
        self.known, self._unrecorded = None, ()

    def commit(self, sections: Iterator[Section], course: Course) -> None:
        """Let them take effect; ProgramFailed where one is refused, which the course then has as `refused`."""
        course.refused = None
        first = next(sections, None)
        if first is None:
            return
        begun = len(course.sections)
        if not self._unrecorded:
            self._rules.begins()
        try:
            self._iptables.restore(self._texts(chain_up((first,), sections), course))
        except ProgramFailed as failed:
            self._took_part(course, begun, failed.line)
            raise
        self._took_effect(course.sections[begun:], course)

    def record(self) -> None:
        """Note what was committed since the last time."""
        applied, self._unrecorded = Transaction(self._unrecorded), ()
        if applied:
            self._rules.record(applied)

    def _texts(self, sections: Iterable[Section], course: Course) -> Iterator[str]:
        for section in sections:
            self._rules.before(section)
            course.sections.append(section)
            yield str(section)

    def _took_effect(self, sections: Sequence[Section], course: Course) -> None:
        transaction = Transaction(tuple(sections))
        self._rules.took_effect(transaction)
        self._unrecorded += transaction.sections
        for section in sections:
            if section.jumps and course.missing_jumps:
                course.missing_jumps.pop(section.table, None)
        if self.known is not None:
            self.known.update(transaction.written)
            for chain in transaction.deleted:
                self.known.pop(chain, None)

    def _took_part(self, course: Course, begun: int, line: int) -> None:
        """Some of the sections since `begun` are in effect: those before the one with this line of their text."""
        tried = course.sections[begun:]
        number = _section_at(tried, line)
        if number is None:
            self.forget()
            return
        course.refused = tried[number]
        del course.sections[begun + number :]
        self.known = course.known
        self._took_effect(tried[:number], course)
        self._keep_records(tried[number:])

    def _keep_records(self, sections: Iterable[Section]) -> None:
        """What was about to change is what it was, and shall be recorded as that."""
        known = self.known or {}
        touched = {
            chain
            for each in sections
            for chain in (*each.written, *each.edited, *each.deleted)
            if chain in known
        }
        as_they_are = {chain: rules for chain in touched if (rules := known[chain]) is not None}
        if len(as_they_are) < len(touched):
            self._unrecorded = ()  # what is not known cannot be recorded; the next agent looks
            return
        for table in sorted({chain.table for chain in as_they_are}):
            rules_of = {chain: rules for chain, rules in as_they_are.items() if chain.table == table}
            self._unrecorded += (Section(table, rules_of),)


def _section_at(sections: Iterable[Section], line: int) -> int | None:
    end = 0
    for number, section in enumerate(sections):
        end += str(section).count("\n")
        if 0 < line <= end:
            return number
    return None
