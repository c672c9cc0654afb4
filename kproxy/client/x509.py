"""The validity and the subject of a certificate, read from its DER (RFC 5280, ITU-T X.690)."""

import re
from binascii import a2b_base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

_FIRST = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_VERSION, _UTC_TIME = 0xA0, 0x17
_LONG_FORM = 0x80
_FIRST_YEAR_OF_FOUR_DIGITS = 2050
_FORMATS = {True: "%y%m%d%H%M%SZ", False: "%Y%m%d%H%M%SZ"}


class Validity(NamedTuple):
    """The time in which a certificate is valid, in seconds since the epoch."""

    begins_at: float
    ends_at: float


def validity(certificates: bytes) -> Validity | None:
    """The validity of the first certificate in a PEM text; None if there is none that can be read."""
    first = _FIRST.search(certificates)
    try:
        der = a2b_base64(first[1]) if first else b""
        signed = _only(_only(der))
        parts = [part for part in _parts(signed) if part.tag != _VERSION]
        _serial, _algorithm, _issuer, span = parts[:4]
        begins, ends = _parts(span.content)
        return Validity(_seconds(begins), _seconds(ends))
    except (ValueError, IndexError, StopIteration):
        return None


def subject(der: bytes) -> bytes:
    """The subject of a certificate, in DER; empty if it cannot be read."""
    try:
        return [part for part in _parts(_only(_only(der))) if part.tag != _VERSION][4].content
    except (IndexError, StopIteration):
        return b""


class _Part(NamedTuple):
    tag: int
    content: bytes


def _only(der: bytes) -> bytes:
    return next(_parts(der)).content


def _parts(der: bytes) -> Iterator[_Part]:
    while der:
        tag, length, start = der[0], der[1], 2
        if length & _LONG_FORM:
            start += length - _LONG_FORM
            length = int.from_bytes(der[2:start])
        yield _Part(tag, der[start : start + length])
        der = der[start + length :]


def _seconds(time: _Part) -> float:
    """Seconds since the epoch. In UTCTime, two digits stand for a year from 1950 to 2049."""
    text = time.content.decode("ascii")
    at = datetime.strptime(text, _FORMATS[time.tag == _UTC_TIME]).replace(tzinfo=UTC)
    if time.tag == _UTC_TIME and at.year >= _FIRST_YEAR_OF_FOUR_DIGITS:
        at = at.replace(year=at.year - 100)
    return at.timestamp()
