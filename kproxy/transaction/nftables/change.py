"""Only what differs between two states of a table that is known."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from kproxy.ruleset.nftables.desired import TableChange
from kproxy.ruleset.nftables.frontends import VERDICT_MAPS
from kproxy.ruleset.nftables.table import Block, Blocks, Element
from kproxy.transaction.nftables.blocks import blocks_text, table_named
from kproxy.transaction.nftables.elements import commands_of, deletion
from kproxy.transaction.nftables.run import Part, Reason, Run, run_of
from kproxy.transaction.nftables.transaction import Transaction
from kproxy.values import Family

_LATE = re.compile(r"(nodeport-)?(local-)?endpoints-\d+$|unserved-|firewall-")
"""The maps whose elements go last: endpoints do no harm where nobody is sent to them, refusals where everybody is sent
elsewhere, and guards guard until the end."""

_GUARDS = "firewall-ips"
"""The map that packets ask before that one."""


class _Elements(NamedTuple):
    """The elements of a change, by what has to happen to them and when."""

    guards: list[Element]
    """New ones, which come before what they guard."""
    added: list[Element]
    replaced: list[Element]
    removed: list[Element]
    removed_last: list[Element]

    @property
    def need_preparation(self) -> bool:
        """Whether packets on their way may meet what is new before the change itself is complete."""
        return bool(self.guards) or any(each.holder in VERDICT_MAPS for each in self.replaced)


def change(family: Family, blocks: Blocks, change: TableChange) -> Transaction:
    """Only what differs; empty if nothing does. These blocks are there afterwards."""
    gone = [block for block, (_, after) in change.blocks.items() if after is None]
    written = {block: after for block, (_, after) in change.blocks.items() if after is not None}
    new = {block: text for block, text in written.items() if change.blocks[block][0] is None}
    altered = {block: text for block, text in written.items() if block not in new}
    elements = _by_time(change)
    prepared: Iterable[Part] = ()
    if elements.need_preparation:
        prepared = (*blocks_text(family, new), *commands_of("create", family, elements.guards))
        written = altered
    runs = (
        run_of(Reason.PREPARE, blocks, prepared),
        run_of(Reason.CHANGE, blocks, _changed(family, elements, written, altered)),
        run_of(Reason.REMOVE, blocks, _removed(family, gone, elements.removed_last)),
    )
    changed = (*new, *altered)
    return Transaction(
        tuple(_waiting(run for run in runs if run)),
        tuple(block.name for block in changed if block.is_chain),
        tuple(block.name for block in gone if block.is_chain),
    )


def _by_time(change: TableChange) -> _Elements:
    were_there = {(each.holder, each.key) for each in change.deleted}
    are_there = {(each.holder, each.key) for each in change.added}
    removed = [each for each in change.deleted if (each.holder, each.key) not in are_there]
    guards = [
        each for each in change.added if each.holder == _GUARDS and (_GUARDS, each.key) not in were_there
    ]
    return _Elements(
        guards,
        [each for each in change.added if each not in guards],
        [each for each in change.deleted if (each.holder, each.key) in are_there],
        [each for each in removed if not _LATE.match(each.holder)],
        [each for each in removed if _LATE.match(each.holder)],
    )


def _changed(family: Family, elements: _Elements, written: Blocks, altered: Blocks) -> Iterator[Part]:
    verdicts = [each for each in elements.added if each.holder in VERDICT_MAPS]
    others = [each for each in elements.added if each.holder not in VERDICT_MAPS]
    yield from deletion(family, [*elements.replaced, *elements.removed])
    yield from blocks_text(family, {block: text for block, text in written.items() if not block.is_chain})
    yield from commands_of("create", family, others)
    for block in altered:
        if block.is_chain:
            yield f"flush chain {table_named(family)} {block.name}\n"
    yield from blocks_text(family, {block: text for block, text in written.items() if block.is_chain})
    yield from commands_of("create", family, verdicts)


def _removed(family: Family, gone: Iterable[Block], deleted: Iterable[Element]) -> Iterator[Part]:
    table = table_named(family)
    lost = {block.name for block in gone}
    chains = [block.name for block in gone if block.is_chain]
    yield from deletion(family, (each for each in deleted if each.holder not in lost))
    yield from (f"flush chain {table} {name}\n" for name in chains)
    yield from (f"delete chain {table} {name}\n" for name in chains)
    yield from (f"delete {block.kind} {table} {block.name}\n" for block in gone if not block.is_chain)


def _waiting(runs: Iterable[Run]) -> Iterator[Run]:
    """A run after elements alone waits for packets: netlink takes no time, while `nft` takes longer than any packet."""
    before = Run()
    for run in runs:
        yield replace(run, waits_for_packets=bool(before.commands))
        before = run
