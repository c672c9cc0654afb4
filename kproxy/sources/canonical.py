"""Checks whether an object in JSON is written as an API server writes it.

The check takes a tenth of the time that finding and naming the differences takes.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from kproxy.sources.known_fields import FIELDS, Shape
from kproxy.state.endpoint_facts import SERVICE_NAME_LABEL
from kproxy.state.objects import Kind

_LABEL = SERVICE_NAME_LABEL.encode()
_NULL = b"null"


def is_canonical(kind: Kind, raw: bytes | msgspec.Raw) -> bool:
    """Whether all fields are known to Kubernetes, and no field is missing that has a default or names the Service."""
    try:
        found = _decoder(kind).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return kind is not Kind.ENDPOINT_SLICE or (_has_label(found) and all(map(_has_name, found.ports or ())))


def _has_label(piece: Any) -> bool:
    labels = piece.metadata.labels if piece.metadata else None
    return labels is not None and _LABEL in bytes(labels)


def _has_name(port: Any) -> bool:
    return port is not None and port.name is not None and bytes(port.name) != _NULL


@cache
def _decoder(kind: Kind) -> msgspec.json.Decoder[Any]:
    """A decoder that leaves the innermost values undecoded. ValidationError for an unknown field."""
    return msgspec.json.Decoder(_struct(FIELDS[kind], kind))


def _struct(shape: Shape, name: str) -> type[msgspec.Struct]:
    fields = [(field, _type(inner, f"{name}_{field}"), None) for field, inner in shape.items()]
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True)


def _type(inner: Any, name: str) -> Any:
    if inner is None:
        return msgspec.Raw
    if isinstance(inner, Mapping):
        return _struct(inner, name) | None
    item: Any = _struct(inner[0], name) | None
    return list[item] | None
