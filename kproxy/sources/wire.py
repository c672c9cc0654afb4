"""The API's envelopes: pages of a list, watch events and Status, with the objects left as bytes."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec
from msgspec import Struct, field

from kproxy.values import NamespacedName


class Meta(Struct, frozen=True, rename="camel"):
    """Of an object, or of a list, which has no name but may continue on another page."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    continue_token: str = field(default="", name="continue")

    @property
    def key(self) -> NamespacedName | None:
        """The object's key; None while it has no name."""
        return NamespacedName(self.namespace, self.name) if self.name else None


class Page(Struct, frozen=True):
    metadata: Meta
    items: list[msgspec.Raw] | None = None


class WatchEvent(Struct, frozen=True):
    type: str
    object: msgspec.Raw


class StatusDetails(Struct, frozen=True, rename="camel"):
    retry_after_seconds: int = 0


class Status(Struct, frozen=True):
    """What the API says when it refuses; `code` is an HTTP status."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None


class _Head(Struct, frozen=True):
    metadata: Meta


_Shape = TypeVar("_Shape")

_HEAD = msgspec.json.Decoder(_Head)
_PAGE = msgspec.json.Decoder(Page)
_EVENT = msgspec.json.Decoder(WatchEvent)
_STATUS = msgspec.json.Decoder(Status)


def decode_page(body: bytes) -> Page:
    """msgspec.DecodeError if the body is no list."""
    return _decode(_PAGE, body)


def decode_event(line: bytes) -> WatchEvent:
    """msgspec.DecodeError if the line is no watch event."""
    return _decode(_EVENT, line)


def decode_meta(raw: bytes | msgspec.Raw) -> Meta:
    """msgspec.DecodeError if the bytes are no object with metadata."""
    return _decode(_HEAD, raw).metadata


def decode_status(raw: bytes | msgspec.Raw) -> Status:
    """A proxy in between may refuse in a language of its own: anything but a Status is an empty one."""
    try:
        return _decode(_STATUS, raw)
    except msgspec.DecodeError:
        return Status()


def _decode(decoder: msgspec.json.Decoder[_Shape], raw: bytes | msgspec.Raw) -> _Shape:
    """All that can be wrong with the bytes as the one error that callers expect."""
    try:
        return decoder.decode(raw)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"the text is not UTF-8: {error.reason}") from None
    except RecursionError:
        raise msgspec.DecodeError("the JSON is nested deeper than any Kubernetes object") from None


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines that the chunks carry, wherever the chunks are cut; blank lines are left out.

    A last line without its newline is left out too: the stream broke inside it. Each byte is
    copied once however many chunks a line spans, so an object of several MB costs no more than its size.
    """
    parts: list[bytes] = []
    for chunk in chunks:
        head, newline, rest = chunk.partition(b"\n")
        parts.append(head)
        if not newline:
            continue
        *complete, tail = (b"".join(parts) + newline + rest).split(b"\n")
        parts = [tail]
        yield from filter(None, complete)
