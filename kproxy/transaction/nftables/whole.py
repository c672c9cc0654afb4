"""All of a table: where there is none, or instead of one of an unknown state."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from kproxy.ruleset.nftables.table import Block, Blocks, Contents, Role
from kproxy.transaction.nftables.blocks import blocks_text, table_named
from kproxy.transaction.nftables.elements import commands_of, lines_of, texts_of
from kproxy.transaction.nftables.endpoint_chains import endpoint_chains
from kproxy.transaction.nftables.run import Reason, Run, run_of
from kproxy.transaction.nftables.transaction import Transaction
from kproxy.values import Family

_RULES_A_PART, _BLOCKS_A_PART = 50, 100
"""Some 25 KB of messages each. nft 1.0.6 takes as long for the frame of a part as for several rules."""


def install(family: Family, blocks: Blocks, contents: Contents) -> Transaction:
    """All of the table, for a node that has none. Packets meet it when everything is there."""
    leading = {block: body for block, body in blocks.items() if body.role.leads}
    others = {block: body for block, body in blocks.items() if block not in leading}
    prepared = "".join(blocks_text(family, others))
    runs = (
        Run(prepared, reason=Reason.PREPARE, parts=tuple(_divided(family, others))),
        run_of(Reason.FILL, blocks, commands_of("create", family, contents)),
        Run("".join(blocks_text(family, leading)), reason=Reason.OPEN),
    )
    return Transaction(tuple(filter(None, runs)), _chain_names(blocks))


def whole_table(family: Family, blocks: Blocks, contents: Contents) -> Transaction:
    """All of the table, for a node that has none, in one run."""
    return Transaction((_whole("", family, blocks, contents),), _chain_names(blocks))


def replace_all(family: Family, blocks: Blocks, contents: Contents) -> Transaction:
    """All of the table instead of whatever is in it, the clients of session affinity too."""
    table = table_named(family)
    gone = f"add table {table}\ndelete table {table}\n"
    return Transaction((_whole(gone, family, blocks, contents),), _chain_names(blocks))


def refill(
    family: Family,
    found: AbstractSet[Block],
    blocks: Blocks,
    contents: Contents,
    intact: AbstractSet[Block],
) -> Transaction:
    """All of the table instead of the blocks `found` in it; clients keep their endpoints.

    Sets and maps that are there already are filled again where they are, because packets on their way ask them. Maps
    of endpoint chains are filled so only if these chains are `intact`, and stay as they are.
    """
    table = table_named(family)
    renewed = {asked for block, asked in endpoint_chains(blocks).items() if block not in intact}
    gone = {
        block for block in found if block not in blocks or block in renewed or blocks[block].role is Role.HOOK
    }
    emptied = (
        f"add table {table}\n",
        *(
            f"flush {block.kind} {table} {block.name}\n"
            for block in sorted(found - intact)
            if block not in blocks or blocks[block].role is not Role.CLIENTS
        ),
        *(f"delete {block.kind} {table} {block.name}\n" for block in sorted(gone)),
    )
    written = {block: body for block, body in blocks.items() if block not in intact}
    return Transaction(
        (_whole("".join(emptied), family, written, contents),),
        _chain_names(blocks),
        tuple(block.name for block in found - blocks.keys() if block.is_chain),
    )


def _whole(first: str, family: Family, blocks: Blocks, contents: Contents) -> Run:
    holders = {block: body for block, body in blocks.items() if not block.is_chain}
    leading = {block: body for block, body in blocks.items() if body.role.leads}
    answering = {block: body for block, body in blocks.items() if block.is_chain and block not in leading}
    lines = lines_of(contents)
    verdicts = {
        block.name: lines.pop(block.name)
        for block, body in holders.items()
        if body.role.holds_verdicts and block.name in lines
    }
    parts = (
        first,
        *blocks_text(family, holders),
        *texts_of("add", family, lines),
        *blocks_text(family, answering),
        *texts_of("add", family, verdicts),
        *blocks_text(family, leading),
    )
    return Run("".join(parts), reason=Reason.WHOLE)


def _chain_names(blocks: Blocks) -> tuple[str, ...]:
    return tuple(block.name for block in blocks if block.is_chain)


def _divided(family: Family, blocks: Blocks) -> Iterator[str]:
    """Empty sets, maps and chains, then some rules at a time; endpoint chains come in one piece with their maps."""
    chosen = endpoint_chains(blocks)
    maps = {*chosen.values()}
    declared = [
        (block, body._replace(text="") if block.is_chain else body)
        for block, body in blocks.items()
        if block not in maps
    ]
    for begin in range(0, len(declared), _BLOCKS_A_PART):
        yield "".join(blocks_text(family, dict(declared[begin : begin + _BLOCKS_A_PART])))
    for asked in sorted(maps):
        chains = [chain for chain, its in chosen.items() if its == asked]
        yield "".join(blocks_text(family, {block: blocks[block] for block in (asked, *chains)}))
    for block, body in blocks.items():
        if block.is_chain and block not in chosen:
            lines = body.text.splitlines(keepends=True)
            for begin in range(0, len(lines), _RULES_A_PART):
                some = body._replace(text="".join(lines[begin : begin + _RULES_A_PART]))
                yield "".join(blocks_text(family, {block: some}))
