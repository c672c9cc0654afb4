"""Blocks as `nft` reads them."""

from collections.abc import Iterator

from kproxy.ruleset.nftables.table import FAMILY_WORD, TABLE, Blocks
from kproxy.values import Family


def table_named(family: Family) -> str:
    """Our table, as commands name it."""
    return f"{FAMILY_WORD[family]} {TABLE}"


def blocks_text(family: Family, blocks: Blocks, table: str = TABLE) -> Iterator[str]:
    """These blocks in one frame; nothing without blocks."""
    if not blocks:
        return
    yield f"table {FAMILY_WORD[family]} {table} {{\n"
    for block, body in blocks.items():
        yield f"{block.kind} {block.name} {{\n{body.text}}}\n"
    yield "}\n"
