"""Bodies that come compressed: unpacked piece by piece, so that a small answer cannot become a large one unseen."""

import re
import zlib
from collections.abc import Iterable, Iterator

from kproxy.errors import Malformed
from kproxy.state.validate import quoted

GZIP = "gzip"
_PLAIN = ("", "identity")
_NAME = re.compile(r"[a-z-]{1,8}")
"""Of all that are registered with IANA; other text is for no log."""

_WITH_HEADER = 16 + zlib.MAX_WBITS
"""zlib's sign for the format of gzip."""

_PIECE_BYTES = 1 << 18
"""So much is unpacked at a time: a thousandth of the input may be enough for it."""


def unpacked(chunks: Iterable[bytes], content_encoding: str) -> Iterator[bytes]:
    """The bytes that were sent by this Content-Encoding, in pieces of 256 kB at most where they were compressed.

    Several members of gzip on end are one body (RFC 1952, 2.2). Malformed for bytes that are no gzip or end within it,
    and for all other encodings, for which nobody asked.
    """
    encoding = content_encoding.strip().lower()
    if encoding in _PLAIN:
        return iter(chunks)
    if encoding != GZIP:
        named = quoted(encoding) if _NAME.fullmatch(encoding) else "something"
        raise Malformed(f"it is compressed by {named}, for which we did not ask")
    return _unzipped(chunks)


def _unzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(_WITH_HEADER)
    is_begun = False
    try:
        for chunk in chunks:
            left = chunk
            while left:
                if member.eof:
                    member = zlib.decompressobj(_WITH_HEADER)
                is_begun = True
                if piece := member.decompress(left, _PIECE_BYTES):
                    yield piece
                left = member.unused_data if member.eof else member.unconsumed_tail
    except zlib.error as error:
        raise Malformed(f"it is no gzip: {error}") from None
    if is_begun and not member.eof:
        raise Malformed("its gzip ends in the middle")
