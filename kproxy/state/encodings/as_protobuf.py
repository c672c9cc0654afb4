"""The API's protobuf: an answer is a magic word and a message `Unknown`; in a watch, each message follows its length.

Source: k8s.io/apimachinery pkg/runtime/serializer/protobuf, pkg/util/framer, and pkg/runtime/types_proto.go.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

from kproxy.errors import InputError, InvalidField, Malformed
from kproxy.state import media_types
from kproxy.state.decode import CLUSTER_WIDE, fact_of
from kproxy.state.encodings.envelopes import Meta, Page, Raw, Status, WatchEvent
from kproxy.state.encodings.protobuf import messages
from kproxy.state.encodings.protobuf.reading import Takers, Values, read, read_into, varint
from kproxy.state.objects import Kind, Object
from kproxy.state.printable import plain_word
from kproxy.state.validate import Flaws
from kproxy.values import NamespacedName

_MAGIC: Final = b"k8s\0"
_LENGTH_BYTES = 4
_METADATA_TAG = b"\n"
"""Field 1, of bytes."""


class _Protobuf:
    media_type = media_types.PROTOBUF

    def page(self, body: bytes) -> Page:
        kind, raw = _unwrapped(body)
        if not kind.endswith("List"):
            raise Malformed(f"it is of the kind {plain_word(kind)}, which is not a list")
        found = _read(messages.LIST, raw)
        metadata = _read(messages.LIST_META, found.get("metadata", b""))
        return Page(
            found.get("items", ()), metadata.get("continue", ""), metadata.get("resourceVersion", ""), kind
        )

    def frames(self, chunks: Iterable[bytes], longest: int) -> Iterator[bytes]:
        return split_frames(chunks, longest)

    def event(self, frame: bytes) -> WatchEvent:
        """The watch event; its object is without the wrapper message."""
        event = _read(messages.WATCH_EVENT, frame)
        if "type" not in event or "object" not in event:
            raise Malformed("it has no type or no object")
        wrapped = _read(messages.RAW_EXTENSION, event["object"]).get("raw", b"")
        kind, raw = _unwrapped(wrapped)
        return WatchEvent(event["type"], raw, kind)

    def meta(self, raw: Raw) -> Meta:
        head = _head(raw)
        if head is None:
            raise Malformed("it is about an object without metadata")
        return Meta(
            head.get("name", ""),
            head.get("namespace", ""),
            head.get("resourceVersion", ""),
            head.get("annotations") == "true",
        )

    def status(self, raw: Raw) -> Status:
        content = bytes(raw)
        try:
            if content.startswith(_MAGIC):
                kind, content = _unwrapped(content)
                if kind != "Status":
                    return Status()
            status: Status = messages.STATUS.read(content)
        except InputError:
            return Status()
        return status

    def fact(self, kind: Kind, raw: Raw, flaws: Flaws) -> Object:
        return fact_of(kind, messages.OBJECTS[kind].read(bytes(raw)), flaws=flaws)

    def key(self, kind: Kind, raw: Raw) -> NamespacedName | None:
        head = _head(raw) or {}
        name, namespace = head.get("name", ""), head.get("namespace", "")
        return NamespacedName("" if kind in CLUSTER_WIDE else namespace, name) if name else None


PROTOBUF = _Protobuf()


def _unwrapped(body: bytes) -> tuple[str, bytes]:
    """The kind that the wrapper message names, and the object."""
    if not body.startswith(_MAGIC):
        raise Malformed("it does not begin with the magic word of Kubernetes' protobuf")
    unknown = _read(messages.UNKNOWN, body[len(_MAGIC) :])
    kind = _read(messages.TYPE_META, unknown.get("typeMeta", b"")).get("kind", "")
    return kind, unknown.get("raw", b"")


def _read(takers: Takers, content: bytes | bytearray) -> Values:
    try:
        return read(takers, bytes(content))
    except InvalidField as wrong:
        raise Malformed(str(wrong)) from None


def _head(raw: Raw) -> Values | None:
    """The readable part of an object's metadata, whatever is broken; None if there is no metadata."""
    content = bytes(raw)
    found: Values = {}
    with suppress(InvalidField):
        read_into(found, messages.OBJECT, content)
    metadata = found.get("metadata", _cut_metadata(content))
    if metadata is None:
        return None
    head: Values = {}
    with suppress(InvalidField):
        read_into(head, messages.HEAD, bytes(metadata))
    return head


def _cut_metadata(content: bytes) -> bytes | None:
    """The existing part of metadata that break off. Metadata are the first field of an object."""
    if not content.startswith(_METADATA_TAG):
        return None
    with suppress(InvalidField, IndexError):
        return content[varint(content, len(_METADATA_TAG))[1] :]
    return None


def split_frames(chunks: Iterable[bytes], longest: int) -> Iterator[bytes]:
    """The messages in the chunks, which may be cut anywhere. Each message follows its length in four bytes.

    A last message that breaks off is left out. Each byte is copied at most twice, even if a message spans many chunks.
    InputError for a message of more than `longest` bytes, before any of its bytes is held.
    """
    parts: list[bytes] = []
    held, wanted = 0, _LENGTH_BYTES
    for chunk in chunks:
        parts.append(chunk)
        held += len(chunk)
        if held < wanted:
            continue
        data = b"".join(parts)
        at = 0
        while held - at >= _LENGTH_BYTES:
            size = int.from_bytes(data[at : at + _LENGTH_BYTES])
            if size > longest:
                raise InputError(f"a message is longer than {longest >> 20} MB")
            end = at + _LENGTH_BYTES + size
            if end > held:
                break
            yield data[at + _LENGTH_BYTES : end]
            at = end
        parts, held = [data[at:]], held - at
        wanted = _wanted(parts[0])


def _wanted(begun: bytes) -> int:
    """How many bytes are needed until a message is complete, or until its length is known."""
    if len(begun) < _LENGTH_BYTES:
        return _LENGTH_BYTES
    return _LENGTH_BYTES + int.from_bytes(begun[:_LENGTH_BYTES])
