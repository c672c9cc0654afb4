"""One run of iptables-restore: sections go in as soon as they are made, and the outcome is noted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from kproxy.agent.progress import Progress
from kproxy.errors import KernelRefused, ProgramFailed
from kproxy.observed.iptables_chains import ObservedChains
from kproxy.observed.iptables_kernel import IptablesProgram
from kproxy.ruleset.iptables.chains import Ruleset
from kproxy.transaction.iptables.fit import fitting
from kproxy.transaction.iptables.plan import plan
from kproxy.transaction.iptables.transaction import OpenSection, Section


@dataclass(frozen=True, slots=True)
class Ahead:
    """Chains that were written before all was computed, and the tables whose jumps were."""

    written: Ruleset
    jumps: AbstractSet[str] = frozenset()


NOTHING_AHEAD = Ahead({})


@contextmanager
def writing(iptables: IptablesProgram, observed: ObservedChains, progress: Progress) -> Iterator["Write"]:
    """The block commits sections; the program is started with the first of them, and ends with the block.

    ProgramFailed leaves the block if a section is refused: the progress then has it as `refused`, and those before it
    stay in effect. Any other exception ends the program, and the caller has to `forget`.
    """
    progress.refused, progress.refused_line = None, ""
    write = Write(iptables, observed, progress)
    try:
        with write.program:
            yield write
    except ProgramFailed as failed:
        write.failed(failed.line)
        raise
    except KernelRefused:  # the kernel is read while sections are made
        write.failed(line=0)
        raise
    observed.applied(write.sections)


class Write:
    """Sections that are on their way to the kernel; made by `writing`."""

    def __init__(self, iptables: IptablesProgram, observed: ObservedChains, progress: Progress) -> None:
        self._iptables = iptables
        self._observed = observed
        self._progress = progress
        self._room = iptables.commit_room()
        self._begun = len(progress.sections)
        self._feed: Callable[[str], None] | None = None
        self._open: OpenSection | None = None
        self.program = ExitStack()
        """Ends the program, if it was started."""

    @property
    def sections(self) -> list[Section]:
        """Those of this write."""
        return self._progress.sections[self._begun :]

    def commit(self, sections: Iterable[Section]) -> None:
        """Write these, in parts that fit; waits while the program has much to read."""
        for section in fitting(sections, self._room):
            feed = self._feed or self._begin()
            self._observed.about_to_write(section)
            self._progress.sections.append(section)
            feed(str(section))

    def open(self, table: str) -> None:
        """Begin a section that takes effect only with `finish`; nothing else can be committed before."""
        self._open = OpenSection(table)
        self._feed_text(f"*{table}\n")

    def add_all(self, sections: Iterable[Section]) -> None:
        """Write the chains of these sections into the open section; they may jump to each other and to those before."""
        for section in sections:
            self._add(section.written)

    def _add(self, chains: Ruleset) -> None:
        if self._open is not None:
            self._feed_text(self._open.add(chains))

    def finish(self, sections: Sequence[Section]) -> None:
        """Commit these; where a section is open, the first of its table ends it, before all others."""
        if self._open is not None:
            table = self._open.table
            rest = next((each for each in sections if each.table == table), Section(table))
            self._close(rest)
            sections = [each for each in sections if each is not rest]
        self.commit(sections)

    def _close(self, rest: Section) -> None:
        if self._open is not None:
            section = self._open.with_rest(rest)
            self._observed.about_to_write(section)
            self._open = None
            self._progress.sections.append(section)
            self._feed_text(section.ending)

    def _feed_text(self, text: str) -> None:
        (self._feed or self._begin())(text)

    def _begin(self) -> Callable[[str], None]:
        self._observed.begin()
        self._feed = self.program.enter_context(self._iptables.restoring())
        return self._feed

    def failed(self, line: int) -> None:
        """The program failed at this line of all text, or at an unknown one if it is 0."""
        if self._open is not None:
            self._progress.sections.append(self._open.with_rest(Section(self._open.table)))
        tried = self.sections
        if not tried:
            return
        found = _find_line(tried, line)
        if found is None:
            self._observed.failed_midway()
            return
        number, self._progress.refused_line = found
        self._progress.refused = tried[number]
        del self._progress.sections[self._begun + number :]
        self._observed.applied_in_part(tried[:number], tried[number:])
        if self._room is not None:
            self._observed.forget()  # a chain may have been divided


def planned(
    iptables: IptablesProgram, observed: ObservedChains, *, ahead: Ahead = NOTHING_AHEAD, deletes_apart: bool
) -> Sequence[Section]:
    """The sections that bring the kernel from what is observed, and will soon be there `ahead`, to what is desired."""
    delta = observed.delta
    missing = observed.missing_jumps or {}
    return plan(
        {**delta.unwanted, **ahead.written},
        delta.wanted,
        {table: jumps for table, jumps in missing.items() if table not in ahead.jumps},
        section_size=iptables.variant.section_size(len(delta.observed) + len(ahead.written)),
        deletes_apart=deletes_apart,
    ).sections


def _find_line(sections: Iterable[Section], line: int) -> tuple[int, str] | None:
    """The number of the section in which that line of their text is, and the line."""
    end = 0
    for number, section in enumerate(sections):
        begin, text = end, str(section)
        end += text.count("\n")
        if begin < line <= end:
            return number, text.split("\n")[line - begin - 1]
    return None
