"""The API's JSON: a list is one value, a watch has one value per line."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from kproxy.errors import InputError, Malformed
from kproxy.state import decode, media_types
from kproxy.state.encodings.envelopes import INITIAL_EVENTS_END, Meta, Page, Raw, Status, WatchEvent
from kproxy.state.objects import Kind, Object
from kproxy.state.printable import plain_word
from kproxy.state.validate import Flaws
from kproxy.values import NamespacedName


class _ListMeta(Struct, frozen=True, rename="camel"):
    resource_version: Any = ""
    continue_token: str | None = field(default="", name="continue")


class _Page(Struct, frozen=True):
    metadata: _ListMeta
    items: list[msgspec.Raw] | UnsetType | None = UNSET
    kind: str | None = ""


class _Event(Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _AnyMeta(Struct, frozen=True, rename="camel"):
    """Metadata of any type: even an object that breaks every rule has a key if its name is text."""

    name: Any = ""
    namespace: Any = ""
    resource_version: Any = ""
    annotations: Any = None


class _Head(Struct, frozen=True):
    metadata: _AnyMeta
    kind: Any = ""


_HEAD = msgspec.json.Decoder(_Head)
_PAGE = msgspec.json.Decoder(_Page)
_EVENT = msgspec.json.Decoder(_Event)
_STATUS = msgspec.json.Decoder(Status)

_Shape = TypeVar("_Shape")


class _Json:
    media_type = media_types.JSON

    def page(self, body: bytes) -> Page:
        page = _parse(_PAGE, body)
        kind = page.kind or ""
        if not kind and page.items is UNSET:
            raise Malformed("it has neither a kind nor items")
        if kind and not kind.endswith("List"):
            raise Malformed(f"it is of the kind {plain_word(kind)}, which is not a list")
        version = page.metadata.resource_version
        return Page(page.items or (), page.metadata.continue_token or "", _text(version), kind)

    def frames(self, chunks: Iterable[bytes], longest: int) -> Iterator[bytes]:
        return split_lines(chunks, longest)

    def event(self, frame: bytes) -> WatchEvent:
        event = _parse(_EVENT, frame)
        return WatchEvent(event.type, event.object)

    def meta(self, raw: Raw) -> Meta:
        head = _parse(_HEAD, raw)
        found = head.metadata
        annotations = found.annotations
        is_last = isinstance(annotations, dict) and annotations.get(INITIAL_EVENTS_END) == "true"
        version = _text(found.resource_version)
        return Meta(_text(found.name), _text(found.namespace), version, is_last, _text(head.kind))

    def status(self, raw: Raw) -> Status:
        try:
            return _parse(_STATUS, raw)
        except Malformed:
            return Status()

    def fact(self, kind: Kind, raw: Raw, flaws: Flaws) -> Object:
        return decode.decode(kind, raw, flaws=flaws)

    def key(self, kind: Kind, raw: Raw) -> NamespacedName | None:
        return decode.identify(kind, raw)


JSON = _Json()


def _parse(decoder: msgspec.json.Decoder[_Shape], raw: Raw) -> _Shape:
    try:
        return decode.parse_json(decoder, raw)
    except msgspec.DecodeError as error:
        raise Malformed(str(error)) from None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def split_lines(chunks: Iterable[bytes], longest: int) -> Iterator[bytes]:
    """The lines in the chunks, which may be cut anywhere. Blank lines are left out.

    A last line without its newline is left out too, because the stream broke inside it. Each byte is copied once, even
    if a line spans many chunks, so an object of several MB costs no more than its size. InputError for a line of more
    than `longest` bytes; no more bytes are held.
    """
    parts: list[bytes] = []
    held = 0
    for chunk in chunks:
        head, newline, rest = chunk.partition(b"\n")
        parts.append(head)
        held += len(head)
        if held > longest:
            raise InputError(f"a line is longer than {longest >> 20} MB")
        if not newline:
            continue
        *complete, tail = (b"".join(parts) + newline + rest).split(b"\n")
        parts, held = [tail], len(tail)
        yield from filter(None, complete)
