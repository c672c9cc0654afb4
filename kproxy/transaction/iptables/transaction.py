"""One change of the kernel: printed, checked and applied as the same text."""

from dataclasses import dataclass, field, replace
from enum import Enum

from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import Ruleset
from kproxy.transaction.iptables.edit import Edit
from kproxy.transaction.marks import marked


class Reason(Enum):
    """Why a section stands where it stands in a transaction; the value is a sentence for a reader of the rules."""

    REFUSE = "rules that refuse packets come, and none goes yet"
    SERVE = "chains of nat, each after the chains that it jumps to"
    SERVE_AND_DELETE = (
        "chains of nat, each after the chains that it jumps to; then chains go that nothing jumps to"
    )
    ADMIT = "rules that refuse packets go, now that nat has changed"
    DELETE = "nothing jumps to these chains any more"


@dataclass(frozen=True, slots=True)
class Section:
    """What one COMMIT changes in one table, at once or not at all.

    `written` chains are created, or emptied and filled again. `jumps` are rules for the head of built-in chains, in the
    order in which they are to stand, or insertions at a place. `deleted` chains are removed, `edited` ones keep most
    of their rules. `pieces` are written chains that come before all others, each piece as soon as it was computed.
    """

    table: str
    written: dict[Chain, str] = field(default_factory=dict)
    jumps: tuple[str, ...] = ()
    deleted: tuple[Chain, ...] = ()
    edited: dict[Chain, Edit] = field(default_factory=dict)
    reason: Reason = field(default=Reason.SERVE, compare=False)
    pieces: tuple[tuple[Chain, ...], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.written or self.jumps or self.deleted or self.edited)

    @property
    def rule_count(self) -> int:
        return (
            len(self.jumps)
            + sum(rules.count("\n") for rules in self.written.values())
            + sum(len(edit.lines) for edit in self.edited.values())
        )

    @property
    def only_deletes(self) -> bool:
        return bool(self.deleted) and not (self.written or self.jumps or self.edited)

    @property
    def changes_rules(self) -> bool:
        """Whether it surely does; emptying chains may find them empty."""
        return bool(any(self.written.values()) or self.jumps or self.deleted or self.edited)

    def __str__(self) -> str:
        pieces = [_piece_text({chain: self.written[chain] for chain in piece}) for piece in self.pieces]
        return "".join((f"*{self.table}\n", *pieces, self.ending))

    @property
    def ending(self) -> str:
        """The text after the pieces."""
        before = {chain for piece in self.pieces for chain in piece}
        written = {chain: rules for chain, rules in self.written.items() if chain not in before}
        return "".join(
            (
                *(f":{chain.name} - [0:0]\n" for chain in (*written, *self.deleted)),
                *written.values(),
                *(line for edit in self.edited.values() for line in edit.lines),
                *(f"{_at_head(jump)}\n" for jump in reversed(self.jumps)),
                *(f"-X {chain.name}\n" for chain in self.deleted),
                "COMMIT\n",
            )
        )


class OpenSection:
    """A section whose text is written while the rest of it is still computed."""

    def __init__(self, table: str) -> None:
        self.table = table
        self._written: dict[Chain, str] = {}
        self._pieces: list[tuple[Chain, ...]] = []

    def add(self, chains: Ruleset) -> str:
        """Have these chains too; their text, which follows the text of those before."""
        self._written |= chains
        self._pieces.append(tuple(chains))
        return _piece_text(chains)

    def with_rest(self, rest: Section) -> Section:
        """The whole section; its `ending` is the text that is still to be written."""
        return replace(rest, written=self._written | rest.written, pieces=tuple(self._pieces))


def _piece_text(chains: Ruleset) -> str:
    """Lines of a section that declare these chains and write their rules."""
    return "".join((*(f":{chain.name} - [0:0]\n" for chain in chains), *chains.values()))


def _at_head(rule: str) -> str:
    """`-A CHAIN ...` as an insert; jumps go first, before rules of others. `-I CHAIN PLACE ...` as it is."""
    return rule if rule.startswith("-I ") else "-I" + rule.removeprefix("-A")


@dataclass(frozen=True, slots=True)
class Transaction:
    """Sections in the order in which they take effect; `str()` is exactly what iptables-restore reads."""

    sections: tuple[Section, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.sections)

    def __str__(self) -> str:
        return "".join(map(str, self.sections))

    @property
    def marked(self) -> str:
        """The text with a comment line before each section, which says why the section stands there."""
        return marked("section", [(section.reason.value, str(section)) for section in self.sections])

    @property
    def written(self) -> dict[Chain, str]:
        """The rules of each chain that is written or edited, as the last section leaves them."""
        written: dict[Chain, str] = {}
        for section in self.sections:
            written.update(section.written)
            written.update((chain, edit.rules) for chain, edit in section.edited.items())
        return written

    @property
    def deleted(self) -> tuple[Chain, ...]:
        return tuple(chain for section in self.sections for chain in section.deleted)

    @property
    def rule_count(self) -> int:
        return sum(self.rules_by_table.values())

    @property
    def rules_by_table(self) -> dict[str, int]:
        """How many rules are written, in each table."""
        counts = {"filter": 0, "nat": 0}
        for section in self.sections:
            counts[section.table] += section.rule_count
        return counts
