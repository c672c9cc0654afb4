"""One run of a transaction: text that `nft` reads, or elements alone, which need no program."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from kproxy.ruleset.nftables.table import Block, Blocks
from kproxy.transaction.nftables.elements import ElementCommand


class Reason(Enum):
    """Why a run stands where it stands in its transaction; the value is a sentence for a reader of the commands."""

    PREPARE = "chains, maps and guards that must be there before a verdict leads to them"
    FILL = "the elements, while no packet meets the table yet"
    OPEN = "packets now meet the table"
    CHANGE = "the change itself"
    WHOLE = "the whole table at once"
    REMOVE = "nothing leads to these any more"
    COMPARE = "chains in a table that no packet meets, to be compared with ours"
    COMPARED = "the comparison is over"


@dataclass(frozen=True, slots=True)
class Run:
    """Takes effect at once or not at all: `text`, or the same change as `commands` if it is only elements.

    `words` is the text of a run that needs `nft`. Elements of plain sets and maps alone are `commands`.
    """

    words: str = ""
    commands: tuple[ElementCommand, ...] = ()
    reason: Reason = Reason.CHANGE
    parts: tuple[str, ...] = ()
    """The text in small parts. If the text does not fit into a socket, any number of parts may be one run."""
    waits_for_packets: bool = False
    """Whether packets that met the table before the previous run have to leave it first."""

    def __bool__(self) -> bool:
        return bool(self.words or self.commands)

    @property
    def text(self) -> str:
        """The run as `nft -f` reads it."""
        return self.words or "".join(map(str, self.commands))

    @property
    def may_be_busy(self) -> bool:
        """Whether the kernel may refuse the run for some moments.

        Until Linux 6.2 the kernel takes a moment to see that nothing leads to a chain any more.
        """
        return self.reason is Reason.REMOVE

    @property
    def may_blame_a_service(self) -> bool:
        """Whether rules or elements of a Service may be why the kernel refuses the run."""
        return self.reason is not Reason.REMOVE

    @property
    def line_count(self) -> int:
        """Rules, elements, and lines that declare a chain, set or map."""
        return self.words.count("\n\t") or sum(each.line_count for each in self.commands)

    def divided(self) -> Iterator["Run"]:
        """Two halves of the run, in order; none if the run has fewer than two parts."""
        middle = len(self.parts) // 2
        if middle:
            for half in (self.parts[:middle], self.parts[middle:]):
                yield replace(self, words="".join(half), commands=(), parts=half)


Part = str | ElementCommand
"""Text declares, fills or deletes chains, sets and maps."""


def run_of(reason: Reason, blocks: Blocks, parts: Iterable[Part]) -> Run:
    """These parts as one run, in a table of these blocks."""
    parts = tuple(parts)
    commands = tuple(
        part for part in parts if isinstance(part, ElementCommand) and _is_plain(blocks, part.holder)
    )
    if len(commands) == len(parts):
        return Run(commands=commands, reason=reason)
    texts = tuple(map(str, parts))
    return Run("".join(texts), reason=reason, parts=texts if reason is Reason.REMOVE else ())


def _is_plain(blocks: Blocks, holder: str) -> bool:
    declared = blocks.get(Block("map", holder)) or blocks.get(Block("set", holder))
    return declared is not None and declared.is_plain
