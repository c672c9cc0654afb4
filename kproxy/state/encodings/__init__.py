"""How an API server writes what it says: the encodings that we read, told apart by an answer's Content-Type."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from kproxy.errors import InputError
from kproxy.state.encodings.as_json import JSON
from kproxy.state.encodings.as_protobuf import PROTOBUF
from kproxy.state.encodings.envelopes import Meta, Page, Raw, Status, WatchEvent
from kproxy.state.objects import Kind, Object
from kproxy.state.validate import Flaws, quoted
from kproxy.values import NamespacedName

__all__ = ["JSON", "PROTOBUF", "Encoding", "encoding_of"]


class Encoding(Protocol):
    """One encoding. An object inside an envelope stays undecoded, so that a bad one costs only itself."""

    @property
    def media_type(self) -> str:
        """Without parameters, in lower case."""

    def page(self, body: bytes) -> Page:
        """The page in the whole body of an answer; Malformed if that is no list."""

    def frames(self, chunks: Iterable[bytes], longest: int) -> Iterator[bytes]:
        """The watch events that the chunks carry, wherever the chunks are cut; one that breaks off is left out.

        InputError for an event of more than `longest` bytes, of which no more than that is held.
        """

    def event(self, frame: bytes) -> WatchEvent:
        """Malformed if the frame is no watch event."""

    def meta(self, raw: Raw) -> Meta:
        """The metadata of an object that may break every other rule; Malformed if it has none."""

    def status(self, raw: Raw) -> Status:
        """A proxy in between may refuse in a language of its own: anything but a Status is an empty one."""

    def fact(self, kind: Kind, raw: Raw, flaws: Flaws) -> Object:
        """The fact in one object; `flaws` gains each field that is left out alone.

        InvalidField names what makes all of it unusable; Irrelevant where no rule follows from it.
        """

    def key(self, kind: Kind, raw: Raw) -> NamespacedName | None:
        """The key of an object, whatever else is wrong with it; None without one."""


_ENCODINGS: dict[str, Encoding] = {each.media_type: each for each in (JSON, PROTOBUF)}


def encoding_of(content_type: str) -> Encoding:
    """The encoding of an answer by its Content-Type, whose parameters do not matter here; JSON where it has none.

    InputError for one that we cannot read.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type:
        return JSON
    try:
        return _ENCODINGS[media_type]
    except KeyError:
        raise InputError(f"{quoted(media_type)} is none of {', '.join(_ENCODINGS)}") from None
