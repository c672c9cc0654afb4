"""The encodings of an API server's answers that we can read. The answer's Content-Type selects one."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from kproxy.errors import InputError
from kproxy.state.encodings.as_json import JSON
from kproxy.state.encodings.as_protobuf import PROTOBUF
from kproxy.state.encodings.envelopes import Meta, Page, Raw, Status, WatchEvent
from kproxy.state.objects import Kind, Object
from kproxy.state.printable import quoted
from kproxy.state.validate import Flaws
from kproxy.values import NamespacedName

__all__ = ["JSON", "PROTOBUF", "Encoding", "encoding_of"]


class Encoding(Protocol):
    """One encoding. Objects inside an envelope stay undecoded, so that a bad object affects only itself."""

    @property
    def media_type(self) -> str:
        """The media type without parameters, in lower case."""

    def page(self, body: bytes) -> Page:
        """The page in the whole body of an answer. Malformed if the body is not a list."""

    def frames(self, chunks: Iterable[bytes], longest: int) -> Iterator[bytes]:
        """The watch events in the chunks, which may be cut anywhere. An event that breaks off is left out.

        InputError for an event of more than `longest` bytes; no more bytes are held.
        """

    def event(self, frame: bytes) -> WatchEvent:
        """The event in one frame. Malformed if the frame is not a watch event."""

    def meta(self, raw: Raw) -> Meta:
        """The metadata of an object that may break every other rule. Malformed if it has none."""

    def status(self, raw: Raw) -> Status:
        """The Status in a refusal. Anything else, such as the page of a proxy, gives an empty Status."""

    def fact(self, kind: Kind, raw: Raw, flaws: Flaws) -> Object:
        """The fact in one object; `flaws` gains each field that is left out while the rest is used.

        InvalidField names the field that makes the whole object unusable. Irrelevant if no rule follows from the
        object.
        """

    def key(self, kind: Kind, raw: Raw) -> NamespacedName | None:
        """The key of an object, even if other fields are wrong; None without a key."""


_ENCODINGS: dict[str, Encoding] = {each.media_type: each for each in (JSON, PROTOBUF)}


def encoding_of(content_type: str) -> Encoding:
    """The encoding for a Content-Type; JSON if it is empty. Its parameters are ignored.

    InputError for an encoding that we cannot read.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type:
        return JSON
    try:
        return _ENCODINGS[media_type]
    except KeyError:
        raise InputError(f"{quoted(media_type)} is not one of {', '.join(_ENCODINGS)}") from None
