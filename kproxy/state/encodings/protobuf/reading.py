"""Reads the used fields of one protobuf message; all other fields are skipped by their length.

The format is described at protobuf.dev/programming-guides/encoding: a tag, which is the field's number and a wire type,
and then a varint, or a length and so many bytes. Messages nest no deeper than the tables that describe them, so no
input can overflow the stack.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from kproxy.errors import InvalidField

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
GROUP: Final = 3
END_OF_GROUP: Final = 4
FIXED32: Final = 5

Values = dict[str, Any]
Take = Callable[[Values, Any], None]
"""A function that stores the content of one field, a number or bytes, in the values."""

Takers = Mapping[int, Take]
"""Functions by tag. A tag is the number of a field times 8, plus its wire type."""

_ENCODED_AS = {
    VARINT: "a number",
    FIXED64: "8 bytes",
    BYTES: "text or a message",
    GROUP: "a group",
    FIXED32: "4 bytes",
}
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
_STEPS = {GROUP: 1, END_OF_GROUP: -1}

_MOST_SHIFT = 63
"""A varint has at most 64 bits, 7 in each byte."""

_CONTINUES = 0x80

_LONGEST_KEPT = 256
"""Bytes. Names of nodes and zones, conditions and hints are short, and many endpoints share few of them."""

_MOST_KEPT = 16_384

_CUT_OFF = "is cut off, or longer than the message that contains it"


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and the position after it. IndexError if the data ends before."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < _CONTINUES:
            return number & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > _MOST_SHIFT:
            raise InvalidField("", "a number in it has more than 64 bits")


def read(takers: Takers, data: bytes) -> Values:
    """The values of the message. InvalidField with the path of a field that cannot be read."""
    values: Values = {}
    read_into(values, takers, data)
    return values


def read_into(values: Values, takers: Takers, data: bytes) -> None:  # noqa: C901 # a call for each field would double its time
    """Read as `read` does. If it fails, `values` has the values of the fields before."""
    find = takers.get
    at, end = 0, len(data)
    try:
        while at < end:
            tag = data[at]
            at += 1
            if tag >= _CONTINUES:
                tag, at = varint(data, at - 1)
            wire_type = tag & 7
            if wire_type == BYTES:
                size = data[at]
                at += 1
                if size >= _CONTINUES:
                    size, at = varint(data, at - 1)
                begin = at
                at += size
                if (take := find(tag)) is not None:
                    if at > end:
                        break
                    take(values, data[begin:at])
            elif wire_type == VARINT:
                number = data[at]
                at += 1
                if number >= _CONTINUES:
                    number, at = varint(data, at - 1)
                if (take := find(tag)) is not None:
                    take(values, number)
            else:
                at = _past_unused(takers, tag, data, at)
    except IndexError:
        at = end + 1
    if at != end:
        raise InvalidField("", _CUT_OFF)


def _past_unused(takers: Takers, tag: int, data: bytes, at: int) -> int:
    """The position after a field of a wire type that no used field has."""
    if (take := takers.get(tag)) is not None:
        take({}, b"")
    if tag & 7 == GROUP:
        return _past_group(data, at)
    return at + _fixed_bytes(tag)


def _past_group(data: bytes, at: int) -> int:
    """The position after a group.

    A group has the fields between its begin and its end, and may contain other groups.
    """
    depth = 1
    while depth:
        tag, at = varint(data, at)
        wire_type = tag & 7
        if wire_type == VARINT:
            _, at = varint(data, at)
        elif wire_type == BYTES:
            size, at = varint(data, at)
            at += size
        elif wire_type in _STEPS:
            depth += _STEPS[wire_type]
        else:
            at += _fixed_bytes(tag)
    return at


def _fixed_bytes(tag: int) -> int:
    size = _FIXED_BYTES.get(tag & 7)
    if size is None:
        raise InvalidField("", f"a field in it is of wire type {tag & 7}, which is not allowed there")
    return size


def within(name: str, wrong: InvalidField) -> InvalidField:
    """The error with `name` in front of its path."""
    return InvalidField(f"{name}.{wrong.field}" if wrong.field else name, wrong.reason)


def misfits(name: str, wanted: str, number: int, right: int) -> dict[int, Take]:
    """Functions that refuse a known field in a wrong wire type."""

    def refusing(found: str) -> Take:
        def refuse(_values: Values, _content: object) -> None:
            raise InvalidField(name, f"must be {wanted}, and is encoded as {found}")

        return refuse

    return {number << 3 | each: refusing(told) for each, told in _ENCODED_AS.items() if each != right}


def text(content: bytes) -> str:
    """The text in UTF-8 bytes. InvalidField if it is not UTF-8."""
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidField("", f"the text is not UTF-8: {error.reason}") from None


def any_text(content: bytes) -> str:
    """The text in UTF-8 bytes; empty if it is not UTF-8."""
    try:
        return text(content)
    except InvalidField:
        return ""


Made = TypeVar("Made")


class ReaderCache(dict[bytes, Made]):
    """A cache of values that a reader makes from bytes. Equal bytes give one value, which nobody may change."""

    def __init__(self, reader: Callable[[bytes], Made]) -> None:
        super().__init__()
        self._reader = reader

    def __missing__(self, content: bytes) -> Made:
        made = self._reader(content)
        if len(content) <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[content] = made
        return made


def signed(number: int) -> int:
    """An int64 from protobuf's two's complement."""
    return number - (1 << 64) if number >> 63 else number


def signed32(number: int) -> int:
    """An int32. Go keeps the lower half of the number that was sent."""
    low = number & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low
