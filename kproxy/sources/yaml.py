"""YAML as manifests use it: the values of YAML 1.2's core schema, without surprises and without explosions.

The differences from PyYAML's safe loader, with their reasons:

- `no`, `on`, `1:30` and `2024-01-01` are text: only `true` and `false` are booleans.
- A number with a leading zero is text: 0777 is 777 in YAML 1.2 and 511 in YAML 1.1, so nobody may guess.
- A repeated key is refused, and so are tags and merge keys (`<<`): no tool of Kubernetes prints them.
- Aliases work, but all of them together may not repeat more than 100,000 values.
- Keys are text as in JSON, whatever they look like.
- A value nested deeper than 100 levels is null: no field that anybody uses is so deep. A document deeper than 10,000
  levels is not read.

A fault affects only its document. If the parser itself gives up, the text is cut at its document marks (`---`, `...`),
which no YAML value can have at the beginning of a line, and each piece is read alone.

The parser is libyaml through PyYAML, if PyYAML was built with it; `kproxy.sources.yaml_builder` builds the data from
its events.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

import yaml

from kproxy.errors import InputError
from kproxy.sources.yaml_builder import Builder, Document, Unreadable

_PARSER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MOST_BYTES = 256 << 20
"""Ten times the size of 10,000 Services of 10 endpoints each; a larger text is not a manifest."""

_MARK = re.compile(rb"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
_ONLY_DIRECTIVES = re.compile(rb"(?:[ \t]*(?:#[^\n]*)?\r?\n|%[^\n]*\n)*")
_NOT_ALLOWED = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_UTF_8_MARK: Final = b"\xef\xbb\xbf"


def load_documents(text: bytes) -> list[Document]:
    """The documents of a YAML stream. InputError, with line and column, for the first fault.

    Empty documents are left out.
    """
    found = []
    for document in read_documents(text):
        fault = document.reason if isinstance(document, Unreadable) else document.cut
        if fault or isinstance(document, Unreadable):
            raise InputError(fault)
        found.append(document)
    return found


def read_documents(text: bytes) -> list[Document | Unreadable]:
    """The documents of a YAML stream (UTF-8 or UTF-16) in their order.

    JSON is accepted too, but read more slowly than as JSON.

    Empty documents are left out. InputError for a text that is too large.
    """
    if len(text) > _MOST_BYTES:
        raise InputError(f"{len(text) >> 20} MB of YAML are more than {_MOST_BYTES >> 20}; split it up")
    try:
        return _parsed(text, Builder(1))
    except (yaml.YAMLError, UnicodeDecodeError):
        return [document for line, piece in _pieces(_as_utf_8(text)) for document in _read_alone(piece, line)]


def _parsed(text: bytes, builder: Builder) -> list[Document | Unreadable]:
    parser = _PARSER(text)
    take = builder.take
    next_event = parser.get_event
    while take(next_event()):
        pass
    return builder.documents


def _as_utf_8(text: bytes) -> bytes:
    """The text in UTF-8, in which it can be cut at bytes; bytes that are not valid are replaced."""
    if not text.startswith(_UTF_16):
        return text.removeprefix(_UTF_8_MARK)
    return text.decode("utf-16", errors="replace").encode()


def _pieces(text: bytes) -> Iterator[tuple[int, bytes]]:
    """The text of each document, with the number of its first line. Directives stay with their document."""
    start, line = 0, 1
    for mark in _MARK.finditer(text):
        ends_here = mark[0] == b"..."
        end = mark.end() if ends_here else mark.start()
        piece = text[start:end]
        if not ends_here and _ONLY_DIRECTIVES.fullmatch(piece):
            continue
        yield line, piece
        start, line = end, line + piece.count(b"\n")
    yield line, text[start:]


def _read_alone(text: bytes, line: int) -> list[Document | Unreadable]:
    """The documents between two document marks: all of them, or one that cannot be read."""
    try:
        return _parsed(text, Builder(line))
    except yaml.MarkedYAMLError as error:
        return [Unreadable(_syntax_error(error, text, line))]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return [
            Unreadable(
                _wrong_character(text, line) or f"this is no YAML text: {' '.join(str(error).split())}"
            )
        ]


def _wrong_character(text: bytes, line: int) -> str:
    """The place and the name of a character that YAML does not allow; empty if there is none."""
    try:
        whole = text.decode()
    except UnicodeDecodeError as error:
        at, reason = (
            error.start,
            f"the text is not UTF-8: it has the byte 0x{text[error.start]:02x}; save it as UTF-8",
        )
        before = text[:at].decode()
    else:
        found = _NOT_ALLOWED.search(whole)
        if found is None:
            return ""
        before, reason = (
            whole[: found.start()],
            f"the character U+{ord(found[0]):04X} is not allowed in YAML; remove it",
        )
    return f"line {line + before.count(chr(10))}, column {len(before) - before.rfind(chr(10))}: {reason}"


def _syntax_error(error: yaml.MarkedYAMLError, text: bytes, line: int) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {line + mark.line}, column {mark.column + 1}: " if mark else ""
    problem = " ".join(filter(None, (error.context, error.problem)))
    hint = "; indent with blanks, not with tabs" if mark and _begins_with_tab(text, mark.line) else ""
    return f"{where}{problem}{hint}"


def _begins_with_tab(text: bytes, line: int) -> bool:
    """Whether a tab is in the indentation of the line. Lines are counted from 0."""
    whole = next(islice(text.splitlines(), line, None), b"")
    return b"\t" in whole[: len(whole) - len(whole.lstrip())]
