"""From one state of a table to another: the text for one `nft -f`, which takes effect at once or not at all.

The order is for the kernel's sake, and it decides on seconds in a large cluster: a map that no rule asks takes elements
without looking at every rule, so elements of new maps come before their rules, and verdicts before the dispatch chains.
"""

import re
from collections.abc import Iterable, Iterator

from kproxy.ruleset.nftables.desired import TableChange
from kproxy.ruleset.nftables.table import TABLE, Block, Blocks, Element
from kproxy.values import Family

_FAMILY = {Family.IPV4: "ip", Family.IPV6: "ip6"}
_ASKS = re.compile(r" hook | vmap @| jump ")
"""In the chains that lead packets to the verdicts in maps."""

KEPT = Block("set", "affinity")
"""Clients keep their endpoints also when all else is written anew."""


def clean_table(family: Family, blocks: Blocks, elements: Iterable[Element]) -> str:
    """All of the table, for a node that has none."""
    return "".join(_whole(family, blocks, elements))


def from_scratch(family: Family, blocks: Blocks, elements: Iterable[Element]) -> str:
    """All of the table instead of whatever is in it."""
    table = f"{_FAMILY[family]} {TABLE}"
    return f"add table {table}\ndelete table {table}\n{clean_table(family, blocks, elements)}"


def anew(family: Family, found: Iterable[Block], blocks: Blocks, elements: Iterable[Element]) -> str:
    """All of the table instead of what was `found` in it, but for what clients are remembered by."""
    found = list(found)
    table = f"{_FAMILY[family]} {TABLE}"
    chains = [block.name for block in found if block.is_chain]
    holders = [block for block in found if not block.is_chain and block != KEPT]
    return "".join(
        (
            f"add table {table}\n",
            f"flush table {table}\n",
            *(f"flush {block.kind} {table} {block.name}\n" for block in holders),
            *(f"delete chain {table} {name}\n" for name in chains),
            *(f"delete {block.kind} {table} {block.name}\n" for block in holders),
            *_whole(family, blocks, elements),
        )
    )


def change_table(family: Family, change: TableChange) -> str:
    """Only what differs; empty if nothing does."""
    if not change:
        return ""
    table = f"{_FAMILY[family]} {TABLE}"
    gone = [block for block, (_, after) in change.blocks.items() if after is None]
    written = {block: after for block, (_, after) in change.blocks.items() if after is not None}
    altered = [block.name for block in written if block.is_chain and change.blocks[block][0] is not None]
    lost = {block.name for block in gone}
    chains = [block.name for block in gone if block.is_chain]
    return "".join(
        (
            *_elements("delete", family, (each for each in change.deleted if each.holder not in lost)),
            *_block(family, {block: text for block, text in written.items() if not block.is_chain}),
            *_elements("add", family, (each for each in change.added if not _is_verdict(each))),
            *(f"flush chain {table} {name}\n" for name in altered),
            *_block(family, {block: text for block, text in written.items() if block.is_chain}),
            *_elements("add", family, (each for each in change.added if _is_verdict(each))),
            *(f"flush chain {table} {name}\n" for name in chains),
            *(f"delete chain {table} {name}\n" for name in chains),
            *(f"delete {block.kind} {table} {block.name}\n" for block in gone if not block.is_chain),
        )
    )


def _whole(family: Family, blocks: Blocks, elements: Iterable[Element]) -> Iterator[str]:
    everything = list(elements)
    holders = {block: text for block, text in blocks.items() if not block.is_chain}
    asking = {block: text for block, text in blocks.items() if block.is_chain and _ASKS.search(text)}
    answering = {block: text for block, text in blocks.items() if block.is_chain and block not in asking}
    yield from _block(family, holders)
    yield from _elements("add", family, (each for each in everything if not _is_verdict(each)))
    yield from _block(family, answering)
    yield from _elements("add", family, (each for each in everything if _is_verdict(each)))
    yield from _block(family, asking)


def _is_verdict(element: Element) -> bool:
    return element.value.startswith("goto ") or element.value == "drop"


def _block(family: Family, blocks: Blocks) -> Iterator[str]:
    if not blocks:
        return
    yield f"table {_FAMILY[family]} {TABLE} {{\n"
    for block, text in blocks.items():
        yield f"{block.kind} {block.name} {{\n{text}}}\n"
    yield "}\n"


def _elements(verb: str, family: Family, elements: Iterable[Element]) -> Iterator[str]:
    """One command a set or map, one line an element."""
    by_holder: dict[str, list[str]] = {}
    for holder, key, value in elements:
        line = f"\t{key} : {value},\n" if value and verb == "add" else f"\t{key},\n"
        by_holder.setdefault(holder, []).append(line)
    for holder, lines in by_holder.items():
        yield f"{verb} element {_FAMILY[family]} {TABLE} {holder} {{\n"
        yield from lines
        yield "}\n"
