"""YAML as Kubernetes means it: JSON's data in another spelling, and nothing else.

PyYAML's C parser gives the events; the data is built here, by the scalars of YAML 1.2's core schema.
So `no` and `on` are text, `1:30` is no number of seconds and `2024-01-01` no date. Refused
are duplicate keys, of which other readers silently keep the last; aliases, which let a small file stand for a
huge one; and tags, which name types that JSON does not have.
"""

import re
from functools import lru_cache
from typing import Any, NamedTuple

import yaml

from kproxy.errors import InputError

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST = 100
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_PREFIXED_INT = re.compile(r"0x[0-9a-fA-F]{1,16}|0o[0-7]{1,21}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Document(NamedTuple):
    """One document of a YAML file. `line` is where it starts, from 1."""

    line: int
    data: object


class InvalidYaml(InputError):
    """Text that is not YAML, or not of the kind that stands for JSON; says line and column."""

    def __init__(self, mark: Any, problem: str) -> None:
        super().__init__(f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem)


def load_documents(text: bytes) -> list[Document]:
    """All documents with content, in order; InvalidYaml for what cannot be taken."""
    try:
        events = yaml.parse(text.decode("utf-8-sig"), Loader=_Loader)
        return list(_Builder().documents(events))
    except UnicodeDecodeError as error:
        raise InvalidYaml(None, f"byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        raise InvalidYaml(error.problem_mark, error.problem or "not YAML") from error
    except yaml.YAMLError as error:
        raise InvalidYaml(None, f"not YAML: {error}") from error


class _Builder:
    """Data from parser events; a stack of the collections that are open."""

    def __init__(self) -> None:
        self._open: list[dict[str, object] | list[object]] = []
        self._keys: list[str | None] = []
        self._root: object = None

    def documents(self, events: Any) -> Any:
        line = 1
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent:
                self._begin({}, event)
            elif kind is yaml.SequenceStartEvent:
                self._begin([], event)
            elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
                self._open.pop()
                self._keys.pop()
            elif kind is yaml.AliasEvent:
                raise InvalidYaml(event.start_mark, f"the alias *{event.anchor} is not taken; write the value out")
            elif kind is yaml.DocumentStartEvent:
                line = event.start_mark.line + 1
                self._root = None
            elif kind is yaml.DocumentEndEvent and self._root is not None:
                yield Document(line, self._root)

    def _begin(self, collection: dict[str, object] | list[object], event: Any) -> None:
        _refuse_tag(event)
        if len(self._open) >= _DEEPEST:
            raise InvalidYaml(event.start_mark, f"nested deeper than {_DEEPEST} levels")
        self._attach(collection, event)
        self._open.append(collection)
        self._keys.append(None)

    def _scalar(self, event: Any) -> None:
        _refuse_tag(event)
        if self._awaits_key():
            key = event.value
            if key in self._open[-1]:
                raise InvalidYaml(event.start_mark, f"the key {key!r} stands here twice; remove one")
            self._keys[-1] = key
        else:
            self._attach(_plain(event.value) if event.implicit[0] else event.value, event)

    def _awaits_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1], dict) and self._keys[-1] is None

    def _attach(self, value: object, event: Any) -> None:
        if not self._open:
            self._root = value
            return
        holder = self._open[-1]
        if isinstance(holder, list):
            holder.append(value)
            return
        key = self._keys[-1]
        if key is None:
            raise InvalidYaml(event.start_mark, "a key must be plain text")
        holder[key] = value
        self._keys[-1] = None


def _refuse_tag(event: Any) -> None:
    if event.tag is not None and event.tag != "!":
        raise InvalidYaml(event.start_mark, f"the tag {event.tag} is not taken; remove it, or quote the value for text")


@lru_cache(maxsize=8192)
def _plain(text: str) -> object:
    """The value of an unquoted scalar. A number with a leading zero stays text: readers disagree on its base."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _PREFIXED_INT.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and not _LEADING_ZERO.match(text):
        return float(text)
    return text
