"""The tables of nftables in memory: chains with rules, sets and maps with elements, and what uses what."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from kproxy.ruleset.nftables.table import Block

NAMES_CHAIN = re.compile(r"\b(?:goto|jump) (\S+)")
NAMES_HOLDER = re.compile(r"@(\S+)")
GOTO_CODE = struct.pack(">i", -4)


@dataclass(frozen=True, slots=True)
class Rule:
    """Two rules with one text are told from each other by their handles."""

    text: str
    handle: int


@dataclass(slots=True)
class Chain:
    """`place` is the line that hooks it; empty for a chain that only rules lead to."""

    place: str = ""
    rules: list[Rule] = field(default_factory=list)


@dataclass(slots=True)
class Holder:
    """A set or map, with what declares it."""

    declared: str
    elements: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Table:
    """`handles` counts what was ever made in it: each chain, set, map and rule has such a number."""

    is_dormant: bool = False
    handles: int = 0
    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, Holder] = field(default_factory=dict)
    maps: dict[str, Holder] = field(default_factory=dict)

    def copy(self) -> "Table":
        """Another one that changes by itself; rules are shared, as they never change."""
        chains = {name: Chain(chain.place, [*chain.rules]) for name, chain in self.chains.items()}
        sets, maps = (
            {name: Holder(holder.declared, {**holder.elements}) for name, holder in held.items()}
            for held in (self.sets, self.maps)
        )
        return Table(self.is_dormant, self.handles, chains, sets, maps)

    def next_handle(self) -> int:
        self.handles += 1
        return self.handles

    def holder(self, name: str) -> Holder | None:
        return self.sets.get(name) or self.maps.get(name)

    def blocks(self) -> Iterator[Block]:
        for kind, named in (("chain", self.chains), ("set", self.sets), ("map", self.maps)):
            yield from (Block(kind, name) for name in named)

    def uses_of_chain(self, name: str) -> int:
        """How many rules and verdicts of other chains lead to it."""
        rules = sum(
            name in NAMES_CHAIN.findall(rule.text)
            for other, chain in self.chains.items()
            if other != name
            for rule in chain.rules
        )
        goto = GOTO_CODE + name.encode()
        return rules + sum(value == goto for each in self.maps.values() for value in each.elements.values())

    def uses_of_holder(self, name: str) -> int:
        """How many rules ask it."""
        return sum(
            name in NAMES_HOLDER.findall(rule.text) for chain in self.chains.values() for rule in chain.rules
        )


@dataclass(slots=True)
class Ruleset:
    """All tables, by family word and name."""

    tables: dict[tuple[str, str], Table] = field(default_factory=dict)

    def copy(self) -> "Ruleset":
        return Ruleset({name: table.copy() for name, table in self.tables.items()})
