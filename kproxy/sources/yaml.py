"""YAML as manifests use it: the values of YAML 1.2's core schema, and nothing that surprises or explodes.

What differs from PyYAML's safe loader, and why:

- `no`, `on`, `1:30` and `2024-01-01` are text: only `true` and `false` are booleans.
- A number with a leading zero is text: 0777 is 777 in YAML 1.2 and 511 in YAML 1.1, so nobody may guess.
- A key given twice is refused, and so are tags and merge keys (`<<`): no tool of Kubernetes prints them.
- Aliases work, but all of them together may not repeat more than `_MOST_REPEATED` values.
- Keys are text as in JSON, whatever they look like.
- A value nested deeper than `_DEEPEST` levels counts as null: no field that anybody uses stands there.

A fault costs the document that it stands in. Where the parser itself gives up, the text is cut at its document marks
(`---`, `...`), which no YAML value can hold at the beginning of a line, and each piece is read alone.

The parser is libyaml through PyYAML, where PyYAML was built with it. Its events are put together here, without
recursion: a deep document meets a limit, not the end of the stack.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import yaml

from kproxy.errors import InputError
from kproxy.state.validate import quoted

_PARSER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_DEEPEST = 100
_MOST_REPEATED = 100_000
_MOST_BYTES = 256 << 20

_CORE: Final[dict[str, object]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MAYBE_NUMBER: Final = frozenset("0123456789+-.")
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,39})")
_BASED = re.compile(r"0x[0-9a-fA-F]{1,32}|0o[0-7]{1,32}")
_FLOAT = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,3})?"
)


_MARK = re.compile(rb"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
_ONLY_DIRECTIVES = re.compile(rb"(?:[ \t]*(?:#[^\n]*)?\r?\n|%[^\n]*\n)*")
_NOT_ALLOWED = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_UTF_8_MARK: Final = b"\xef\xbb\xbf"


class Document(NamedTuple):
    """One document of a file: the line on which its first value stands, from 1, and its plain data.

    `cut` says where values stand too deep, and so count as null; it is empty where none do.
    """

    line: int
    data: object
    cut: str = ""


class Unreadable(NamedTuple):
    """A document that cannot be read, and why, with line and column."""

    reason: str


def load_documents(text: bytes) -> list[Document]:
    """The documents of a YAML stream, of which each must be readable as a whole.

    Documents that hold nothing are left out. InputError, with line and column, for the first fault.
    """
    found = []
    for document in read_documents(text):
        fault = document.reason if isinstance(document, Unreadable) else document.cut
        if fault or isinstance(document, Unreadable):
            raise InputError(fault)
        found.append(document)
    return found


def read_documents(text: bytes) -> list[Document | Unreadable]:
    """The documents of a YAML stream (UTF-8 or UTF-16) in their order; JSON is YAML too, but slower here than as JSON.

    Documents that hold nothing are left out. InputError for a text that is too large to be read.
    """
    if len(text) > _MOST_BYTES:
        raise InputError(f"{len(text) >> 20} MB of YAML are more than {_MOST_BYTES >> 20}; split it up")
    try:
        return _parsed(text, _Builder(1))
    except (yaml.YAMLError, UnicodeDecodeError):
        return [document for line, piece in _pieces(_as_utf_8(text)) for document in _read_alone(piece, line)]


def _parsed(text: bytes, builder: "_Builder") -> list[Document | Unreadable]:
    parser = _PARSER(text)
    take = builder.take
    next_event = parser.get_event
    while take(next_event()):
        pass
    return builder.documents


def _as_utf_8(text: bytes) -> bytes:
    """The text in the encoding in which it can be cut, as far as it is sound."""
    if not text.startswith(_UTF_16):
        return text.removeprefix(_UTF_8_MARK)
    return text.decode("utf-16", errors="replace").encode()


def _pieces(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Each document as text, with the number of its first line; directives stand with the document that they are for."""
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
        return _parsed(text, _Builder(line))
    except yaml.MarkedYAMLError as error:
        return [Unreadable(_syntax_error(error, line))]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return [
            Unreadable(
                _wrong_character(text, line) or f"this is no YAML text: {' '.join(str(error).split())}"
            )
        ]


def _wrong_character(text: bytes, line: int) -> str:
    """Where the text holds what no YAML may, and what that is; empty if it does not."""
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


def _syntax_error(error: yaml.MarkedYAMLError, line: int) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {line + mark.line}, column {mark.column + 1}: " if mark else ""
    told = " ".join(filter(None, (error.context, error.problem)))
    hint = "; indent with blanks" if "\\t" in told else ""
    return f"{where}{told}{hint}"


class _Refused(Exception):
    """An event that its document may not hold; it never leaves this module."""

    def __init__(self, event: Any, reason: str) -> None:
        super().__init__(reason)
        self.event = event
        self.reason = reason


class _Open(NamedTuple):
    """A collection whose end has not come: what to go on with then, and what an anchor needs to know."""

    outer: dict[str, object] | list[object]
    anchor: str | None
    values_before: int


