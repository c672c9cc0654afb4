"""From one state of a table to another, in runs, each of which takes effect at once or not at all.

A packet is not so neat: the rules that it meets are those of the moment when it came, but each map is asked at the moment
of the look-up. So what may still be on somebody's way goes one run later, and a chain is there one run before a verdict that
stood for another one leads to it. A packet asks several maps, one after the other: a guard is there one run before what it
guards and goes one run after it, and so does a refusal after there is something better.

The order is for the kernel's sake, and it decides on seconds in a large cluster: a map that no rule asks takes elements
without looking at every rule, so elements of new maps come before their rules, and verdicts before the dispatch chains.
"""

import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from kproxy.ruleset.nftables.desired import TableChange
from kproxy.ruleset.nftables.frontends import VERDICT_MAPS
from kproxy.ruleset.nftables.ownership import REFERENCE_TABLE
from kproxy.ruleset.nftables.table import FAMILY_WORD, TABLE, Block, Blocks, Contents, Element
from kproxy.transaction.nftables.run import (
    NO_RUN,
    ElementCommand,
    Part,
    Run,
    commands_of,
    lines_of,
    run_of,
    texts_of,
)
from kproxy.values import Family

_ASKS = re.compile(r" hook | vmap @| jump ")
"""In the chains that lead packets to the verdicts in maps."""

_LATE = re.compile(r"(nodeport-)?(local-)?endpoints-\d+$|unserved-|firewall-")
"""The maps whose elements go last: endpoints do no harm where nobody is sent to them, refusals where everybody is sent
elsewhere, and guards guard until the end."""

_GUARDS = "firewall-ips"
"""The map that packets ask before that one."""

_RULES_A_PART, _BLOCKS_A_PART = 50, 100
"""Some 25 KB of messages each. nft 1.0.6 takes as long for the frame of a part as for several rules."""

_SENDS = re.compile(r" map @(\S+)\n")


@dataclass(frozen=True, slots=True)
class TableTransaction:
    """A change in up to three runs, or a whole table in as many. It writes and deletes these chains."""

    main: Run
    written: tuple[str, ...]
    deleted: tuple[str, ...] = ()
    first: Run = NO_RUN
    """Chains and maps that are needed before."""
    divided: tuple[str, ...] = ()
    """The text of `first` in many small parts of which any number may be one run, where no packet meets the table
    yet."""
    opening: Run = NO_RUN
    """What lets packets meet a table that was not there."""
    last: Run = NO_RUN
    """What nothing leads to afterwards goes. Until Linux 6.2 the kernel takes a moment to see that nothing does."""

    def __bool__(self) -> bool:
        return bool(self.first or self.main or self.opening or self.last)

    def __str__(self) -> str:
        return self.refusable + self.last.text

    @property
    def refusable(self) -> str:
        """The part that a Service may be at fault in."""
        return self.first.text + self.main.text + self.opening.text

    @property
    def line_count(self) -> int:
        return sum(run.line_count for run in (self.first, self.main, self.opening, self.last))


def install(family: Family, blocks: Blocks, contents: Contents) -> TableTransaction:
    """All of the table, for a node that has none. Packets meet it when everything is there."""
    asking = {block: text for block, text in blocks.items() if _asks(block, text)}
    others = {block: text for block, text in blocks.items() if block not in asking}
    return TableTransaction(
        run_of(blocks, commands_of("create", family, contents)),
        tuple(block.name for block in blocks if block.is_chain),
        first=Run("".join(_block(family, others))),
        divided=tuple(_divided(family, others)),
        opening=Run("".join(_block(family, asking))),
    )


def whole_table(family: Family, blocks: Blocks, contents: Contents) -> TableTransaction:
    """The same in one run."""
    return _whole("", family, blocks, contents)


def replace_all(family: Family, blocks: Blocks, contents: Contents) -> TableTransaction:
    """All of the table instead of whatever is in it."""
    table = f"{FAMILY_WORD[family]} {TABLE}"
    return _whole(f"add table {table}\ndelete table {table}\n", family, blocks, contents)


def refill(
    family: Family,
    found: AbstractSet[Block],
    blocks: Blocks,
    contents: Contents,
    intact: AbstractSet[Block],
) -> TableTransaction:
    """All of the table instead of what was `found` in it, but for what clients are remembered by.

    Sets and maps that are there already are filled anew where they are, because packets on their way ask them. For the
    maps of `picks` that holds where these are `intact`, and stay as they are.
    """
    table = f"{FAMILY_WORD[family]} {TABLE}"
    renewed = {asked for block, asked in endpoint_chains(blocks).items() if block not in intact}
    gone = {block for block in found if block not in blocks or block in renewed or " hook " in blocks[block]}
    emptied = (
        f"add table {table}\n",
        *(
            f"flush {block.kind} {table} {block.name}\n"
            for block in sorted(found - intact)
            if not is_kept(block)
        ),
        *(f"delete {block.kind} {table} {block.name}\n" for block in sorted(gone)),
    )
    written = {block: text for block, text in blocks.items() if block not in intact}
    transaction = _whole("".join(emptied), family, written, contents)
    return replace(
        transaction,
        written=tuple(block.name for block in blocks if block.is_chain),
        deleted=tuple(block.name for block in found - blocks.keys() if block.is_chain),
    )


def is_kept(block: Block) -> bool:
    """Whether it is a set of clients, which keep their endpoints also when all else is written anew."""
    return not block.is_chain and block.name.startswith("affinity/")


