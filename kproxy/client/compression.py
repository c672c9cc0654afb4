"""Compressed bodies, unpacked piece by piece, so that a small answer cannot become a large one unnoticed."""

import re
import zlib
from collections.abc import Iterable, Iterator

from kproxy.errors import Malformed
from kproxy.state.printable import quoted

GZIP = "gzip"
_PLAIN = ("", "identity")
_NAME = re.compile(r"[a-z-]{1,8}")
"""The names of all encodings that are registered with IANA match. Other text is not repeated in the log."""

_WITH_HEADER = 16 + zlib.MAX_WBITS
"""zlib's number for the gzip format."""

_PIECE_BYTES = 1 << 18
"""The most bytes that one piece has after unpacking. A thousandth of this can be enough input for one piece."""


def unpacked(chunks: Iterable[bytes], content_encoding: str) -> Iterator[bytes]:
    """The unpacked bytes of a body with this Content-Encoding. Compressed bodies come in pieces of 256 kB at most.

    Several gzip members in a row are one body (RFC 1952, 2.2). Malformed is raised for bytes that are not gzip, for
    gzip that ends too early, and for every other encoding, because we did not ask for it.
    """
    encoding = content_encoding.strip().lower()
    if encoding in _PLAIN:
        return iter(chunks)
    if encoding != GZIP:
        named = quoted(encoding) if _NAME.fullmatch(encoding) else "something"
        raise Malformed(f"it is compressed by {named}, and we did not ask for that")
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
