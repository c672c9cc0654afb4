"""The transaction for a known table, which changes only what differs."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from kproxy.ruleset.nftables.desired import TableDifference
from kproxy.ruleset.nftables.table import Block, Blocks, Element, Role
from kproxy.transaction.nftables.blocks import blocks_text, table_named
from kproxy.transaction.nftables.elements import commands_of, deletion
from kproxy.transaction.nftables.run import Part, Reason, Run, run_of
from kproxy.transaction.nftables.transaction import Transaction
from kproxy.values import Family


class _Elements(NamedTuple):
    """The elements of a change, by what has to happen to them and when."""

    guards: list[Element]
    """New guards, which come before the elements that they guard."""
    verdicts: list[Element]
    """New verdicts except guards."""
    others: list[Element]
    """New elements that are no verdicts."""
    replaced: list[Element]
    removed: list[Element]
    removed_last: list[Element]
    replaces_verdicts: bool

    @property
    def need_preparation(self) -> bool:
        """Whether packets on their way may meet what is new before the change itself is complete."""
        return bool(self.guards) or self.replaces_verdicts


def change(family: Family, blocks: Blocks, difference: TableDifference) -> Transaction:
    """The transaction that changes only what differs; empty if nothing does. These blocks are there afterwards."""
    gone = [block for block, (_, after) in difference.blocks.items() if after is None]
    written = {block: after for block, (_, after) in difference.blocks.items() if after is not None}
    new = {block: body for block, body in written.items() if difference.blocks[block][0] is None}
    altered = {block: body for block, body in written.items() if block not in new}
    elements = _by_time(difference, _roles(blocks, difference))
    prepared: Iterable[Part] = ()
    if elements.need_preparation:
        prepared = (*blocks_text(family, new), *commands_of("create", family, elements.guards))
    runs = (
        run_of(Reason.PREPARE, blocks, prepared),
        run_of(
            Reason.CHANGE,
            blocks,
            _changed(family, elements, altered if elements.need_preparation else written, altered),
        ),
        run_of(Reason.REMOVE, blocks, _removed(family, gone, elements.removed_last)),
    )
    return Transaction(
        tuple(_waiting(filter(None, runs))),
        tuple(block.name for block in written if block.is_chain),
        tuple(block.name for block in gone if block.is_chain),
    )


def _roles(blocks: Blocks, difference: TableDifference) -> dict[str, Role]:
    """The roles of the sets and maps that hold elements of the change, also of those that go."""
    went = {block: before for block, (before, _) in difference.blocks.items() if before}
    roles = {}
    for holder in {each.holder for each in chain(difference.added, difference.deleted)}:
        for block in (Block("map", holder), Block("set", holder)):
            if body := blocks.get(block) or went.get(block):
                roles[holder] = body.role
    return roles


def _by_time(difference: TableDifference, roles: Mapping[str, Role]) -> _Elements:
    were_there = {(each.holder, each.key) for each in difference.deleted}
    are_there = {(each.holder, each.key) for each in difference.added}
    elements = _Elements([], [], [], [], [], [], replaces_verdicts=False)
    for each in difference.added:
        role = roles.get(each.holder, Role.ADDED)
        if role is Role.GUARDS and (each.holder, each.key) not in were_there:
            elements.guards.append(each)
        else:
            (elements.verdicts if role.holds_verdicts else elements.others).append(each)
    for each in difference.deleted:
        role = roles.get(each.holder, Role.ADDED)
        if (each.holder, each.key) in are_there:
            elements.replaced.append(each)
        else:
            (elements.removed_last if role.outlasts_verdicts else elements.removed).append(each)
    replaces = any(roles.get(each.holder, Role.ADDED).holds_verdicts for each in elements.replaced)
    return elements._replace(replaces_verdicts=replaces)


def _changed(family: Family, elements: _Elements, written: Blocks, altered: Blocks) -> Iterator[Part]:
    yield from deletion(family, [*elements.replaced, *elements.removed])
    yield from blocks_text(family, {block: body for block, body in written.items() if not block.is_chain})
    yield from commands_of("create", family, elements.others)
    for block in altered:
        if block.is_chain:
            yield f"flush chain {table_named(family)} {block.name}\n"
    yield from blocks_text(family, {block: body for block, body in written.items() if block.is_chain})
    yield from commands_of("create", family, elements.verdicts)


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
