"""YAML as client-go reads a kubeconfig: the first document of the text, with the values of YAML 1.1.

Source: sigs.k8s.io/yaml `YAMLToJSON`, and goyaml.v2 `resolve.go` and `decode.go`. `yes`, `on` and `y` are true; 0777
and 1_000 are numbers; 1e999 is text, because no float is so large; a date is text; a key that is written twice has its
last value; `<<` merges; text after the first document is ignored. JSON is read as YAML too.

These differences from client-go are on purpose:

- A mapping leaves out keys with null: Go gives such a field its zero value.
- A value that is nested deeper than 100 levels is null: no field of a kubeconfig is so deep.
- `!!binary` is refused.
"""

import math
import re
from contextlib import suppress
from typing import Any, Final

import yaml

from kproxy.errors import InputError

_PARSER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_DEEPEST = 100
"""Levels. Fields of a kubeconfig are six levels deep, and the decoder of the data is recursive."""
_DEEPEST_READ = 10_000
"""Levels. goyaml.v2 reads no deeper.

The parser's time grows with the square of the depth: 0.3 s for 10,000 levels, 35 s for 100,000.
"""
_MOST_REPEATED = 100_000
"""Values that aliases may repeat. Aliases of aliases can make a few hundred bytes fill the whole memory."""

