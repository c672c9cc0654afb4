"""From one state of a table to another: text for `nft -f`, each run of which takes effect at once or not at all.

A packet is not so neat: the rules that it meets are those of the moment when it came, but each map is asked at the moment
of the look-up. So what may still be on somebody's way goes one run later, and a chain is there one run before a verdict that
stood for another one leads to it. A packet asks several maps, one after the other: a guard is there one run before what it
guards, and a refusal goes one run after there is something better.

The order is for the kernel's sake, and it decides on seconds in a large cluster: a map that no rule asks takes elements
without looking at every rule, so elements of new maps come before their rules, and verdicts before the dispatch chains.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kproxy.ruleset.nftables.desired import TableChange
from kproxy.ruleset.nftables.frontends import VERDICT_MAPS
from kproxy.ruleset.nftables.table import TABLE, Block, Blocks, Element
from kproxy.values import Family

_FAMILY = {Family.IPV4: "ip", Family.IPV6: "ip6"}
_ASKS = re.compile(r" hook | vmap @| jump ")
"""In the chains that lead packets to the verdicts in maps."""

_LATE = re.compile(r"(nodeport-)?(local-)?endpoints-\d+$|unserved-")
"""The maps that packets ask after the one that says where they go: what it sends nobody to any more does no harm."""

_GUARDS = "firewall-ips"
"""The map that packets ask before that one."""

KEPT = Block("set", "affinity")
"""Clients keep their endpoints also when all else is written anew."""


@dataclass(frozen=True, slots=True)
class TableTransaction:
    """What `nft -f` reads, in up to three runs. It writes and deletes these chains."""

    text: str
    written: tuple[str, ...]
    deleted: tuple[str, ...] = ()
    first: str = ""
    """Chains and maps that are needed before."""
    last: str = ""
    """What nothing leads to afterwards goes. Until Linux 6.2 the kernel takes a moment to see that nothing does."""

    def __bool__(self) -> bool:
        return bool(str(self))

    def __str__(self) -> str:
        return self.first + self.text + self.last

    @property
    def refusable(self) -> str:
        """The part that a Service may be at fault in."""
        return self.first + self.text

    @property
    def line_count(self) -> int:
        """Rules, elements, and what declares a chain, set or map."""
        return str(self).count("\n\t")


def clean_table(family: Family, blocks: Blocks, elements: Iterable[Element]) -> TableTransaction:
    """All of the table, for a node that has none."""
    return _whole("", family, blocks, elements)


def from_scratch(family: Family, blocks: Blocks, elements: Iterable[Element]) -> TableTransaction:
    """All of the table instead of whatever is in it."""
    table = f"{_FAMILY[family]} {TABLE}"
    return _whole(f"add table {table}\ndelete table {table}\n", family, blocks, elements)


def anew(
    family: Family, found: Iterable[Block], blocks: Blocks, elements: Iterable[Element]
) -> TableTransaction:
    """All of the table instead of what was `found` in it, but for what clients are remembered by."""
    found = list(found)
    table = f"{_FAMILY[family]} {TABLE}"
    chains = [block.name for block in found if block.is_chain]
    holders = [block for block in found if not block.is_chain and block != KEPT]
    emptied = (
        f"add table {table}\n",
        f"flush table {table}\n",
        *(f"flush {block.kind} {table} {block.name}\n" for block in holders),
        *(f"delete chain {table} {name}\n" for name in chains),
        *(f"delete {block.kind} {table} {block.name}\n" for block in holders),
    )
    return _whole("".join(emptied), family, blocks, elements)


def change_table(family: Family, change: TableChange) -> TableTransaction:
    """Only what differs; empty if nothing does."""
    gone = [block for block, (_, after) in change.blocks.items() if after is None]
    written = {block: after for block, (_, after) in change.blocks.items() if after is not None}
    new = {block: text for block, text in written.items() if change.blocks[block][0] is None}
    altered = {block: text for block, text in written.items() if block not in new}
    were_there = {(each.holder, each.key) for each in change.deleted}
    are_there = {(each.holder, each.key) for each in change.added}
    replaced = [each for each in change.deleted if (each.holder, each.key) in are_there]
    removed = [each for each in change.deleted if (each.holder, each.key) not in are_there]
    guards = [
        each for each in change.added if each.holder == _GUARDS and (_GUARDS, each.key) not in were_there
    ]
    is_prepared = bool(guards) or any(each.holder in VERDICT_MAPS for each in replaced)
    first = (*_block(family, new), *_commands("add", family, _lines(guards))) if is_prepared else ()
    return TableTransaction(
        _change(
            family,
            [*replaced, *(each for each in removed if not _LATE.match(each.holder))],
            [each for each in change.added if each not in guards],
            altered if is_prepared else written,
            altered,
        ),
        tuple(block.name for block in written if block.is_chain),
        tuple(block.name for block in gone if block.is_chain),
        first="".join(first),
        last=_removal(family, gone, [each for each in removed if _LATE.match(each.holder)]),
    )


def _change(
    family: Family, deleted: Iterable[Element], added: Iterable[Element], written: Blocks, altered: Blocks
) -> str:
    table = f"{_FAMILY[family]} {TABLE}"
    lines = _lines(added)
    verdicts = {holder: lines.pop(holder) for holder in VERDICT_MAPS if holder in lines}
    parts = (
        *_commands("delete", family, _keys(deleted)),
        *_block(family, {block: text for block, text in written.items() if not block.is_chain}),
        *_commands("add", family, lines),
        *(f"flush chain {table} {block.name}\n" for block in altered if block.is_chain),
        *_block(family, {block: text for block, text in written.items() if block.is_chain}),
        *_commands("add", family, verdicts),
    )
    return "".join(parts)


def _removal(family: Family, gone: Iterable[Block], deleted: Iterable[Element]) -> str:
    table = f"{_FAMILY[family]} {TABLE}"
    lost = {block.name for block in gone}
    chains = [block.name for block in gone if block.is_chain]
    parts = (
        *_commands("delete", family, _keys(each for each in deleted if each.holder not in lost)),
        *(f"flush chain {table} {name}\n" for name in chains),
        *(f"delete chain {table} {name}\n" for name in chains),
        *(f"delete {block.kind} {table} {block.name}\n" for block in gone if not block.is_chain),
    )
    return "".join(parts)


def _whole(first: str, family: Family, blocks: Blocks, elements: Iterable[Element]) -> TableTransaction:
    holders = {block: text for block, text in blocks.items() if not block.is_chain}
    asking = {block: text for block, text in blocks.items() if block.is_chain and _ASKS.search(text)}
    answering = {block: text for block, text in blocks.items() if block.is_chain and block not in asking}
    lines = _lines(elements)
    verdicts = {holder: lines.pop(holder) for holder in VERDICT_MAPS if holder in lines}
    parts = (
        first,
        *_block(family, holders),
        *_commands("add", family, lines),
        *_block(family, answering),
        *_commands("add", family, verdicts),
        *_block(family, asking),
    )
    return TableTransaction("".join(parts), tuple(block.name for block in blocks if block.is_chain))


def _block(family: Family, blocks: Blocks) -> Iterator[str]:
    if not blocks:
        return
    yield f"table {_FAMILY[family]} {TABLE} {{\n"
    for block, text in blocks.items():
        yield f"{block.kind} {block.name} {{\n{text}}}\n"
    yield "}\n"


def _lines(elements: Iterable[Element]) -> dict[str, list[str]]:
    """One line an element, by set or map."""
    lines: dict[str, list[str]] = {}
    for holder, key, value in elements:
        lines.setdefault(holder, []).append(f"\t{key} : {value},\n" if value else f"\t{key},\n")
    return lines


def _keys(elements: Iterable[Element]) -> dict[str, list[str]]:
    return _lines(each._replace(value="") for each in elements)


def _commands(verb: str, family: Family, lines: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """One command a set or map."""
    for holder, each in lines.items():
        yield f"{verb} element {_FAMILY[family]} {TABLE} {holder} {{\n{''.join(each)}}}\n"
