"""Builds the plain data of YAML documents from the parser's events, and refuses what `kproxy.sources.yaml` refuses.

Nothing here is recursive: a deep document meets a limit, not the end of the stack.
"""

import re
from typing import Any, Final, NamedTuple

import yaml

from kproxy.state.printable import quoted

_DEEPEST = 100
"""Levels. Real objects have 20 at most, and the decoder of the data is recursive."""
_DEEPEST_READ = 10_000
"""Levels.

The API server accepts no deeper JSON. The parser's time grows with the square: 0.3 s for 10,000 levels, 35 s for
100,000.
"""
_MOST_REPEATED = 100_000
"""Values that aliases may repeat. Aliases of aliases can make a few hundred bytes fill the whole memory."""

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


class Document(NamedTuple):
    """One document of a file: the number of the line of its first value, from 1, and its plain data.

    `cut` says where values are too deep and are therefore null; empty if there are none.
    """

    line: int
    data: object
    cut: str = ""


class Unreadable(NamedTuple):
    """A document that cannot be read, and the reason, with line and column."""

    reason: str


class _Refused(Exception):
    """An event that is not allowed in its document. The exception never leaves this module."""

    def __init__(self, event: Any, reason: str) -> None:
        super().__init__(reason)
        self.event = event
        self.reason = reason


class _Open(NamedTuple):
    """A collection whose end has not come yet: its parent, and the data for its anchor."""

    outer: dict[str, object] | list[object]
    anchor: str | None
    values_before: int


_DEEPER: Final = {
    yaml.MappingStartEvent: 1,
    yaml.SequenceStartEvent: 1,
    yaml.MappingEndEvent: -1,
    yaml.SequenceEndEvent: -1,
}


class Builder:
    """Builds documents from the parser's events, in their order."""

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
        """Take one event.

        Returns whether more events follow. MarkedYAMLError for a value that is too deep to read on.
        """
        kind = type(event)
        if self._too_deep:
            self._too_deep += _DEEPER.get(kind, 0)
            if self._too_deep > _DEEPEST_READ:
                reason = f"nested deeper than {_DEEPEST_READ} levels; flatten it"
                raise yaml.MarkedYAMLError(problem=reason, problem_mark=event.start_mark)
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
    """The value of an unquoted scalar in YAML 1.2's core schema. `.inf` and `.nan`, which JSON lacks, are text."""
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