_DEEPER: Final = {
    yaml.MappingStartEvent: 1,
    yaml.SequenceStartEvent: 1,
    yaml.MappingEndEvent: -1,
    yaml.SequenceEndEvent: -1,
}


class _Builder:
    """Puts documents together from the parser's events, in their order."""

    def __init__(self, first_line: int) -> None:
        self.documents: list[Document | Unreadable] = []
        self._first_line = first_line
        self._line = 0
        self._refused = ""
        self._cut = ""
        self._too_deep = 0
        self._root: list[object] = []
        self._into: dict[str, object] | list[object] = self._root
        self._key: str | None = None
        self._open: list[_Open] = []
        self._anchored: dict[str, tuple[object, int]] = {}
        self._values = 0
        self._repeated = 0
        self._acts = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._start_mapping,
            yaml.SequenceStartEvent: self._start_sequence,
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._start_document,
            yaml.DocumentEndEvent: self._end_document,
        }

    def take(self, event: Any) -> bool:
        """Whether more events are to come."""
        kind = type(event)
        if self._too_deep:
            self._too_deep += _DEEPER.get(kind, 0)
            return True
        if self._refused and kind is not yaml.DocumentEndEvent:
            return True
        act = self._acts.get(kind)
        if act is None:
            return kind is not yaml.StreamEndEvent
        try:
            act(event)
        except _Refused as refused:
            self._refused = self._place_of(refused.event) + refused.reason
        return True

    def _place_of(self, event: Any) -> str:
        mark = event.start_mark
        return f"line {self._first_line + mark.line}, column {mark.column + 1}: "

    def _start_document(self, _: Any) -> None:
        self._line = 0
        self._cut = ""
        self._key = None
        self._open = []
        self._root = self._into = []
        self._anchored = {}

    def _end_document(self, _: Any) -> None:
        if self._refused:
            self.documents.append(Unreadable(self._refused))
            self._refused = ""
        elif self._root != [None]:
            self.documents.append(Document(self._line, self._root[0], self._cut))

    def _scalar(self, event: Any) -> None:
        if event.tag is not None:
            raise _Refused(event, f"the tag {quoted(event.tag)} is refused; write the value without a tag")
        text = event.value
        if self._key is None and type(self._into) is dict:
            self._take_key(event, text)
            return
        value = _plain_value(text) if event.implicit[0] else text
        if event.anchor is not None:
            self._anchored[event.anchor] = (value, 1)
        self._place(event, value)

    def _take_key(self, event: Any, text: str) -> None:
        if text in self._into:
            raise _Refused(event, f"the key {quoted(text)} stands here a second time; remove one of the two")
        if text == "<<" and event.implicit[0]:
            raise _Refused(event, "merge keys (<<) are refused; write the fields out")
        if event.anchor is not None:
            raise _Refused(event, "an anchor on a key is refused; anchor the value")
        self._key = text

    def _place(self, event: Any, value: object) -> None:
        self._values += 1
        into = self._into
        if type(into) is list:
            if into is self._root:
                self._line = self._first_line + event.start_mark.line
            into.append(value)
        else:
            into[self._key] = value  # type: ignore[index, call-overload] # a dict, and its key came before
            self._key = None

    def _start_mapping(self, event: Any) -> None:
        self._start(event, {})

    def _start_sequence(self, event: Any) -> None:
        self._start(event, [])

    def _start(self, event: Any, collection: dict[str, object] | list[object]) -> None:
        if event.tag is not None:
            raise _Refused(event, f"the tag {quoted(event.tag)} is refused; write the value without a tag")
        if self._key is None and type(self._into) is dict:
            raise _Refused(
                event, "a key that is a mapping or a list is refused; quote it if it is meant as text"
            )
        if len(self._open) >= _DEEPEST:
            self._cut = (
                self._cut or f"{self._place_of(event)}nested deeper than {_DEEPEST} levels; flatten it"
            )
            self._too_deep = 1
            self._place(event, None)
            return
        self._open.append(_Open(self._into, event.anchor, self._values))
        self._place(event, collection)
        self._into = collection

    def _end(self, _: Any) -> None:
        collection = self._into
        opened = self._open.pop()
        self._into = opened.outer
        if opened.anchor is not None:
            self._anchored[opened.anchor] = (collection, self._values - opened.values_before)

    def _alias(self, event: Any) -> None:
        if self._key is None and type(self._into) is dict:
            raise _Refused(event, "an alias as a key is refused; write the key out")
        if event.anchor not in self._anchored:
            raise _Refused(event, f"the alias *{event.anchor} has no complete &{event.anchor} before it")
        value, size = self._anchored[event.anchor]
        if self._repeated + size > _MOST_REPEATED:
            raise _Refused(event, f"aliases repeat more than {_MOST_REPEATED} values; write them out")
        self._repeated += size
        self._values += size - 1
        self._place(event, value)


def _plain_value(text: str) -> object:
    """What an unquoted scalar means in YAML 1.2's core schema; .inf and .nan, which JSON lacks, are text."""
    if text in _CORE:
        return _CORE[text]
    if text[0] not in _MAYBE_NUMBER:
        return text
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
