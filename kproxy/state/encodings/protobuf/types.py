"""The types of fields, and the reader that a table of fields gives."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from kproxy.errors import InvalidField
from kproxy.state.encodings.protobuf import reading
from kproxy.state.encodings.protobuf.reading import (
    BYTES,
    VARINT,
    ReaderCache,
    Take,
    Takers,
    Values,
    misfits,
    within,
)
from kproxy.state.encodings.protobuf.times import rfc3339

Read = Callable[[Any], Any]
Bind = Callable[[str, str, Read], Take]


def _alone(name: str, key: str, read: Read) -> Take:
    """Store a single value. The last value wins, as in all of protobuf."""

    def take(values: Values, content: Any) -> None:
        try:
            values[key] = read(content)
        except InvalidField as wrong:
            raise within(name, wrong) from None

    return take


def _joined(_name: str, key: str, _read: Read) -> Take:
    """Join the bytes of all parts of a message, as protobuf requires; several parts give a bytearray."""

    def take(values: Values, content: bytes) -> None:
        before = values.get(key)
        if before is None:
            values[key] = content
        elif isinstance(before, bytearray):
            before += content  # a copy for each part would take a second for a MB of parts
        else:
            values[key] = bytearray(before) + content

    return take


def _one_of_many(name: str, key: str, read: Read) -> Take:
    def take(values: Values, content: Any) -> None:
        items = values.get(key)
        if items is None:
            items = values[key] = []
        try:
            items.append(read(content))
        except InvalidField as wrong:
            raise within(f"{name}[{len(items)}]", wrong) from None

    return take


def _entry_of_map(name: str, key: str, read: Read) -> Take:
    def take(values: Values, content: Any) -> None:
        try:
            entry, value = read(content)
        except InvalidField as wrong:
            raise within(name, wrong) from None
        pairs = values.get(key)
        if pairs is None:
            pairs = values[key] = {}
        pairs[entry] = value

    return take


@dataclass(frozen=True, slots=True)
class Type:
    """How the content of a field becomes a value, and where the value is stored.

    `wanted` names the type in messages.
    """

    wanted: str
    wire_type: int
    read: Read
    bind: Bind = _alone


TEXT: Final = Type("text", BYTES, reading.text)
ANY_TEXT: Final = Type("text", BYTES, reading.any_text)
"""Text, or empty if the bytes are not text."""

_names = ReaderCache(reading.text)

NAME: Final = Type("text", BYTES, _names.__getitem__)
"""Text that many objects share."""

BOOL: Final = Type("true or false", VARINT, bool)
INT32: Final = Type("a whole number", VARINT, reading.signed32)
INT64: Final = Type("a whole number", VARINT, reading.signed)
DATA: Final = Type("bytes", BYTES, bytes)
PART: Final = Type("a message", BYTES, bytes, _joined)
"""A message that is left as bytes."""


def list_of(item: Type) -> Type:
    """A `repeated` field."""
    return replace(item, bind=_one_of_many)


def takers(fields: Iterable[tuple[int, str, str, Type]]) -> Takers:
    """The functions for fields.

    A field is its number, its name in the .proto file, the key of its value, and its type.
    """
    found: dict[int, Take] = {}
    for number, name, key, kind in fields:
        found[number << 3 | kind.wire_type] = kind.bind(name, key, kind.read)
        found |= misfits(name, kind.wanted, number, kind.wire_type)
    return found


def table(*fields: tuple[int, str, Type]) -> Takers:
    """The functions for a message whose values keep the names of the fields."""
    return takers((number, name, name, kind) for number, name, kind in fields)


def tolerant(*fields: tuple[int, str, Type]) -> Takers:
    """As `table`, but a field in a wrong wire type is skipped."""
    return {number << 3 | kind.wire_type: kind.bind(name, name, kind.read) for number, name, kind in fields}


def message(shape: type[msgspec.Struct], *fields: tuple[int, str, Type]) -> Type:
    """A message, read into the struct that has the same names of fields in JSON.

    If a message comes in several parts, each part adds to the parts before it, as in all of protobuf.
    """
    attributes = dict(zip(shape.__struct_encode_fields__, shape.__struct_fields__, strict=True))
    by_tag = takers((number, name, attributes[name], kind) for number, name, kind in fields)
    parts = [(attributes[name], name, kind.read) for _, name, kind in fields if kind.bind is _joined]
    required = [(each.name, each.encode_name) for each in msgspec.structs.fields(shape) if each.required]
    read_values = reading.read

    def read(content: bytes) -> Any:
        values = read_values(by_tag, content)
        for attribute, name, read_part in parts:
            if attribute in values:
                try:
                    values[attribute] = read_part(bytes(values[attribute]))
                except InvalidField as wrong:
                    raise within(name, wrong) from None
        for attribute, name in required:
            if attribute not in values:
                raise InvalidField(name, "is missing")
        return shape(**values)

    return Type("a message", BYTES, read, _joined)


def kept(kind: Type) -> Type:
    """A message that comes often and in few forms. Each form is read once, and nobody may change the result."""
    return replace(kind, read=ReaderCache(kind.read).__getitem__)


_KEY, _VALUE = (number << 3 | BYTES for number in (1, 2))
_TWO_BYTES = 0x80
"""Lengths from this number on have more than one byte."""

ENTRY = table((1, "key", NAME), (2, "value", NAME))


def entry(content: bytes) -> tuple[str, str]:
    """One entry of a map of text. Absent parts are empty. Short texts in the usual order are read without the table."""
    try:
        middle = content[1] + 2
        size = content[middle + 1]
        if (
            content[0] == _KEY
            and content[middle] == _VALUE
            and middle + size + 2 == len(content)
            and max(content[1], size) < _TWO_BYTES
        ):
            return _names[content[2:middle]], str(content[middle + 2 :], "utf-8")
    except (IndexError, UnicodeDecodeError, InvalidField):
        pass
    values = reading.read(ENTRY, content)
    return values.get("key", ""), values.get("value", "")


MAP: Final = Type("a map of text", BYTES, entry, _entry_of_map)


def one_annotation(annotation: str, made: Callable[[str], Any]) -> Type:
    """A map of text of which only one entry is read."""
    mark = annotation.encode()

    def bind(name: str, key: str, read: Read) -> Take:
        def take(values: Values, content: Any) -> None:
            if mark not in content:
                return
            try:
                found, value = read(content)
            except InvalidField as wrong:
                raise within(name, wrong) from None
            if found == annotation:
                values[key] = made(value)

        return take

    return Type("a map of text", BYTES, entry, bind)


_TIME = table((1, "seconds", INT64))

TIME: Final = Type("a time", BYTES, lambda content: rfc3339(reading.read(_TIME, content).get("seconds", 0)))
"""A time. Zero means no time, which is null in JSON."""
