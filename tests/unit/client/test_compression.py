"""Compressed bodies are unpacked in bounded pieces, or refused with the reason."""

import gzip
import zlib
from collections.abc import Iterator

import pytest

from kproxy.client.compression import unpacked
from kproxy.errors import Malformed

TEXT = bytes(range(256)) * 4_000
MEMBER = gzip.compress(TEXT, mtime=0)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@pytest.mark.parametrize("members", [1, 3])
def test_gzip_of_any_members_is_one_body_wherever_it_is_cut(size: int, members: int) -> None:
    assert TEXT * members == b"".join(unpacked(cut(MEMBER * members, size), "GZIP "))


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
def test_body_that_is_not_compressed_is_passed_on_unchanged(encoding: str) -> None:
    assert [b"a", b"bc"] == list(unpacked([b"a", b"bc"], encoding))


def test_body_that_unpacks_to_a_thousand_times_its_size_comes_in_pieces() -> None:
    bomb = gzip.compress(b"\0" * (64 << 20))
    pieces = unpacked([bomb], "gzip")
    assert 1 << 18 >= max(len(next(pieces)) for _ in range(50))


def test_event_of_a_compressed_stream_is_yielded_before_the_next_is_read() -> None:
    packing = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    first, second = (packing.compress(each) + packing.flush(zlib.Z_SYNC_FLUSH) for each in (b"one", b"two"))
    chunks = iter([first, second, packing.flush()])
    pieces = unpacked(chunks, "gzip")
    assert b"one" == next(pieces)
    assert second == next(chunks)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"plain text", "no gzip"),
        (MEMBER + b"more", "no gzip"),
        (MEMBER[:-1], "ends in the middle"),
        (MEMBER[:5], "ends in the middle"),
        (MEMBER + MEMBER[:5], "ends in the middle"),
        (MEMBER[:40] + b"\xff" * 40 + MEMBER[80:], "no gzip"),
        (MEMBER[:-8] + b"\0" * 8, "no gzip"),
        (zlib.compress(TEXT), "no gzip"),
    ],
)
def test_broken_gzip_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        list(unpacked([body], "gzip"))


@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd", "gzip, gzip", "x\x1b[31m"])
def test_compression_that_was_not_requested_is_refused_by_its_name(encoding: str) -> None:
    with pytest.raises(Malformed, match="and we did not ask for that") as refused:
        list(unpacked([MEMBER], encoding))
    assert str(refused.value).isprintable()
