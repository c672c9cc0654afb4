"""The objects in one text, each with its place: decoded, ignored, or rejected with a reason."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from kproxy.errors import InputError, InvalidField, Irrelevant
from kproxy.sources.canonical import is_canonical
from kproxy.sources.content import Content, EmptyList, Ignored, Malformed, NoDocument, Remark, Usable
from kproxy.sources.defaults import set_defaults
from kproxy.sources.near_misses import field_missed, kind_meant, label_missed, unknown_fields
from kproxy.sources.yaml import read_documents
from kproxy.sources.yaml_builder import Document, Unreadable
from kproxy.state.decode import convert, decode, identify
from kproxy.state.events import Rejection, flawed
from kproxy.state.mismatch import in_plain_words
from kproxy.state.nesting import without_deep_parts
from kproxy.state.objects import Kind, Object
from kproxy.state.printable import printable, quoted

_API_VERSION: Final[dict[str, str]] = {
    Kind.SERVICE: "v1",
    Kind.ENDPOINT_SLICE: "discovery.k8s.io/v1",
    Kind.ENDPOINTS: "v1",
    Kind.NODE: "v1",
    Kind.POD: "v1",
    Kind.SERVICE_CIDR: "networking.k8s.io/v1",
}
_DEFAULT_NAMESPACE = "default"
_DEEPEST_LIST = 8
_LONGEST_KIND = 99
"""Characters of a kind with its API group. Real ones are shorter."""

_BEGINS_AS_JSON = re.compile(rb"\s*[\[{]")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_BYTE = re.compile(r" \(byte (?P<at>[0-9]+)\)$")


def contents_of(place: str, text: bytes) -> tuple[Content, ...]:
    """All objects of the text, in its order. `place` names the text in messages.

    Objects without a namespace get `default`, and other missing fields get the defaults of an API server. InputError
    for a text of which no document can be found.
    """
    if not _BEGINS_AS_JSON.match(text):
        documents = read_documents(text)
        return tuple(_in_yaml(place, documents)) if documents else (NoDocument(place),)
    try:
        values = _json_values(text)
    except msgspec.DecodeError as error:
        return tuple(_in_yaml(place, _yaml_after_all(text, error)))
    if len(values) == 1:
        return tuple(_objects(_JSON, values[0], place))
    return _in_documents(_JSON, place, values)


def _in_yaml(place: str, documents: Sequence[Document | Unreadable]) -> Iterator[Content]:
    for number, document in enumerate(documents, start=1):
        where = f"{place}, document {number}"
        if isinstance(document, Unreadable):
            yield Malformed(where if len(documents) > 1 else place, document.reason)
            continue
        if document.cut:
            yield Remark(where, "", "", f"{document.cut}; deeper values are ignored")
        yield from _objects(_DATA, document.data, where)


def _json_values(text: bytes) -> list[msgspec.Raw]:
    try:
        return _JSON_VALUES.decode_lines(text)
    except RecursionError:
        return _JSON_VALUES.decode_lines(without_deep_parts(text))


def _yaml_after_all(text: bytes, error: msgspec.DecodeError) -> list[Document | Unreadable]:
    """The documents of a text that is not plain JSON.

    YAML may begin with a brace too, and `---` may separate JSON documents.
    """
    documents = read_documents(text)
    if all(isinstance(document, Unreadable) for document in documents):
        raise _malformed_json(text, str(error))
    return documents


def _malformed_json(text: bytes, reason: str) -> InputError:
    byte = _BYTE.search(reason)
    try:
        text.decode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        return InputError(
            f"line {line}: the text is not UTF-8: it has the byte 0x{text[error.start]:02x}; save it as UTF-8"
        )
    if byte is None:
        return InputError(f"{reason}; the JSON text is not complete")
    before = text[: int(byte["at"])]
    line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
    return InputError(f"line {line}, column {column}: {reason[: byte.start()]}")


class _Head(msgspec.Struct, rename="camel"):
    api_version: str | None = None
    kind: str | None = None


class _JsonList(msgspec.Struct):
    items: list[msgspec.Raw] | None = None


class _DataList(msgspec.Struct):
    items: list[Any] | None = None


@dataclass(frozen=True, slots=True)
class _Form:
    """The functions that read an object, either from JSON bytes or from plain data."""

    head: Callable[[Any], _Head]
    items: Callable[[Any], Sequence[object] | None]
    fact: Callable[..., Object]
    plain: Callable[[Any], object]
    is_canonical: Callable[[Kind, Any], bool]


_JSON_VALUES = msgspec.json.Decoder(msgspec.Raw)
_JSON_LIST = msgspec.json.Decoder(_JsonList)
_JSON = _Form(
    head=msgspec.json.Decoder(_Head).decode,
    items=lambda raw: _JSON_LIST.decode(raw).items,
    fact=decode,
    plain=msgspec.json.decode,
    is_canonical=is_canonical,
)
_DATA = _Form(
    head=partial(msgspec.convert, type=_Head),
    items=lambda data: msgspec.convert(data, _DataList).items,
    fact=convert,
    plain=lambda data: data,
    is_canonical=lambda _kind, _data: False,
)


def _in_documents(form: _Form, place: str, documents: Iterable[object]) -> tuple[Content, ...]:
    return tuple(
        found
        for number, document in enumerate(documents, start=1)
        for found in _objects(form, document, f"{place}, document {number}")
    )


def _objects(
    form: _Form,
    thing: object,
    place: str,
    listed_as: tuple[str | None, str | None] = (None, None),
    depth: int = 0,
) -> Iterator[Content]:
    """The objects in one value. Items of a typed list may leave out apiVersion and kind; `listed_as` has them then."""
    try:
        head = form.head(thing)
    except _UNREADABLE as error:
        yield Rejection(place, "", "", "", f"this is no Kubernetes object: {in_plain_words(str(error))}")
        return
    version, kind = head.api_version or listed_as[0], head.kind or listed_as[1]
    if not kind:
        misspelled = field_missed("kind", _plain(form, thing))
        reason = (
            f"write kind instead of {misspelled}" if misspelled else "say what the object is, such as Service"
        )
        yield Rejection(place, "", "", "kind", f"is missing; {reason}")
    elif kind.endswith("List"):
        yield from _items(form, thing, place, (version, kind), depth)
    elif kind not in _API_VERSION or _group(version) not in ("", _group(_API_VERSION[kind])):
        groups = {known: _group(its_version) for known, its_version in _API_VERSION.items()}
        meant = kind_meant(_group(version), kind, groups)
        yield Ignored(_full_kind(version, kind), place, meant=meant)
    elif version != _API_VERSION[kind]:
        misspelled = field_missed("apiVersion", _plain(form, thing))
        reason = f"{quoted(version)} is not understood" if version else "is missing"
        reason = f"{reason}, and {misspelled} is no field" if misspelled else reason
        yield _rejection(thing, place, Kind(kind), "apiVersion", f"{reason}; write {_API_VERSION[kind]}")
    else:
        yield from _decoded(form, thing, place, Kind(kind))


def _items(
    form: _Form, thing: object, place: str, listed_as: tuple[str | None, str], depth: int
) -> Iterator[Content]:
    version, kind = listed_as
    try:
        items = form.items(thing)
    except _UNREADABLE as error:
        yield Rejection(
            place, quoted(kind)[1:-1], "", "items", in_plain_words(str(error)).removesuffix(" - at `$.items`")
        )
        return
    if depth == _DEEPEST_LIST:
        yield Rejection(
            place, "List", "", "items", f"Lists stand in Lists more than {_DEEPEST_LIST} deep; flatten them"
        )
        return
    if items is None and kind != "List":
        yield Ignored(_full_kind(version, kind), place)
    elif not items:
        yield EmptyList(place)
    item_kind = kind.removesuffix("List")
    inherited = (version, item_kind) if item_kind else (None, None)
    for at, item in enumerate(items or ()):
        yield from _objects(form, item, f"{place}, items[{at}]", inherited, depth + 1)


def _decoded(form: _Form, thing: object, place: str, kind: Kind) -> Iterator[Content]:
    plain = None if form.is_canonical(kind, thing) else _plain(form, thing)
    fact = convert if plain is not None and set_defaults(kind, plain) else form.fact
    found = _judged(fact, plain if fact is convert else thing, place, kind)
    yield _with_misspelled_label(found, plain) if isinstance(found, Ignored) else found
    name = str(found.object.key) if isinstance(found, Usable) else _name(kind, thing)
    yield from (Remark(place, kind.value, name, text) for text in unknown_fields(kind, plain))


def _judged(
    fact: Callable[..., Object], thing: object, place: str, kind: Kind
) -> Usable | Ignored | Rejection:
    flaws: list[InvalidField] = []
    try:
        made = fact(kind, thing, namespace=_DEFAULT_NAMESPACE, flaws=flaws)
    except Irrelevant as error:
        return Ignored(f"{kind} {_name(kind, thing)}".rstrip(), place, str(error))
    except InvalidField as error:
        return _rejection(thing, place, kind, error.field, error.reason)
    return Usable(place, made, flawed(place, kind, made.key, flaws) if flaws else None)


def _with_misspelled_label(found: Ignored, data: object) -> Ignored:
    label = label_missed(data)
    return found._replace(reason=f"{found.reason}; did you mean it by {label}?") if label else found


def _plain(form: _Form, thing: object) -> object:
    """The object as plain data; None where it is nested too deep for that."""
    try:
        return form.plain(thing)
    except _UNREADABLE:
        return None


def _rejection(thing: object, place: str, kind: Kind, field: str, reason: str) -> Rejection:
    key = identify(kind, thing, namespace=_DEFAULT_NAMESPACE)
    return Rejection(place, kind.value, _name(kind, thing), field, reason, key)


def _name(kind: Kind, thing: object) -> str:
    """The name as a message shows it; empty if it cannot be read."""
    name = str(identify(kind, thing, namespace=_DEFAULT_NAMESPACE) or "")
    return printable(name)


def _group(version: str | None) -> str:
    """The API group of an apiVersion: empty for the core group, and for a missing version."""
    group, slash, _ = (version or "").partition("/")
    return group if slash else ""


def _full_kind(version: str | None, kind: str) -> str:
    full = ".".join(filter(None, (kind, _group(version))))
    return printable(full, _LONGEST_KIND)