def endpoint_chains(blocks: Blocks) -> dict[Block, Block]:
    """The chains whose rule sends packets where a map says, with that map: nft 1.0.6 compiles the rule only if the map is new."""
    return {block: Block("map", asked[1]) for block, text in blocks.items() if (asked := _SENDS.search(text))}


def reference_table(family: Family, chains: Iterable[Block], blocks: Blocks) -> tuple[Run, Run]:
    """These chains of `picks` and their maps in a table of their own, which no packet meets; and that it goes again."""
    name = f"{FAMILY_WORD[family]} {REFERENCE_TABLE}"
    asked = endpoint_chains({chain: blocks[chain] for chain in chains})
    gone = f"add table {name}\ndelete table {name}\n"
    made = _block(family, {block: blocks[block] for block in (*asked.values(), *asked)}, REFERENCE_TABLE)
    return Run(gone + "".join(made)), Run(gone)


def change(family: Family, blocks: Blocks, change: TableChange) -> TableTransaction:
    """Only what differs; empty if nothing does. These blocks are there afterwards."""
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
    first: Iterable[Part] = (
        (*_block(family, new), *commands_of("create", family, guards)) if is_prepared else ()
    )
    return TableTransaction(
        run_of(
            blocks,
            _change(
                family,
                [*replaced, *(each for each in removed if not _LATE.match(each.holder))],
                [each for each in change.added if each not in guards],
                altered if is_prepared else written,
                altered,
            ),
        ),
        tuple(block.name for block in written if block.is_chain),
        tuple(block.name for block in gone if block.is_chain),
        first=run_of(blocks, first),
        last=run_of(blocks, _removal(family, gone, [each for each in removed if _LATE.match(each.holder)])),
    )


def _change(
    family: Family, deleted: Iterable[Element], added: Iterable[Element], written: Blocks, altered: Blocks
) -> Iterator[Part]:
    verdicts = [each for each in added if each.holder in VERDICT_MAPS]
    others = [each for each in added if each.holder not in VERDICT_MAPS]
    yield from _deletion(family, deleted)
    yield from _block(family, {block: text for block, text in written.items() if not block.is_chain})
    yield from commands_of("create", family, others)
    for block in altered:
        if block.is_chain:
            yield f"flush chain {FAMILY_WORD[family]} {TABLE} {block.name}\n"
    yield from _block(family, {block: text for block, text in written.items() if block.is_chain})
    yield from commands_of("create", family, verdicts)


def _removal(family: Family, gone: Iterable[Block], deleted: Iterable[Element]) -> Iterator[Part]:
    table = f"{FAMILY_WORD[family]} {TABLE}"
    lost = {block.name for block in gone}
    chains = [block.name for block in gone if block.is_chain]
    yield from _deletion(family, (each for each in deleted if each.holder not in lost))
    yield from (f"flush chain {table} {name}\n" for name in chains)
    yield from (f"delete chain {table} {name}\n" for name in chains)
    yield from (f"delete {block.kind} {table} {block.name}\n" for block in gone if not block.is_chain)


def _whole(first: str, family: Family, blocks: Blocks, contents: Contents) -> TableTransaction:
    holders = {block: text for block, text in blocks.items() if not block.is_chain}
    asking = {block: text for block, text in blocks.items() if _asks(block, text)}
    answering = {block: text for block, text in blocks.items() if block.is_chain and block not in asking}
    lines = lines_of(contents)
    verdicts = {holder: lines.pop(holder) for holder in VERDICT_MAPS if holder in lines}
    parts = (
        first,
        *_block(family, holders),
        *texts_of("add", family, lines),
        *_block(family, answering),
        *texts_of("add", family, verdicts),
        *_block(family, asking),
    )
    return TableTransaction(Run("".join(parts)), tuple(block.name for block in blocks if block.is_chain))


def _asks(block: Block, text: str) -> bool:
    return block.is_chain and bool(_ASKS.search(text))


def _block(family: Family, blocks: Blocks, table: str = TABLE) -> Iterator[str]:
    if not blocks:
        return
    yield f"table {FAMILY_WORD[family]} {table} {{\n"
    for block, text in blocks.items():
        yield f"{block.kind} {block.name} {{\n{text}}}\n"
    yield "}\n"


def _divided(family: Family, blocks: Blocks) -> Iterator[str]:
    """Empty sets, maps and chains, then some rules at a time; `picks` come in one piece with their maps."""
    chosen = endpoint_chains(blocks)
    maps = {*chosen.values()}
    declared = [
        (block, "" if block.is_chain else text) for block, text in blocks.items() if block not in maps
    ]
    for begin in range(0, len(declared), _BLOCKS_A_PART):
        yield "".join(_block(family, dict(declared[begin : begin + _BLOCKS_A_PART])))
    for asked in sorted(maps):
        chains = [chain for chain, its in chosen.items() if its == asked]
        yield "".join(_block(family, {block: blocks[block] for block in (asked, *chains)}))
    for block, text in blocks.items():
        if block.is_chain and block not in chosen:
            lines = text.splitlines(keepends=True)
            for begin in range(0, len(lines), _RULES_A_PART):
                yield "".join(_block(family, {block: "".join(lines[begin : begin + _RULES_A_PART])}))


def _deletion(family: Family, elements: Iterable[Element]) -> Iterator[ElementCommand]:
    return commands_of("delete", family, (Element(each.holder, each.key) for each in elements))
