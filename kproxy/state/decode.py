"""Decodes the bytes of one object into a fact, or into the field that is unusable and the reason.

One step parses and selects the fields (msgspec, `kproxy.state.wire`). The rules of each kind follow in `service_facts`,
`endpoint_facts` and `node_facts`. They are the rules of the API server's validation, so far as they matter here, so a
manifest that somebody wrote by hand must keep the rules of a cluster.
"""

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from kproxy.errors import InvalidField
from kproxy.state import wire
from kproxy.state.endpoint_facts import endpoint_slice_fact, endpoints_fact
from kproxy.state.mismatch import in_plain_words
from kproxy.state.nesting import without_deep_parts
from kproxy.state.node_facts import node_fact, pod_fact, service_cidr_fact
from kproxy.state.objects import Kind, Object
from kproxy.state.service_facts import service_fact
from kproxy.state.validate import Flaws
from kproxy.values import NamespacedName

_SHAPES: Final[dict[Kind, type]] = {
    Kind.SERVICE: wire.Service,
    Kind.ENDPOINT_SLICE: wire.EndpointSlice,
    Kind.ENDPOINTS: wire.Endpoints,
    Kind.NODE: wire.Node,
    Kind.POD: wire.Pod,
    Kind.SERVICE_CIDR: wire.ServiceCIDR,
}
_FACTS: Final[dict[Kind, Callable[[Any, Flaws], Object]]] = {
    Kind.SERVICE: service_fact,
    Kind.ENDPOINT_SLICE: endpoint_slice_fact,
    Kind.ENDPOINTS: endpoints_fact,
    Kind.NODE: node_fact,
    Kind.POD: pod_fact,
    Kind.SERVICE_CIDR: service_cidr_fact,
}
_DECODERS: Final[dict[Kind, msgspec.json.Decoder[Any]]] = {
    kind: msgspec.json.Decoder(shape) for kind, shape in _SHAPES.items()
}

CLUSTER_WIDE = frozenset({Kind.NODE, Kind.SERVICE_CIDR})

_AT = re.compile(r" - at (?P<key>`key` in )?`\$\.?(?P<path>[^`]*)`$")
_REQUIRED = re.compile(r"Object missing required field `(?P<name>[^`]*)`$")


_Shape = TypeVar("_Shape")


class _Named(msgspec.Struct):
    """Name and namespace of any type, because they are also read from objects that break every rule."""

    name: Any = ""
    namespace: Any = ""


class _Identified(msgspec.Struct):
    metadata: _Named


_IDENTITY: Final = msgspec.json.Decoder(_Identified)


def decode(
    kind: Kind, raw: bytes | msgspec.Raw, *, namespace: str = "", flaws: Flaws | None = None
) -> Object:
    """The fact in the JSON bytes of one object. InvalidField names the field that makes the whole object unusable.

    `namespace` is the namespace of an object that names none. `flaws` gains each field that is left out while the rest
    is used. Irrelevant, which is an InvalidField too, for a correct object from which no rule follows.
    """
    try:
        shape = parse_json(_DECODERS[kind], raw)
    except msgspec.DecodeError as error:
        raise _as_invalid_field(error) from None
    return fact_of(kind, shape, namespace, flaws)


def convert(kind: Kind, data: object, *, namespace: str = "", flaws: Flaws | None = None) -> Object:
    """The fact in one object that is already parsed, for example from YAML; otherwise as `decode`."""
    try:
        shape: Any = msgspec.convert(data, _SHAPES[kind])
    except msgspec.ValidationError as error:
        raise _as_invalid_field(error) from None
    return fact_of(kind, shape, namespace, flaws)


def identify(kind: Kind, thing: object, *, namespace: str = "") -> NamespacedName | None:
    """The key of an object, given as JSON bytes or parsed, even if other fields are wrong; None without a key."""
    try:
        if isinstance(thing, (bytes, msgspec.Raw)):
            named = parse_json(_IDENTITY, thing).metadata
        else:
            named = msgspec.convert(thing, _Identified).metadata
    except msgspec.DecodeError:
        return None
    inside = namespace if named.namespace in (None, "") else named.namespace
    where = "" if kind in CLUSTER_WIDE else inside
    is_key = isinstance(where, str) and isinstance(named.name, str) and named.name
    return NamespacedName(where, named.name) if is_key else None


def parse_json(decoder: msgspec.json.Decoder[_Shape], raw: bytes | msgspec.Raw) -> _Shape:
    """The JSON as its decoder's type, whatever its depth. Every fault is a msgspec.DecodeError.

    If the parser gives up, parts that are deeper than all used fields are left out.
    """
    try:
        try:
            return decoder.decode(raw)
        except RecursionError:
            return decoder.decode(without_deep_parts(bytes(raw)))
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"the text is not UTF-8: {error.reason}") from None


def fact_of(kind: Kind, shape: Any, namespace: str = "", flaws: Flaws | None = None) -> Object:
    """The fact in the struct of `kproxy.state.wire` for this kind; otherwise as `decode`."""
    if not shape.metadata.namespace:
        shape.metadata.namespace = namespace
    return _FACTS[kind](shape, [] if flaws is None else flaws)


def _as_invalid_field(error: msgspec.DecodeError) -> InvalidField:
    """The field and the reason in a sentence of msgspec, such as `... - at `$.spec.ports[0].port``."""
    text = str(error)
    found = _AT.search(text)
    path, reason = (found["path"], text[: found.start()]) if found else ("", text)
    if found and found["key"]:
        reason = f"{reason} as a key"
    missing = _REQUIRED.match(reason)
    if missing:
        return InvalidField(f"{path}.{missing['name']}".lstrip("."), "is missing")
    return InvalidField(path, in_plain_words(reason).replace("`", ""))
