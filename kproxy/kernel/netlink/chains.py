"""Cheap readings of the kernel's nftables: names of chains, digests of their rules, and the commit count.

The tables of iptables-nft are tables of nftables too, so both modes use this.
"""

import errno
import hashlib
import re
import struct

from kproxy.errors import KernelRefused
from kproxy.kernel.netlink.nfnetlink import (
    FIRST_ATTRIBUTE,
    NFPROTO,
    NFPROTO_UNSPEC,
    Message,
    Netlink,
    asking,
    attributes,
    first_but,
    patiently,
    refusal,
    text_attribute,
)
from kproxy.ruleset.chain import Chain
from kproxy.values import Family

_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GET_TABLE, _GET_CHAIN, _GET_RULE, _GET_GENERATION = (_SUBSYSTEM | number for number in (1, 4, 7, 16))
_DELETE_TABLE = _SUBSYSTEM | 2
_NO_NFTABLES = frozenset({errno.EINVAL, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP})
"""The answers of a kernel without nftables, or without netfilter's netlink, to a question for tables."""

_TABLE_NAME = 1  # NFTA_TABLE_NAME
_CHAIN_TABLE, _CHAIN_NAME = 1, 3  # NFTA_CHAIN_*
_CHAIN_PLACE = {4, 5, 7, 10}  # NFTA_CHAIN_HOOK with its priority, _POLICY, _TYPE, _FLAGS
_RULE_TABLE, _RULE_CHAIN, _RULE_HANDLE, _RULE_EXPRESSIONS = 1, 2, 3, 4  # NFTA_RULE_*
_RULE_PLACE = {_RULE_HANDLE, 6, 8}  # and NFTA_RULE_POSITION, the handle of the rule before it, _PAD
_GENERATION_ID = 1  # NFTA_GEN_ID
_COMMIT_COUNT = "the commit count of nftables"
_COUNTS = re.compile(rb"counter\0.{28}", re.DOTALL)
"""The expression `counter` with its numbers of bytes and packets, which change with each packet."""


def generation() -> int:
    """The commit count: every change of any table in this network namespace adds one, also those of others.

    KernelRefused where the kernel does not tell it.
    """
    with asking(_COMMIT_COUNT), Netlink() as netlink:
        return generation_by(netlink)


def generation_by(netlink: Netlink) -> int:
    """As `generation`, by a socket that is open."""
    with asking(_COMMIT_COUNT):
        answer = netlink.ask(_GET_GENERATION, NFPROTO_UNSPEC)
    for kind, begin, end in attributes(answer):
        if kind == _GENERATION_ID:
            return int(struct.unpack(">I", answer[begin:end])[0])
    raise KernelRefused(_COMMIT_COUNT, errno.EPROTO, "its answer holds none")


def delete_table(family: Family, name: str) -> bool:
    """Delete a table with all that it holds, and look into no other; whether it was there.

    KernelRefused where the kernel refuses. Where there is no such table, nothing is committed.
    """
    if not has_table(family, name):
        return False
    asked = Message(_DELETE_TABLE, NFPROTO[family], text_attribute(_TABLE_NAME, name))
    try:
        with Netlink() as netlink:
            netlink.commit(_SUBSYSTEM >> 8, [asked])
    except OSError as refused:
        if refused.errno == errno.ENOENT:  # somebody else was faster
            return False
        why = ": a program that runs owns it" if refused.errno == errno.EPERM else ""
        said = f"{refused.strerror}{why}"
        raise KernelRefused(f"the deletion of table {name}", refused.errno or 0, said) from refused
    return True


def has_table(family: Family, name: str) -> bool:
    """Whether there is a table of this name; KernelRefused if the kernel does not tell."""
    try:
        with Netlink() as netlink:
            netlink.ask(_GET_TABLE, NFPROTO[family], text_attribute(_TABLE_NAME, name))
    except OSError as refused:
        if refused.errno == errno.ENOENT or refused.errno in _NO_NFTABLES:
            return False
        raise refusal(f"to tell of table {name}", refused) from refused
    return True


def chain_names(family: Family, table: str) -> list[str]:
    """The names of all chains in one table; see `chains`."""
    return [chain.name for chain in chains(family) if chain.table == table]


def chains(family: Family) -> list[Chain]:
    """All chains of a family (NFT_MSG_GETCHAIN), which the kernel cannot give by table.

    A dump that is interrupted by changes of others is tried again; KernelRefused if that goes on.
    """

    def dump() -> list[Chain]:
        with Netlink() as netlink:
            return [_chain_in(message) for message in netlink.dump(_GET_CHAIN, NFPROTO[family])]

    try:
        return patiently(dump)
    except OSError as refused:
        if refused.errno in _NO_NFTABLES:
            return []
        raise refusal("the list of chains", refused) from refused


def _chain_in(message: bytes) -> Chain:
    table = ""
    for kind, begin, end in attributes(message):
        text = message[begin : end - 1]
        if kind == _CHAIN_TABLE:
            table = text.decode(errors="replace")
        if kind == _CHAIN_NAME:
            return Chain(table, text.decode(errors="replace"))
    return Chain(table, "")


class RuleReader:
    """Digests of chains' rules as the kernel holds them; 7 us a chain, however many there are."""

    def __init__(self, family: Family) -> None:
        self._family = NFPROTO[family]
        self._netlink = Netlink()

    def close(self) -> None:
        self._netlink.close()

    def digest(self, chain: Chain) -> bytes:
        """A digest that changes if somebody writes a rule of the chain, even an equal rule, but not with packets.

        All chains without rules have the same digest. Interrupted if any table changed at that moment.
        """
        digest = hashlib.blake2b(digest_size=8)
        asked = text_attribute(_RULE_TABLE, chain.table) + text_attribute(_RULE_CHAIN, chain.name)
        for message in self._netlink.dump(_GET_RULE, self._family, asked):
            digest.update(_COUNTS.sub(b"counter", message[FIRST_ATTRIBUTE:]))
        return digest.digest()

    def content(self, chain: Chain) -> bytes:
        """A digest that changes if a rule of the chain does; neither packets nor an equal rule in its place change it.

        It does not tell rules apart that differ in a set without a name. Interrupted if any table changed at that
        moment.
        """
        digest = hashlib.blake2b(digest_size=8)
        asked = text_attribute(_RULE_TABLE, chain.table) + text_attribute(_RULE_CHAIN, chain.name)
        after_names = FIRST_ATTRIBUTE + len(asked)
        for message in self._netlink.dump(_GET_RULE, self._family, asked):
            begin = first_but(_RULE_PLACE, message, after_names)
            digest.update(_COUNTS.sub(b"counter", message[begin:]))
        return digest.digest()

    def place(self, chain: Chain) -> bytes:
        """Bytes that change if the hook, priority or policy of the chain does; its rules do not matter."""
        asked = text_attribute(_CHAIN_TABLE, chain.table) + text_attribute(_CHAIN_NAME, chain.name)
        answer = self._netlink.ask(_GET_CHAIN, self._family, asked)
        return b"".join(answer[begin:end] for kind, begin, end in attributes(answer) if kind in _CHAIN_PLACE)

    def expressions(self, chain: Chain) -> bytes:
        """The expressions of all rules of the chain, one after the other; equal rules have equal expressions."""
        asked = text_attribute(_RULE_TABLE, chain.table) + text_attribute(_RULE_CHAIN, chain.name)
        return b"".join(
            message[begin:end]
            for message in self._netlink.dump(_GET_RULE, self._family, asked)
            for kind, begin, end in attributes(message)
            if kind == _RULE_EXPRESSIONS
        )
