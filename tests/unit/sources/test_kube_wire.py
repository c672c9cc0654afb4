"""Watch lines from chunks that are cut anywhere, and the envelopes in the lines."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.state.encodings.as_json import JSON, split_lines
from kproxy.state.encodings.envelopes import Status
from kproxy.values import NamespacedName

LINES = st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")).filter(bool))


@given(lines=LINES, cuts=st.lists(st.integers(min_value=0, max_value=400)))
def test_lines_are_the_same_wherever_the_chunks_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    body = b"".join(line + b"\n" for line in lines)
    edges = sorted({0, len(body), *(cut for cut in cuts if cut <= len(body))})
    chunks = [body[start:end] for start, end in pairwise(edges)]
    assert lines == list(split_lines(chunks, 1 << 20))


def test_line_that_breaks_off_is_left_out() -> None:
    assert [b"whole"] == list(split_lines([b"whole\nbro", b"ken"], 1 << 20))


def test_lines_are_yielded_before_the_next_chunk_is_read() -> None:
    chunks = iter([b"one\ntwo", b"\nthree\n"])
    lines = split_lines(chunks, 1 << 20)
    assert b"one" == next(lines)
    assert b"\nthree\n" == next(chunks)


def test_page_without_items_is_empty() -> None:
    page = JSON.page(b'{"kind":"ServiceList","metadata":{"resourceVersion":"7"},"items":null}')
    assert ("7", ()) == (page.resource_version, page.items)


def test_event_keeps_its_object_as_bytes() -> None:
    event = JSON.event(b'{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"b"},"spec":{}}}')
    assert ("ADDED", NamespacedName("b", "a")) == (event.type, JSON.meta(event.object).key)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"text"', b"\xff"])
def test_anything_but_a_status_gives_an_empty_status(body: bytes) -> None:
    assert Status() == JSON.status(body)