_WORDS: Final[dict[str, object]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_NUMBER = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?"
    r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
_OCTAL = re.compile(r"([-+]?)0([0-7]+)")
_TAG: Final = "tag:yaml.org,2002:"
_MERGE = "<<"
_SHOWN_BY_PARSER = re.compile(r"'[^']{5,}'")
"""The parser quotes words of the text. A quoted word of more than a few characters may be part of a secret."""


class _Collection:
    """A mapping or list whose end has not been read yet."""

    def __init__(self, anchor: str | None, values_before: int, *, is_mapping: bool) -> None:
        self.anchor = anchor
        self.values_before = values_before
        self.mapping: dict[str, object] = {}
        self.items: list[object] = []
        self.is_mapping = is_mapping
        self.key: str | None = None
        self.merges = False

    @property
    def wants_key(self) -> bool:
        return self.is_mapping and self.key is None

    @property
    def value(self) -> object:
        return self.mapping if self.is_mapping else self.items

    def add(self, value: object) -> bool:
        """Add a value; False if it cannot be merged here: `<<` merges only a mapping or a list of mappings."""
        if self.key is None:
            self.items.append(value)
            return True
        key, self.key = self.key, None
        if self.merges:
            return self._merge(value)
        if value is None:
            self.mapping.pop(key, None)
        else:
            self.mapping[key] = value
        return True

    def _merge(self, value: object) -> bool:
        self.merges = False
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            return False
        for source in reversed(sources):
            self.mapping.update(source)
        return True


class _Reader:
    """Builds the first document from the parser's events, without recursion."""

    def __init__(self) -> None:
        self.document: object = None
        self._open: list[_Collection] = []
        self._anchored: dict[str, tuple[object, int]] = {}
        self._values = 0
        self._repeated = 0
        self._too_deep = 0

    def take(self, event: Any) -> bool:
        """Take one event. Returns whether more events of this document follow."""
        match event:
            case yaml.DocumentEndEvent() | yaml.StreamEndEvent():
                return False
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._start(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end(event)
            case yaml.ScalarEvent() if not self._too_deep:
                self._scalar(event)
            case yaml.AliasEvent() if not self._too_deep:
                self._alias(event)
        return True

    def _start(self, event: Any) -> None:
        if len(self._open) + self._too_deep >= _DEEPEST_READ:
            raise _refused(event, f"nested deeper than {_DEEPEST_READ} levels; flatten it")
        if len(self._open) >= _DEEPEST:
            self._too_deep += 1
            return
        if self._open and self._open[-1].wants_key:
            raise _refused(event, "a mapping or a list cannot be a key; write a word")
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._open.append(_Collection(event.anchor, self._values, is_mapping=is_mapping))

    def _end(self, event: Any) -> None:
        if self._too_deep:
            self._too_deep -= 1
            if not self._too_deep:
                self._place(event, None)
            return
        ended = self._open.pop()
        if ended.anchor is not None:
            self._anchored[ended.anchor] = (ended.value, self._values - ended.values_before + 1)
        self._place(event, ended.value)

    def _scalar(self, event: Any) -> None:
        value = _value(event)
        if event.anchor is not None:
            self._anchored[event.anchor] = (value, 1)
        collection = self._open[-1] if self._open else None
        if collection is not None and collection.wants_key:
            collection.merges = event.value == _MERGE and event.implicit[0]
            collection.key = str(value).lower() if isinstance(value, bool) else event.value
            return
        self._place(event, value)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchored:
            raise _refused(event, "an alias stands here without a complete anchor of its name before it")
        value, size = self._anchored[event.anchor]
        if self._open and self._open[-1].wants_key:
            if not isinstance(value, str):
                raise _refused(event, "an alias of something that is no text cannot be a key; write a word")
            self._open[-1].key = value
            return
        self._repeated += size
        if self._repeated > _MOST_REPEATED:
            raise _refused(event, f"aliases repeat more than {_MOST_REPEATED} values; write them out")
        self._values += size - 1
        self._place(event, value)

    def _place(self, event: Any, value: object) -> None:
        self._values += 1
        if not self._open:
            self.document = value
        elif not self._open[-1].add(value):
            raise _refused(event, "only a mapping, or a list of mappings, can be merged with <<")


def first_document(text: bytes) -> object:
    """The plain data of the first document, None for an empty document.

    InputError for text that is not YAML. The message has line and column, and no word of the text.
    """
    reader = _Reader()
    try:
        parser = _PARSER(text)
        while reader.take(parser.get_event()):
            pass
    except yaml.MarkedYAMLError as error:
        raise InputError(_syntax_error(error, text)) from None
    except (UnicodeDecodeError, yaml.reader.ReaderError) as error:
        raise InputError(_wrong_character(error, text)) from None
    return reader.document


def _value(event: Any) -> object:
    text, tag = event.value, event.tag
    if tag == f"{_TAG}binary":
        raise _refused(event, "!!binary is refused; write the text")
    if tag is not None and tag.removeprefix(_TAG) not in ("bool", "int", "float", "null"):
        return text
    if tag is None and not event.implicit[0]:
        return text
    value = _WORDS[text] if text in _WORDS else _number(text)
    if tag is not None and isinstance(value, str):
        raise _refused(event, "the value does not fit its tag; leave the tag out")
    return value


def _number(text: str) -> object:
    """The number that the text stands for, or the text itself. The value of a number matters only to a plugin."""
    if text[0] not in "+-.0123456789" or not _NUMBER.fullmatch(text):
        return text
    plain = text.replace("_", "").lower()
    if octal := _OCTAL.fullmatch(plain):
        return int(octal[1] + octal[2], 8)
    with suppress(ValueError):
        return int(plain, 0)
    try:
        number = float(plain.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text
    is_too_large = math.isinf(number) and "inf" not in plain
    return text if is_too_large else number


def _refused(event: Any, reason: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=reason, problem_mark=event.start_mark)


def _syntax_error(error: yaml.MarkedYAMLError, text: bytes) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = _SHOWN_BY_PARSER.sub("a word", " ".join(filter(None, (error.context, error.problem))))
    begins = text.splitlines()[mark.line : mark.line + 1] if mark else []
    has_tab = any(b"\t" in line[: len(line) - len(line.lstrip())] for line in begins)
    return f"{where}{problem}{'; indent with blanks, not with tabs' if has_tab else ''}"


def _wrong_character(error: Exception, text: bytes) -> str:
    try:
        text.decode()
    except UnicodeDecodeError as wrong:
        return f"the text is not UTF-8 at byte {wrong.start}; save it as UTF-8"
    character = getattr(error, "character", 0)
    code = ord(character) if isinstance(character, str) else character
    return f"the character U+{code:04X} at {getattr(error, 'position', 0)} is not allowed in YAML; remove it"
