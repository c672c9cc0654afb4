"""Sections that fit into a socket, where a process may not have it hold more, as in a user namespace."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from kproxy.ruleset.chain import Chain
from kproxy.transaction.iptables.edit import Edit
from kproxy.transaction.iptables.transaction import Section

_Thing = TypeVar("_Thing")

_BYTES_A_CHAIN = 128
_BYTES_A_RULE = 256
_BYTES_A_CHARACTER = 8
"""The most bytes that iptables-nft-restore 1.8.9 sends for a declared chain, for a rule, and for each character of a
rule.

Measured: 88 bytes a chain, 190 for the shortest rule, 955 for one of 114 characters with addresses, a port and a
comment.
"""


def fitting(sections: Iterable[Section], room: int | None) -> Iterator[Section]:
    """The changes of these sections, in their order; no section has more than `room` bytes if it can be divided.

    Each chain is changed at once, unless it alone is more than fits. Chains that are written come before the jumps to
    them, and deletions last: all chains that go are emptied before, so that none of them is in use. `room` None leaves
    all as they are.
    """
    for section in sections:
        if room is None or _size(section) <= room:
            yield section
        else:
            yield from (replace(part, reason=section.reason) for part in _divided(section, room))


def _divided(section: Section, room: int) -> Iterator[Section]:
    table = section.table
    for chains in _pieces([*section.written], map(_size_of, section.written.values()), room):
        written = {chain: section.written[chain] for chain in chains}
        if len(chains) == 1 and _size_of(written[chains[0]]) > room:
            yield from _long_chain(chains[0], written[chains[0]], room)
        else:
            yield Section(table, written)
    for chain, edit in section.edited.items():
        for lines in _pieces(edit.lines, map(_size_of, edit.lines), room):
            yield Section(table, edited={chain: Edit(edit.rules, tuple(lines))})
    if section.jumps:
        yield Section(table, jumps=section.jumps)
    deleted = list(_pieces(section.deleted, [2 * _BYTES_A_CHAIN for _ in section.deleted], room))
    if len(deleted) > 1:
        for chains in deleted:
            yield Section(table, dict.fromkeys(chains, ""))
    for chains in deleted:
        yield Section(table, deleted=tuple(chains))


def _long_chain(chain: Chain, rules: str, room: int) -> Iterator[Section]:
    """Write the first rules of the chain, then append the others.

    For some milliseconds packets meet only the first ones.
    """
    lines = rules.splitlines(keepends=True)
    first, *others = _pieces(lines, map(_size_of, lines), room)
    held = "".join(first)
    yield Section(chain.table, {chain: held})
    for more in others:
        held += "".join(more)
        yield Section(chain.table, edited={chain: Edit(held, tuple(more))})


def _pieces(things: Sequence[_Thing], sizes: Iterable[int], room: int) -> Iterator[Sequence[_Thing]]:
    begin = together = 0
    for at, size in enumerate(sizes):
        if at > begin and together + size > room:
            yield things[begin:at]
            begin, together = at, 0
        together += size
    if things:
        yield things[begin:]


def _size(section: Section) -> int:
    edits = (line for edit in section.edited.values() for line in edit.lines)
    return (
        sum(_size_of(rules) for rules in section.written.values())
        + sum(_size_of(text) for text in (*edits, *section.jumps))
        + 2 * _BYTES_A_CHAIN * len(section.deleted)
    )


def _size_of(rules: str) -> int:
    return _BYTES_A_CHAIN + _BYTES_A_RULE * rules.count("\n") + _BYTES_A_CHARACTER * len(rules)
