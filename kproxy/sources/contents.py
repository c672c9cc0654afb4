"""The objects that one text holds, each with its place: decoded, passed over, or left out with its reason."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from kproxy.errors import InputError, InvalidField
from kproxy.sources.yaml import load_documents
from kproxy.state.decode import convert, decode
from kproxy.state.events import Rejection
from kproxy.state.objects import Kind, Object
from kproxy.state.validate import quoted
from kproxy.values import NamespacedName

_API_VERSION: Final[dict[str, str]] = {
    Kind.SERVICE: "v1",
    Kind.ENDPOINT_SLICE: "discovery.k8s.io/v1",
    Kind.ENDPOINTS: "v1",
    Kind.NODE: "v1",
    Kind.POD: "v1",
}
_CLUSTER_WIDE: Final = (Kind.NODE,)
_DEFAULT_NAMESPACE = "default"
_DEEPEST_LIST = 8

_BEGINS_AS_JSON = re.compile(rb"\s*[\[{]")
_BYTE = re.compile(r" \(byte (?P<at>[0-9]+)\)$")


class Held(NamedTuple):
    place: str
    object: Object


class PassedOver(NamedTuple):
    """An object that decides no rule; its kind is followed by the API group, as in `Ingress.networking.k8s.io`."""

    kind: str


Found = Held | PassedOver | Rejection


def contents_of(place: str, text: bytes) -> tuple[Found, ...]:
    """All that stands in the text, in its order; `place` names it in what is reported.

    Objects without a namespace get `default`. InputError, with line and column, for a text that is neither
    YAML nor JSON.
    """
    if _BEGINS_AS_JSON.match(text):
        return tuple(_objects(_JSON, _checked_json(text), place))
    return tuple(
        found
        for number, document in enumerate(load_documents(text), start=1)
        for found in _objects(_DATA, document.data, f"{place}, document {number}")
    )


def _checked_json(text: bytes) -> bytes:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        reason = str(error)
        byte = _BYTE.search(reason)
        if byte is None:
            raise InputError(f"{reason}; the JSON text is not complete") from None
        before = text[: int(byte["at"])]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise InputError(f"line {line}, column {column}: {reason[: byte.start()]}") from None
    except RecursionError:
        raise InputError("the JSON is nested deeper than any Kubernetes object") from None
    return text


class _Head(msgspec.Struct, rename="camel"):
    api_version: str | None = None
    kind: str | None = None


class _JsonList(msgspec.Struct):
    items: list[msgspec.Raw] | None = None


class _DataList(msgspec.Struct):
    items: list[Any] | None = None


@dataclass(frozen=True, slots=True)
class _Form:
    """How to look into an object that is still JSON bytes, or already plain data."""

    head: Callable[[Any], _Head]
    items: Callable[[Any], Sequence[object] | None]
    fact: Callable[..., Object]
    data: Callable[[Any], object]


_JSON_LIST = msgspec.json.Decoder(_JsonList)
_JSON = _Form(
    head=msgspec.json.Decoder(_Head).decode,
    items=lambda raw: _JSON_LIST.decode(raw).items,
    fact=decode,
    data=msgspec.json.decode,
)
_DATA = _Form(
    head=partial(msgspec.convert, type=_Head),
    items=lambda data: msgspec.convert(data, _DataList).items,
    fact=convert,
    data=lambda data: data,
)


def _objects(
    form: _Form,
    thing: object,
    place: str,
    listed_as: tuple[str | None, str | None] = (None, None),
    depth: int = 0,
) -> Iterator[Found]:
    """`listed_as` is the apiVersion and kind that items of a typed list may leave unsaid."""
    try:
        head = form.head(thing)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        yield Rejection(place, "", "", "", f"this is no Kubernetes object: {error}")
        return
    version, kind = head.api_version or listed_as[0], head.kind or listed_as[1]
    if not kind:
        yield Rejection(place, "", "", "kind", "is missing; say what the object is, such as Service")
    elif kind.endswith("List"):
        yield from _items(form, thing, place, (version, kind), depth)
    elif kind not in _API_VERSION or _group(version) != _group(_API_VERSION[kind]):
        yield PassedOver(_full_kind(version, kind))
    elif version != _API_VERSION[kind]:
        told = f"{quoted(version)} is not understood" if version else "is missing"
        yield _rejection(form, thing, place, Kind(kind), "apiVersion", f"{told}; write {_API_VERSION[kind]}")
    else:
        yield _decoded(form, thing, place, Kind(kind))


def _items(
    form: _Form, thing: object, place: str, listed_as: tuple[str | None, str], depth: int
) -> Iterator[Found]:
    version, kind = listed_as
    try:
        items = form.items(thing)
    except msgspec.DecodeError as error:
        yield Rejection(place, quoted(kind)[1:-1], "", "items", str(error))
        return
    if depth == _DEEPEST_LIST:
        yield Rejection(
            place, "List", "", "items", f"Lists stand in Lists more than {_DEEPEST_LIST} deep; flatten them"
        )
        return
    if items is None and kind != "List":
        yield PassedOver(_full_kind(version, kind))
    item_kind = kind.removesuffix("List")
    inherited = (version, item_kind) if item_kind else (None, None)
    for at, item in enumerate(items or ()):
        yield from _objects(form, item, f"{place}, items[{at}]", inherited, depth + 1)


def _decoded(form: _Form, thing: object, place: str, kind: Kind) -> Found:
    try:
        return Held(place, form.fact(kind, thing, namespace=_namespace_of(kind)))
    except InvalidField as error:
        return _rejection(form, thing, place, kind, error.field, error.reason)


def _rejection(form: _Form, thing: object, place: str, kind: Kind, field: str, reason: str) -> Rejection:
    key = _key_in(form, thing, kind)
    name = str(key) if key else ""
    return Rejection(place, kind.value, name if name.isprintable() else quoted(name), field, reason, key)


def _key_in(form: _Form, thing: object, kind: Kind) -> NamespacedName | None:
    """The key, as far as an object that broke a rule has one."""
    try:
        data = form.data(thing)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    metadata = data.get("metadata") if isinstance(data, dict) else None
    if not isinstance(metadata, dict):
        return None
    name, namespace = metadata.get("name"), metadata.get("namespace") or _namespace_of(kind)
    if not isinstance(name, str) or not isinstance(namespace, str) or not name:
        return None
    return NamespacedName("" if kind in _CLUSTER_WIDE else namespace, name)


def _namespace_of(kind: Kind) -> str:
    return "" if kind in _CLUSTER_WIDE else _DEFAULT_NAMESPACE


def _group(version: str | None) -> str:
    """The API group of an apiVersion: empty for the core group, and for a version that is missing."""
    group, slash, _ = (version or "").partition("/")
    return group if slash else ""


def _full_kind(version: str | None, kind: str) -> str:
    full = ".".join(filter(None, (kind, _group(version))))
    return full if full.isprintable() and len(full) < 100 else quoted(full)  # noqa: PLR2004
