"""The bodies and framing of the stub's answers."""

import gzip
import http
from typing import Any

import msgspec

from stubapi.served import Served
from stubapi.storage import ListPage, Object

_REASONS = {410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}
_SHORTEST_COMPRESSED_BYTES = 128 << 10
_LEVEL = 1
"""As k8s.io/apiserver has them (pkg/endpoints/handlers/responsewriters)."""

_BUFFERED_BYTES = 0x800
"""Up to this size the API server's HTTP library sends a Content-Length, beyond it chunks of this size."""


def encode(value: object) -> bytes:
    """A line of JSON, as compact as the API server's."""
    return msgspec.json.encode(value) + b"\n"


def status(
    code: int, message: str, reason: str = "", details: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A Status that refuses."""
    extra = {} if details is None else {"details": details}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason or _REASONS.get(code) or http.HTTPStatus(code).phrase.replace(" ", ""),
        **extra,
        "code": code,
    }


def page(served: Served, found: ListPage, *, count_remaining: bool) -> dict[str, Any]:
    """A list; the server knows how many items remain only where no selector narrows it."""
    metadata: dict[str, Any] = {"resourceVersion": str(found.resource_version)}
    if found.continue_token:
        metadata["continue"] = found.continue_token
        if count_remaining:
            metadata["remainingItemCount"] = found.remaining
    items = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in found.items]
    head = {"kind": f"{served.kind}List", "apiVersion": served.api_version, "metadata": metadata}
    return {**head, "items": items}


def event(served: Served, kind: str, manifest: Object) -> dict[str, Any]:
    return {"type": kind, "object": {**manifest, "kind": served.kind, "apiVersion": served.api_version}}


def bookmark(served: Served, resource_version: int, *, ends_list: bool = False) -> dict[str, Any]:
    head = {"kind": served.kind, "apiVersion": served.api_version}
    metadata: dict[str, Any] = {"resourceVersion": str(resource_version)}
    if ends_list:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return {"type": "BOOKMARK", "object": {**head, "metadata": metadata, **served.blank}}


def error(body: dict[str, Any]) -> dict[str, Any]:
    return {"type": "ERROR", "object": body}


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; an empty one ends it."""
    return f"{len(data):x}".encode() + b"\r\n" + data + b"\r\n"


def compressed(body: bytes, accept_encoding: str) -> tuple[dict[str, str], bytes]:
    """The headers that tell of it, and the body; short ones are not compressed."""
    if len(body) < _SHORTEST_COMPRESSED_BYTES or "gzip" not in accept_encoding:
        return {}, body
    return {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}, gzip.compress(body, _LEVEL)


def framed(body: bytes) -> tuple[str, str, bytes]:
    """The header that tells how the body is framed, and the framed body."""
    if len(body) <= _BUFFERED_BYTES:
        return "Content-Length", str(len(body)), body
    pieces = (body[at : at + _BUFFERED_BYTES] for at in range(0, len(body), _BUFFERED_BYTES))
    return "Transfer-Encoding", "chunked", b"".join(map(chunk, pieces)) + chunk(b"")
