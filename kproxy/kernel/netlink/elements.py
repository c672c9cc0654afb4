"""Elements of sets and maps as the kernel has them: in what it lists, and in what it is told."""

import struct
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from socket import AF_INET, AF_INET6, inet_pton
from typing import NamedTuple

from kproxy.kernel.netlink.nfnetlink import (
    CREATE,
    EXCLUSIVE,
    NFPROTO,
    Message,
    attribute,
    attributes,
    attributes_within,
    nest,
    text_attribute,
)
from kproxy.ruleset.nftables.table import TABLE, Answering, Element, Key, Numbered, Target, Verdict
from kproxy.transaction.nftables.elements import ElementCommand
from kproxy.values import Family

SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_ADD_ELEMENTS, _DELETE_ELEMENTS = SUBSYSTEM << 8 | 12, SUBSYSTEM << 8 | 14
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
_ELEMENT = 1  # NFTA_LIST_ELEM
_KEY, _DATA = 1, 2  # NFTA_SET_ELEM_*
_VALUE, _VERDICT = 1, 2  # NFTA_DATA_*
_VERDICT_CODE, _VERDICT_CHAIN = 1, 2  # NFTA_VERDICT_*
_NF_DROP, _NFT_GOTO = struct.pack(">i", 0), struct.pack(">i", -4)
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}

_NUMBER, _PORT, _PROTOCOL = struct.Struct("=I"), struct.Struct(">Hxx"), struct.Struct("Bxxx")

_MOST = 100
"""So many elements fit into one attribute, of 64 KiB, however long the names of chains are."""


class RawElement(NamedTuple):
    """An element as the kernel has it; a verdict is its code and the name of a chain."""

    key: bytes
    value: bytes


def raw(element: Element) -> RawElement:
    """An element as the kernel will have it; OSError or struct.error if the kernel cannot have it."""
    value = element.value
    if value is None:
        return RawElement(_key(element.key), b"")
    if isinstance(value, Target):
        return RawElement(_key(element.key), _target(value))
    return RawElement(_key(element.key), _NFT_GOTO + value.chain.encode() if value.chain else _NF_DROP)


def named(holder: str) -> bytes:
    """The attributes that say whose elements are asked for, or change."""
    return text_attribute(_LIST_TABLE, TABLE) + text_attribute(_LIST_SET, holder)


def messages(commands: Iterable[ElementCommand]) -> Iterator[Message]:
    """Messages that do in the kernel what the commands do in `nft`; raises as `raw` does."""
    for verb, family, holder, elements in commands:
        kind, flags = (_ADD_ELEMENTS, CREATE | EXCLUSIVE) if verb == "create" else (_DELETE_ELEMENTS, 0)
        encoded = chain.from_iterable(map(_all_encoded, elements))
        while some := b"".join(islice(encoded, _MOST)):
            yield Message(kind, NFPROTO[family], named(holder) + nest(_LIST_ELEMENTS, some), flags)


def removal(family: Family, holder: str, keys: Iterable[bytes]) -> Iterator[Message]:
    """Messages that delete the elements with these keys, as the kernel listed them."""
    encoded = (nest(_ELEMENT, nest(_KEY, attribute(_VALUE, key))) for key in keys)
    while some := b"".join(islice(encoded, _MOST)):
        yield Message(_DELETE_ELEMENTS, NFPROTO[family], named(holder) + nest(_LIST_ELEMENTS, some))


def _all_encoded(each: Element | Numbered) -> list[bytes]:
    """One for each element; those that differ in a number and a value alone are put together from what they share."""
    if isinstance(each, Element):
        return [_encoded(each)]
    values = [_target(value) for value in each.values]
    numbered_key = nest(_KEY, attribute(_VALUE, _key(each.key) + bytes(_NUMBER.size)))
    data = nest(_DATA, attribute(_VALUE, values[0]))
    whole = nest(_ELEMENT, numbered_key + data)
    before_number = whole[: -len(data) - _NUMBER.size]
    before_value = data[: -len(values[0])]
    return [
        before_number + _NUMBER.pack(number) + before_value + value for number, value in enumerate(values)
    ]


def _encoded(element: Element) -> bytes:
    key, value = raw(element)
    inside = nest(_KEY, attribute(_VALUE, key))
    if value:
        is_verdict = isinstance(element.value, Verdict)
        inside += nest(_DATA, _encoded_verdict(value) if is_verdict else attribute(_VALUE, value))
    return nest(_ELEMENT, inside)


def _encoded_verdict(value: bytes) -> bytes:
    code, chain = value[:4], value[4:]
    named = attribute(_VERDICT_CHAIN, chain + b"\0") if chain else b""
    return nest(_VERDICT, attribute(_VERDICT_CODE, code) + named)


def elements_in(message: bytes) -> Iterator[RawElement]:
    """Some elements of those asked for."""
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


def _key(key: Key) -> bytes:
    """The key as registers hold it: each part of a concatenation in whole 32-bit words."""
    packed = _address(key.source) if key.source else b""
    if key.address:
        packed += _address(key.address)
    if key.protocol:
        packed += _PROTOCOL.pack(_PROTOCOLS[key.protocol]) + _PORT.pack(key.port)
    return packed if key.number is None else packed + _NUMBER.pack(key.number)


def _target(target: Answering) -> bytes:
    return _address(target.address) + _PORT.pack(target.port)


def _address(address: str) -> bytes:
    return inet_pton(AF_INET6 if ":" in address else AF_INET, address)
