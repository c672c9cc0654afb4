"""The bodies of an API server in protobuf, made of what the stub otherwise says in JSON."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from stubapi.messages import ALWAYS, message_of

MAGIC = b"k8s\0"
_STRING = 1
"""The `type` of an IntOrString that is text."""


_IN_THE_WRAPPING = ("kind", "apiVersion")


class UnencodableError(Exception):
    """A value that has no place in the message: no API server stores it."""


def body(manifest: Mapping[str, Any]) -> bytes:
    """A whole answer: an object, a list or a Status."""
    unknown = message_of("Unknown")
    unknown.typeMeta.apiVersion = manifest["apiVersion"]
    unknown.typeMeta.kind = manifest["kind"]
    unknown.raw = encode(manifest)
    unknown.contentEncoding = unknown.contentType = ""
    return MAGIC + _bytes(unknown)


def frame(kind: str, manifest: Mapping[str, Any]) -> bytes:
    """A watch event, behind its length."""
    event = message_of("WatchEvent")
    event.type = kind
    event.object.raw = body(manifest)
    return framed(_bytes(event))


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(4) + message


def encode(manifest: Mapping[str, Any]) -> bytes:
    """An object or list alone. UnencodableError where a value is of another type than its field."""
    message = message_of(manifest["kind"])
    try:
        _fill(message, manifest)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UnencodableError(str(error)) from error
    return _bytes(message)


def _bytes(message: Any) -> bytes:
    made: bytes = message.SerializeToString(deterministic=True)
    return made


def _fill(message: Any, value: Any) -> None:
    match message.DESCRIPTOR.name:
        case "Time":
            value = {"seconds": int(datetime.fromisoformat(value).timestamp())} if value else {}
            message.seconds = value.get("seconds", 0)
            message.nanos = 0
        case "FieldsV1":
            message.Raw = json.dumps(value, separators=(",", ":")).encode()
        case "IntOrString":
            is_text = isinstance(value, str)
            message.type = _STRING if is_text else 0
            message.intVal, message.strVal = (0, value) if is_text else (value, "")
        case _:
            _fill_fields(message, value)


def _fill_fields(message: Any, fields: Mapping[str, Any]) -> None:
    known = message.DESCRIPTOR.fields_by_name
    for name, value in fields.items():
        if value is not None and (name in known or name not in _IN_THE_WRAPPING):
            _set(message, known[name], value)
    for name in ALWAYS[message.DESCRIPTOR.name]:
        if not message.HasField(name):
            _set_empty(message, known[name])


def _set(message: Any, field: Any, value: Any) -> None:
    name, inner = field.name, field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        getattr(message, name).update({key: text or "" for key, text in value.items()})
    elif field.is_repeated and inner is not None:
        for each in value:
            _fill(getattr(message, name).add(), each)
    elif field.is_repeated:
        getattr(message, name).extend(value)
    elif inner is not None:
        getattr(message, name).SetInParent()
        _fill(getattr(message, name), value)
    else:
        setattr(message, name, value)


def _set_empty(message: Any, field: Any) -> None:
    inner = field.message_type
    if inner is None:
        setattr(message, field.name, field.default_value)
        return
    made = getattr(message, field.name)
    made.SetInParent()
    if inner.name == "IntOrString":
        _fill(made, 0)
    elif inner.name != "Time":  # a zero time is an empty message
        _fill_fields(made, {})
