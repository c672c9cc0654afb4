"""YAML as manifests use it: the values of YAML 1.2's core schema, and nothing that surprises or explodes.

What differs from PyYAML's safe loader, and why:

- `no`, `on`, `1:30` and `2024-01-01` are text: only `true` and `false` are booleans.
- A number with a leading zero is text: 0777 is 777 in YAML 1.2 and 511 in YAML 1.1, so nobody may guess.
- A key given twice is refused, and so are tags and merge keys (`<<`): no tool of Kubernetes prints them.
- Aliases work, but all of them together may not repeat more than `_MOST_REPEATED` values.
- Keys are text as in JSON, whatever they look like.

The parser is libyaml through PyYAML, where PyYAML was built with it. Its events are put together here, without
recursion: a deep document meets a limit, not the end of the stack.
"""

import re
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


class Document(NamedTuple):
    """One document of a file: the line on which its first value stands, from 1, and its plain data."""

    line: int
    data: object


def load_documents(text: bytes) -> list[Document]:
    """The documents of a YAML stream (UTF-8 or UTF-16); JSON is YAML too, but slower here than as JSON.

    Documents that hold nothing are left out. InputError, with line and column, for what cannot be read.
    """
    if len(text) > _MOST_BYTES:
        raise InputError(f"{len(text) >> 20} MB of YAML are more than {_MOST_BYTES >> 20}; split it up")
    builder = _Builder()
    try:
        parser = _PARSER(text)
        take = builder.take
        next_event = parser.get_event
        while take(next_event()):
            pass
    except yaml.MarkedYAMLError as error:
        raise _malformed(error) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"this is no YAML text: {' '.join(str(error).split())}") from None
    return builder.documents


def _malformed(error: yaml.MarkedYAMLError) -> InputError:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    told = " ".join(filter(None, (error.context, error.problem)))
    hint = "; indent with blanks" if "\\t" in told else ""
    return InputError(f"{where}{told}{hint}")


def _refused(event: Any, reason: str) -> InputError:
    mark = event.start_mark
    return InputError(f"line {mark.line + 1}, column {mark.column + 1}: {reason}")


class _Open(NamedTuple):
    """A collection whose end has not come: what to go on with then, and what an anchor needs to know."""

    outer: dict[str, object] | list[object]
    anchor: str | None
    values_before: int


class _Builder:
    """Puts documents together from the parser's events, in their order."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self._line = 0
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
        act = self._acts.get(type(event))
        if act is not None:
            act(event)
            return True
        return type(event) is not yaml.StreamEndEvent

    def _start_document(self, _: Any) -> None:
        self._line = 0
        self._root = self._into = []
        self._anchored = {}

    def _end_document(self, _: Any) -> None:
        if self._root != [None]:
            self.documents.append(Document(self._line, self._root[0]))

    def _scalar(self, event: Any) -> None:
        if event.tag is not None:
            raise _refused(event, f"the tag {quoted(event.tag)} is refused; write the value without a tag")
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
            raise _refused(event, f"the key {quoted(text)} stands here a second time; remove one of the two")
        if text == "<<" and event.implicit[0]:
            raise _refused(event, "merge keys (<<) are refused; write the fields out")
        if event.anchor is not None:
            raise _refused(event, "an anchor on a key is refused; anchor the value")
        self._key = text

    def _place(self, event: Any, value: object) -> None:
        self._values += 1
        into = self._into
        if type(into) is list:
            if into is self._root:
                self._line = event.start_mark.line + 1
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
            raise _refused(event, f"the tag {quoted(event.tag)} is refused; write the value without a tag")
        if self._key is None and type(self._into) is dict:
            raise _refused(
                event, "a key that is a mapping or a list is refused; quote it if it is meant as text"
            )
        if len(self._open) >= _DEEPEST:
            raise _refused(event, f"nested deeper than {_DEEPEST} levels; no Kubernetes object is")
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
            raise _refused(event, "an alias as a key is refused; write the key out")
        if event.anchor not in self._anchored:
            raise _refused(event, f"the alias *{event.anchor} has no complete &{event.anchor} before it")
        value, size = self._anchored[event.anchor]
        self._repeated += size
        if self._repeated > _MOST_REPEATED:
            raise _refused(event, f"aliases repeat more than {_MOST_REPEATED} values; write them out")
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
