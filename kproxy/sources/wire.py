"""The API's envelopes: pages of a list and watch events, with the objects left as bytes."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct, field

from kproxy.errors import InputError
from kproxy.state.decode import parse_json
from kproxy.values import NamespacedName


class Meta(Struct, frozen=True):
    """The metadata of an object, of which each text is empty that is missing or no text."""

    name: str
    namespace: str
    resource_version: str

    @property
    def key(self) -> NamespacedName | None:
        """The object's key; None while it has no name."""
        return NamespacedName(self.namespace, self.name) if self.name else None


class ListMeta(Struct, frozen=True, rename="camel"):
    """The metadata of a list: where to watch on, and the token of its next page, empty on the last."""

    resource_version: Any = ""
    continue_token: str | None = field(default="", name="continue")


class Page(Struct, frozen=True):
    metadata: ListMeta
    items: list[msgspec.Raw] | None = None

    @property
    def resource_version(self) -> str:
        """Empty where the list says nothing that a watch could begin at."""
        found = self.metadata.resource_version
        return found if isinstance(found, str) else ""


class WatchEvent(Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _AnyMeta(Struct, frozen=True, rename="camel"):
    """An object that breaks every rule still has a key, as long as that is text."""

    name: Any = ""
    namespace: Any = ""
    resource_version: Any = ""


class _Head(Struct, frozen=True):
    metadata: _AnyMeta


_HEAD = msgspec.json.Decoder(_Head)
_PAGE = msgspec.json.Decoder(Page)
_EVENT = msgspec.json.Decoder(WatchEvent)


def decode_page(body: bytes) -> Page:
    """msgspec.DecodeError if the body is no list."""
    return parse_json(_PAGE, body)


def decode_event(line: bytes) -> WatchEvent:
    """msgspec.DecodeError if the line is no watch event."""
    return parse_json(_EVENT, line)


def decode_meta(raw: bytes | msgspec.Raw) -> Meta:
    """msgspec.DecodeError if the bytes are no object with metadata."""
    found = parse_json(_HEAD, raw).metadata
    texts = (found.name, found.namespace, found.resource_version)
    return Meta(*(text if isinstance(text, str) else "" for text in texts))


def split_lines(chunks: Iterable[bytes], longest: int) -> Iterator[bytes]:
    """The lines that the chunks carry, wherever the chunks are cut; blank lines are left out.

    A last line without its newline is left out too: the stream broke inside it. Each byte is
    copied once however many chunks a line spans, so an object of several MB costs no more than its size.
    InputError for a line of more than `longest` bytes, of which no more than that is held.
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
