"""The body of an API server's answer. It arrives in pieces, its size is bounded, and a thread can cut it off."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Self

import urllib3
from urllib3 import exceptions as transport

from kproxy.client.compression import unpacked
from kproxy.errors import ApiFailed, InputError, Malformed
from kproxy.state.encodings import Encoding, encoding_of
from kproxy.state.media_types import MEDIA_TYPES
from kproxy.state.printable import quoted

_DRAIN_S = 0.5
"""How long `drain` waits for the end of the body.

The end follows the last object at once, and a longer wait would cost more than another handshake.
"""

_CHUNK_BYTES = 1 << 16


class AnswerTooLarge(ApiFailed):
    """The answer is larger than the caller allows, so the rest of it is not read."""


class Answer:
    """The body of an answer with status 200, while it arrives. Use it as a context manager.

    ApiFailed is raised if the answer breaks off. `read_all` gets the unpacked length of a body that `body` read to its
    end. `shown` makes the server's words fit for a message.
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
        """The encoding of the body, as the server names it. ApiFailed if we cannot read this encoding."""
        content_type = self._response.headers.get("Content-Type", "")
        try:
            return encoding_of(content_type)
        except InputError as unknown:
            shown = quoted(self._shown(content_type.partition(";")[0].strip()))
            raise ApiFailed(
                f"the answer is of a Content-Type that we cannot read: {shown} is not one of {', '.join(MEDIA_TYPES)}; "
                "check the proxies between us and the API server"
            ) from unknown

    def body(self, most_bytes: int) -> bytes:
        """The whole body, unpacked.

        AnswerTooLarge if it has more than `most_bytes`; no more than this is held in memory.
        """
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
        """The unpacked bytes as they arrive, in pieces of any size."""
        encoding = self._response.headers.get("Content-Encoding", "")
        try:
            yield from unpacked(self._received(), encoding)
        except Malformed as broken:
            raise ApiFailed(
                f"the answer cannot be unpacked: {broken}; check the proxies between us and the API server"
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
        """Bound each wait for more bytes from now on, in seconds.

        The bound stays if the server closes the connection later.
        """
        sock = getattr(self._response.connection, "sock", None)
        if sock is not None:
            sock.settimeout(seconds)

    def sever(self) -> None:
        """End the answer from another thread, even while a read of it blocks."""
        try:
            self._response.shutdown()
        except (ValueError, RuntimeError, OSError):
            return  # the answer has already ended
