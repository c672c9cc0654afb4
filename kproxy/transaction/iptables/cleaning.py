"""The removal of a service proxy's chains from the tables of one iptables program: computed, printed, and then applied.

In each table the jumps from built-in chains go first, so that no packet reaches the chains any more, and then the
chains, parents first. The chain that marks packets comes last and by itself: it stays if rules of others lead to it.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.ownership import MARKING, owner_of
from kproxy.ruleset.owner import Owner
from kproxy.transaction.iptables.fit import fitting
from kproxy.transaction.iptables.order import parents_first
from kproxy.transaction.iptables.transaction import Section

TABLES = ("filter", "nat", "mangle")
"""The tables in which a service proxy may have chains, in the order in which they are cleaned."""

_GO = frozenset({Owner.SERVICE, Owner.NODE, Owner.IPVS})
"""Chains of these owners go, whatever they hold."""


class JumpRemoval(NamedTuple):
    """The removal of a rule in the built-in chain `chain` that leads to the chain named `target`.

    `line` does it in iptables-restore, provided that all removals of one chain come in their order.
    """

    chain: Chain
    target: str
    line: str


@dataclass(frozen=True, slots=True)
class TableCleaning:
    """The removal of chains from one table, and before it of the jumps to them."""

    table: str
    jumps: tuple[JumpRemoval, ...]
    sections: tuple[Section, ...]

    @property
    def chains(self) -> tuple[Chain, ...]:
        """The chains that go, in their order."""
        return tuple(chain for section in self.sections for chain in section.deleted)

    def __str__(self) -> str:
        return self.text_of_jumps + "".join(map(str, self.sections))

    @property
    def text_of_jumps(self) -> str:
        """One COMMIT for iptables-restore; empty without jumps."""
        lines = "".join(f"{jump.line}\n" for jump in self.jumps)
        return f"*{self.table}\n{lines}COMMIT\n" if lines else ""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """The whole removal for one program; `str()` is a text for its iptables-restore --noflush.

    `has_marking` says that the chain that marks packets is there. If rules of others lead to it, the kernel refuses its
    removal, and it stays.
    """

    tables: tuple[TableCleaning, ...]
    has_marking: bool

    def __bool__(self) -> bool:
        return bool(self.tables) or self.has_marking

    def __str__(self) -> str:
        marking = (
            f"# {MARKING.name} stays if rules of others lead to it\n{MARKING_REMOVAL}"
            if self.has_marking
            else ""
        )
        return "".join(map(str, self.tables)) + marking


MARKING_REMOVAL = Section(MARKING.table, deleted=(MARKING,))


def chains_to_remove(held: Iterable[Chain], *, guard_is_empty: bool) -> list[Chain]:
    """The chains that go from a table, of all that it holds.

    The chain that the kubelet uses too goes if it is empty: with rules in it, it guards 127.0.0.1.
    """
    owners = _GO | {Owner.SHARED_WITH_KUBELET} if guard_is_empty else _GO
    return [chain for chain in held if owner_of(chain) in owners]


def clean_table(
    chains: Collection[Chain], jumps: Sequence[JumpRemoval], *, section_size: int | None, room: int | None
) -> TableCleaning:
    """The removal of these chains, one or more of one table, and of the jumps to them.

    `section_size` bounds the chains of one COMMIT, `room` its bytes; None for any number.
    """
    (table,) = {chain.table for chain in chains}
    sections = fitting(_deletions(chains, section_size), room)
    return TableCleaning(table, tuple(jumps), tuple(sections))


def _deletions(chains: Iterable[Chain], size: int | None) -> Iterator[Section]:
    """Sections that delete the chains, parents first, so that none is deleted while it is in use."""
    ordered = parents_first(chains)
    step = size or len(ordered)
    for start in range(0, len(ordered), step):
        yield Section(ordered[start].table, deleted=tuple(ordered[start : start + step]))
