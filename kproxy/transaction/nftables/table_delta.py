"""One family's table in two views, desired and observed, and the change from one to the other."""

from collections.abc import Iterable, Iterator

from kproxy.ruleset.nftables.desired import TableDifference, TableParts, contents_of_parts
from kproxy.ruleset.nftables.frontends import Frontend, Served, contents_of
from kproxy.ruleset.nftables.table import Block, Body, Element, spelled_out
from kproxy.transaction.delta import Delta

_NOT_SERVED = Served()
_DOUBTED = ""
"""Stands for the text of a chain that somebody else may have changed; no chain of ours is desired empty."""


class TableDelta:
    """A `DesiredTable` writes to `desired`; `settle` and `doubt` say what the kernel holds.

    Elements of frontends are held as what serves these frontends, which takes a fraction of the memory. Elements that
    several Services add are counted; the kernel holds those with a count.
    """

    def __init__(self) -> None:
        self._blocks = Delta[Block, Body]()
        self._frontends = Delta[Frontend, Served]()
        self._marks = Delta[Element, int]()
        self.desired = TableParts(self._blocks.desired, self._frontends.desired, self._marks.desired)

    def difference(self) -> TableDifference:
        """The difference between the two views; empty if there is none."""
        difference = TableDifference()
        blocks = self._blocks
        for block in blocks.pending:
            difference.blocks[block] = blocks.observed.get(block), blocks.desired.get(block)
        frontends = self._frontends
        for frontend in frontends.pending:
            old = [*spelled_out(contents_of(frontend, frontends.observed.get(frontend) or _NOT_SERVED))]
            new = [*spelled_out(contents_of(frontend, frontends.desired.get(frontend, _NOT_SERVED)))]
            difference.deleted += _without(old, new)
            difference.added += _without(new, old)
        for mark in self._marks.pending:
            was_there = mark in self._marks.observed
            is_there = mark in self._marks.desired
            if was_there != is_there:
                (difference.added if is_there else difference.deleted).append(mark)
        return difference

    def settle(self) -> None:
        """The kernel holds all that is desired, and nothing else."""
        self._blocks.settle()
        self._frontends.settle()
        self._marks.settle()

    def doubt(self, chains: Iterable[str]) -> None:
        """The kernel may hold other rules in these chains, so they are pending, even if nobody changed them."""
        desired = self._blocks.desired
        named = {Block("chain", name) for name in chains} - self._blocks.pending
        held = {block: desired[block] for block in named if block in desired}
        self._blocks.holds({block: body._replace(text=_DOUBTED) for block, body in held.items()})

    @property
    def observed_blocks(self) -> dict[Block, Body]:
        """The blocks that the kernel holds, with the text from which they were made."""
        return {block: body for block, body in self._blocks.observed.items() if body is not None}

    def observed_elements(self) -> Iterator[Element]:
        """Every element that the kernel holds, except the clients that are remembered."""
        frontends = ((each, served) for each, served in self._frontends.observed.items() if served)
        return spelled_out(contents_of_parts(frontends, self._marks.observed))


def _without(elements: list[Element], others: list[Element]) -> list[Element]:
    excluded = set(others)
    return [each for each in elements if each not in excluded]
