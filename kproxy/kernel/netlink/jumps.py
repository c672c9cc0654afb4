"""Rules of iptables-nft's chains that lead to other chains: read and deleted one by one, beside any other rules.

iptables-nft cannot list a chain that holds a rule made by nft which iptables does not know.
"""

import errno
from collections.abc import Collection, Iterable, Iterator
from itertools import chain as chain_up
from typing import NamedTuple

from kproxy.kernel.netlink.nfnetlink import (
    NFPROTO,
    Message,
    Netlink,
    attribute,
    attributes,
    attributes_within,
    patiently,
    refusal,
    text_attribute,
)
from kproxy.ruleset.chain import Chain
from kproxy.values import Family

_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_GET_RULE, _DELETE_RULE = _SUBSYSTEM << 8 | 7, _SUBSYSTEM << 8 | 8
_TABLE, _CHAIN, _HANDLE, _EXPRESSIONS = 1, 2, 3, 4  # NFTA_RULE_*
_NAME, _DATA = 1, 2  # NFTA_EXPR_*
_IMMEDIATE_DATA = 2  # NFTA_IMMEDIATE_DATA
_VERDICT = 2  # NFTA_DATA_VERDICT
_VERDICT_CHAIN = 2  # NFTA_VERDICT_CHAIN
_MATCH_NAME, _MATCH_INFO = 1, 3  # NFTA_MATCH_*

_TRIES = 5
"""Somebody else may delete the same rules between our reading and our deletion, which then fails as a whole."""


class Jump(NamedTuple):
    """A rule that leads to another chain, by jump or goto. `comment` is that of iptables' match, or empty.

    `place` counts the rules of its chain from 1.
    """

    chain: Chain
    place: int
    handle: int
    target: str
    comment: str


def jumps_in(family: Family, chain: Chain) -> list[Jump]:
    """The rules of a chain that lead to other chains, in order; none if there is no such chain.

    KernelRefused if the kernel does not list them.
    """
    rules = _rules(family, chain.table, chain.name)
    found = (_jump(chain, place, message) for place, message in enumerate(rules, start=1))
    return [jump for jump in found if jump]


def count_rules(family: Family, chain: Chain) -> int:
    """The number of rules of a chain; 0 if it does not exist."""
    return len(_rules(family, chain.table, chain.name))


def count_iptables_rules(family: Family, table: str) -> int:
    """The number of rules that iptables seems to have made: it gives each a counter, as few users of nft do."""
    return sum(b"counter\0" in message for message in _rules(family, table, None))


def delete_jumps(family: Family, chains: Iterable[Chain], targets: Collection[str]) -> None:
    """Delete the rules of these chains that lead to any of the targets, all at once.

    KernelRefused if that does not succeed.
    """
    chains = list(chains)
    for _ in range(_TRIES):
        found = chain_up.from_iterable(jumps_in(family, chain) for chain in chains)
        deletions = [_deletion(family, jump) for jump in found if jump.target in targets]
        try:
            if deletions:
                with Netlink() as netlink:
                    netlink.commit(_SUBSYSTEM, deletions)
        except OSError as refused:
            failed = refused
        else:
            return
    raise refusal("the deletion of rules", failed) from failed


def _rules(family: Family, table: str, chain: str | None) -> list[bytes]:
    asked = text_attribute(_TABLE, table) + (text_attribute(_CHAIN, chain) if chain else b"")

    def dump() -> list[bytes]:
        with Netlink() as netlink:
            return list(netlink.dump(_GET_RULE, NFPROTO[family], asked))

    try:
        return patiently(dump)
    except OSError as refused:
        if refused.errno == errno.ENOENT:
            return []
        raise refusal("the list of rules", refused) from refused


def _deletion(family: Family, jump: Jump) -> Message:
    asked = (
        text_attribute(_TABLE, jump.chain.table)
        + text_attribute(_CHAIN, jump.chain.name)
        + attribute(_HANDLE, jump.handle.to_bytes(8))
    )
    return Message(_DELETE_RULE, NFPROTO[family], asked)


def _jump(chain: Chain, place: int, message: bytes) -> Jump | None:
    found = {kind: (begin, end) for kind, begin, end in attributes(message)}
    handle = int.from_bytes(message[slice(*found[_HANDLE])])
    target = comment = ""
    for name, begin, end in _expressions(message, *found.get(_EXPRESSIONS, (0, 0))):
        if name == "immediate":
            verdict = _within(message, begin, end, _IMMEDIATE_DATA, _VERDICT, _VERDICT_CHAIN)
            target = _text(verdict) or target
        elif name == "match" and _text(_within(message, begin, end, _MATCH_NAME)) == "comment":
            comment = _text(_within(message, begin, end, _MATCH_INFO))
    return Jump(chain, place, handle, target, comment) if target else None


def _expressions(message: bytes, begin: int, end: int) -> Iterator[tuple[str, int, int]]:
    """The name of each expression, and where its data begin and end."""
    for _, first, last in attributes_within(message, begin, end):
        parts = {kind: (at, to) for kind, at, to in attributes_within(message, first, last)}
        yield _text(message[slice(*parts[_NAME])]), *parts.get(_DATA, (0, 0))


def _within(message: bytes, begin: int, end: int, *kinds: int) -> bytes:
    """The value of an attribute within attributes; empty if any of them is missing."""
    for kind in kinds:
        found = {each: (at, to) for each, at, to in attributes_within(message, begin, end)}
        begin, end = found.get(kind, (0, 0))
    return message[begin:end]


def _text(value: bytes) -> str:
    return value.partition(b"\0")[0].decode(errors="replace")
