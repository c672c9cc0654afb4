"""Reads the output of `nft -j list table`: chains with their rules, and the elements of sets and maps."""

import ipaddress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kproxy.errors import InputError

Part = str | int
Key = tuple[Part, ...]
"""The parts of an element that is a concatenation; any other element has one part."""

Statement = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NftRule:
    """One rule: statements from left to right, each a JSON object with one word and its arguments."""

    chain: str
    statements: tuple[Statement, ...]
    comment: str = ""

    def __str__(self) -> str:
        words = msgspec.json.encode(self.statements).decode()
        return f"{self.chain}: {words}" + (f" ({self.comment})" if self.comment else "")


@dataclass(slots=True)
class NftChain:
    """`hook` is empty for a chain that only rules and verdicts lead to."""

    name: str
    hook: str = ""
    kind: str = ""
    priority: int = 0
    policy: str = ""
    rules: list[NftRule] = field(default_factory=list)


@dataclass(slots=True)
class NftTables:
    """One family's table: its chains, and the elements of its sets and maps."""

    chains: dict[str, NftChain] = field(default_factory=dict)
    elements: dict[str, dict[Key, Any]] = field(default_factory=dict)

    def hooked(self, hook: str) -> list[NftChain]:
        """The chains on a hook, in the order in which packets meet them."""
        return sorted((c for c in self.chains.values() if c.hook == hook), key=lambda c: c.priority)


def parse_table(text: str | bytes) -> NftTables:
    """The table in the JSON of nft 1.0; InputError names the part that is not understood."""
    try:
        things = msgspec.json.decode(text, type=_Listing).nftables
    except msgspec.DecodeError as wrong:
        raise InputError(f"this is not what `nft -j list table` prints: {wrong}") from wrong
    tables = NftTables()
    for thing in things:
        for kind, about in thing.items():
            try:
                _take(tables, kind, about)
            except (LookupError, TypeError, ValueError, AttributeError) as wrong:
                raise InputError(f"the {kind} {about} is not understood") from wrong
    return tables


def _take(tables: NftTables, kind: str, about: dict[str, Any]) -> None:
    match kind:
        case "chain":
            tables.chains[about["name"]] = NftChain(
                about["name"],
                about.get("hook", ""),
                about.get("type", ""),
                int(about.get("prio", 0)),
                about.get("policy", ""),
            )
        case "rule":
            rule = NftRule(about["chain"], tuple(about["expr"]), about.get("comment", ""))
            tables.chains[rule.chain].rules.append(rule)
        case "set" | "map":
            tables.elements[about["name"]] = elements(about.get("elem", ()))


def elements(listed: Any) -> dict[Key, Any]:
    """The keys and data of the elements of a set or map; in a set the data is None."""
    pairs = ((each[0], each[1]) if isinstance(each, list) else (each, None) for each in listed)
    return {key_of(key): data for key, data in pairs}


def key_of(thing: Any) -> Key:
    """`{"concat": [...]}`, an element with a timeout, or one value."""
    if isinstance(thing, dict) and "elem" in thing:
        return key_of(thing["elem"]["val"])
    parts = thing["concat"] if isinstance(thing, dict) and "concat" in thing else [thing]
    return tuple(part if isinstance(part, int) else _canonical(part) for part in parts)


def _canonical(part: str) -> str:
    return str(ipaddress.ip_address(part)) if ":" in part else part


class _Listing(msgspec.Struct):
    nftables: list[dict[str, dict[str, Any]]]
