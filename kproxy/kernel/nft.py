"""The table of nftables mode in the kernel: written by `nft`, read by netlink, and no other table looked into."""

import errno
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from socket import AF_INET, AF_INET6, inet_pton
from typing import NamedTuple, TypeVar

from kproxy.errors import ProgramFailed
from kproxy.kernel import process
from kproxy.kernel.nfnetlink import (
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    Interrupted,
    Netlink,
    attributes,
    attributes_within,
    text_attribute,
)
from kproxy.kernel.nftables import RuleReader, chain_names, generation
from kproxy.ruleset.chains import Chain
from kproxy.ruleset.nftables.table import TABLE, Block, Element
from kproxy.values import Family

_Read = TypeVar("_Read")

_LONGEST_S = 600.0
_TRIES = 20
_NFPROTO = {Family.IPV4: NFPROTO_IPV4, Family.IPV6: NFPROTO_IPV6}
_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GET_TABLE, _GET_SET, _GET_ELEMENTS = _SUBSYSTEM | 1, _SUBSYSTEM | 10, _SUBSYSTEM | 13
_TABLE_NAME, _TABLE_FLAGS, _DORMANT = 1, 2, 0x1  # NFTA_TABLE_*, NFT_TABLE_F_*
_SET_TABLE, _SET_NAME, _SET_FLAGS = 1, 2, 3  # NFTA_SET_*
_ANONYMOUS, _MAP = 0x1, 0x8  # NFT_SET_*
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
_KEY, _DATA = 1, 2  # NFTA_SET_ELEM_*
_VALUE, _VERDICT = 1, 2  # NFTA_DATA_*
_VERDICT_CODE, _VERDICT_CHAIN = 1, 2  # NFTA_VERDICT_*
_NF_DROP, _NFT_GOTO = struct.pack(">i", 0), struct.pack(">i", -4)
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}


class RawElement(NamedTuple):
    """An element as the kernel has it."""

    key: bytes
    value: bytes


class NftTable:
    """One family's table in the network namespace of this process."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def apply(self, text: str) -> None:
        """Run a text as one transaction; ProgramFailed says which line was refused, and then nothing is changed."""
        process.run(["nft", "-f", "-"], stdin=text, timeout_s=_LONGEST_S)

    def check(self, text: str) -> None:
        """Let the kernel look at a text without acting on it; ProgramFailed if it would refuse it."""
        process.run(["nft", "--check", "-f", "-"], stdin=text, timeout_s=_LONGEST_S)

    def generation(self) -> int:
        """A number that every transaction in this network namespace, whoever runs it, moves on by one."""
        return generation()

    def blocks(self) -> list[Block]:
        """The names of what is in the table; none if it is not there."""
        named = text_attribute(_SET_TABLE, TABLE)
        holders = [block for message in self._dump(_GET_SET, named) if (block := _holder(message))]
        return [*(Block("chain", name) for name in chain_names(self.family, TABLE)), *holders]

    def is_dormant(self) -> bool:
        """Whether the table is there, but no packet meets it."""

        def read() -> bytes:
            with Netlink() as netlink:
                return netlink.ask(_GET_TABLE, _NFPROTO[self.family], text_attribute(_TABLE_NAME, TABLE))

        answer = _patiently(read, b"")
        flags = [answer[begin:end] for kind, begin, end in attributes(answer) if kind == _TABLE_FLAGS]
        return any(int.from_bytes(each) & _DORMANT for each in flags)

    def elements(self, holder: str) -> set[RawElement]:
        """What a set or map holds; nothing if it is not there."""
        named = text_attribute(_LIST_TABLE, TABLE) + text_attribute(_LIST_SET, holder)
        return {element for message in self._dump(_GET_ELEMENTS, named) for element in _elements(message)}

    def digests(self, chains: Iterable[str]) -> dict[str, bytes]:
        """For each chain what changes if a rule of it does, or its hook; empty if it is not there."""
        with closing(RuleReader(self.family)) as reader:
            return {name: self._digest(reader, name) for name in chains}

    def _digest(self, reader: RuleReader, chain: str) -> bytes:
        asked = Chain(TABLE, chain)
        return _patiently(lambda: reader.place(asked) + reader.digest(asked), b"")

    def _dump(self, kind: int, asked: bytes) -> list[bytes]:
        def dump() -> list[bytes]:
            with Netlink() as netlink:
                return list(netlink.dump(kind, _NFPROTO[self.family], asked))

        return _patiently(dump, [])


def _patiently(read: Callable[[], _Read], missing: _Read) -> _Read:
    """What was read, again as long as others change any table meanwhile; `missing` if what is asked for is not there."""
    complaint: OSError = Interrupted()
    for _ in range(_TRIES):
        try:
            return read()
        except Interrupted as interrupted:
            complaint = interrupted
        except OSError as refused:
            if refused.errno == errno.ENOENT:
                return missing
            complaint = refused
            break
    raise ProgramFailed("the netlink dump of our table", None, str(complaint)) from complaint


def raw(element: Element) -> RawElement:
    """An element as the kernel will have it."""
    if element.value == "drop":
        return RawElement(_packed(element.key), _NF_DROP)
    verb, _, chain = element.value.partition("goto ")
    value = _packed(element.value) if verb or not chain else _NFT_GOTO + chain.encode()
    return RawElement(_packed(element.key), value)


def _holder(message: bytes) -> Block | None:
    """The set or map; None for one that belongs to a rule."""
    found = {kind: message[begin:end] for kind, begin, end in attributes(message)}
    (flags,) = struct.unpack(">I", found.get(_SET_FLAGS, bytes(4)))
    if flags & _ANONYMOUS:
        return None
    return Block("map" if flags & _MAP else "set", found[_SET_NAME][:-1].decode())


def _elements(message: bytes) -> Iterator[RawElement]:
    for kind, begin, end in attributes(message):
        if kind == _LIST_ELEMENTS:
            for _, first, last in attributes_within(message, begin, end):
                key = value = b""
                for part, at, stop in attributes_within(message, first, last):
                    if part == _KEY:
                        key = message[at + 4 : stop]  # one attribute, NFTA_DATA_VALUE
                    elif part == _DATA:
                        value = _data(message, at, stop)
                yield RawElement(key, value)


def _data(message: bytes, begin: int, end: int) -> bytes:
    ((kind, at, stop),) = attributes_within(message, begin, end)
    if kind == _VALUE:
        return message[at:stop]
    verdict = {part: message[first:last] for part, first, last in attributes_within(message, at, stop)}
    return verdict[_VERDICT_CODE] + verdict.get(_VERDICT_CHAIN, b"")[:-1]


def _packed(text: str) -> bytes:
    """What stands in registers: each part of a concatenation in whole 32-bit words, a number beside a port as it is."""
    packed = b""
    ports = 0
    for part in text.split(" . ") if text else ():
        if part.isdecimal():
            packed += struct.pack("=I", int(part)) if ports else struct.pack(">Hxx", int(part))
            ports += 1
        else:
            packed += _word(part)
    return packed


def _word(part: str) -> bytes:
    if part in _PROTOCOLS:
        return struct.pack("Bxxx", _PROTOCOLS[part])
    return inet_pton(AF_INET6 if ":" in part else AF_INET, part)
