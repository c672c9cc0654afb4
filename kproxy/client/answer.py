"""The body of an API server's answer, as bytes that come in, are bounded, and can be severed."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Self

import urllib3
from urllib3 import exceptions as transport

from kproxy.client.compression import unpacked
from kproxy.errors import ApiFailed, InputError, Malformed
from kproxy.state.encodings import Encoding, encoding_of
from kproxy.state.media_types import MEDIA_TYPES
from kproxy.state.validate import quoted

_DRAIN_S = 0.5
"""A server that has said all ends its answer with it; another handshake costs less than a longer wait."""

_CHUNK_BYTES = 1 << 16


class AnswerTooLarge(ApiFailed):
    """An answer that is not read to its end, because it would take too much memory."""


class Answer:
    """The body of a 200 answer while it comes in. Use it as a context manager; ApiFailed if it breaks off.

    `read_all` is told the length of a body that was read to its end at once, unpacked; `shown` makes the server's words
    fit for a message.
    """

    def __init__(
        self,
        response: urllib3.BaseHTTPResponse,
        failed: Callable[[Exception], ApiFailed],
        read_all: Callable[[int], None] = lambda _: None,
        shown: Callable[[str], str] = str,
    ) -> None:
        self._response = response
        self._shown = shown
        self._failed = failed
        self._read_all = read_all

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    @property
    def encoding(self) -> Encoding:
        """How the body is encoded, which is for the server to say; ApiFailed if we cannot read that."""
        content_type = self._response.headers.get("Content-Type", "")
        try:
            return encoding_of(content_type)
        except InputError as unknown:
            shown = quoted(self._shown(content_type.partition(";")[0].strip()))
            raise ApiFailed(
                f"the answer is of a Content-Type that we cannot read: {shown} is none of {', '.join(MEDIA_TYPES)}; "
                "check what stands between us and the API server"
            ) from unknown

    def body(self, most_bytes: int) -> bytes:
        """All of it; AnswerTooLarge where it has more than `most_bytes`, unpacked, of which no more is held."""
        chunks: list[bytes] = []
        held = 0
        for chunk in self.chunks():
            chunks.append(chunk)
            held += len(chunk)
            if held > most_bytes:
                raise AnswerTooLarge(f"the answer is larger than {most_bytes >> 20} MB")
        self._read_all(held)
        return b"".join(chunks)

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they arrive, in pieces of any size."""
        encoding = self._response.headers.get("Content-Encoding", "")
        try:
            yield from unpacked(self._received(), encoding)
        except Malformed as broken:
            raise ApiFailed(
                f"the answer cannot be unpacked: {broken}; check what stands between us and the API server"
            ) from broken

    def _received(self) -> Iterator[bytes]:
        try:
            while chunk := self._response.read1(_CHUNK_BYTES, decode_content=False):
                yield chunk
        except (transport.HTTPError, OSError, ValueError) as error:
            raise self._failed(error) from error

    def drain(self) -> None:
        """Read the end of the body if it comes at once, so that the connection can be used again."""
        self.wait_at_most(_DRAIN_S)
        with suppress(ApiFailed):
            next(self._received(), b"")

    def wait_at_most(self, seconds: float) -> None:
        """Bound each wait for more bytes from now on. The bound stays where the server is to close the connection."""
        sock = getattr(self._response.connection, "sock", None)
        if sock is not None:
            sock.settimeout(seconds)

    def sever(self) -> None:
        """End the answer from another thread, even from under a blocked read."""
        try:
            self._response.shutdown()
        except (ValueError, RuntimeError, OSError):
            return  # it has ended by itself
