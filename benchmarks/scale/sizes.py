"""Bytes of lists and of watch events in each encoding, by encoding them."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.scale.objects import Object, Writer, bookmark
from stubapi import protobuf

_GZIP_LEVEL = 1
"""The compression level of kube-apiserver."""

_SAMPLE = 1_000
"""The number of Services and slices that are encoded; the bytes of a longer list are in proportion."""

ENDPOINTS = 10
"""Endpoints of each Service, in one slice."""

ENCODINGS = "JSON", "JSON, gzip", "protobuf", "protobuf, gzip"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes by encoding: `lists` for each Service with its slice; the other fields for one event."""

    lists: dict[str, float]
    slice_event: dict[str, int]
    large_slice_event: dict[str, int]
    service_event: dict[str, int]
    bookmark: dict[str, int]


def measured() -> Sizes:
    writer = Writer()
    services = [writer.service(number) for number in range(_SAMPLE)]
    slices = [writer.endpoint_slice(number, ENDPOINTS) for number in range(_SAMPLE)]
    return Sizes(
        lists=_both(
            _list_sizes("ServiceList", "v1", services),
            _list_sizes("EndpointSliceList", "discovery.k8s.io/v1", slices),
        ),
        slice_event=_event_sizes(slices[0]),
        large_slice_event=_event_sizes(writer.endpoint_slice(0, 100)),
        service_event=_event_sizes(services[0]),
        bookmark=_event_sizes(bookmark("EndpointSlice", "discovery.k8s.io/v1")),
    )


def _both(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {encoding: one[encoding] + other[encoding] for encoding in ENCODINGS}


def _list_sizes(kind: str, api_version: str, items: Sequence[Object]) -> dict[str, float]:
    listed = {
        "kind": kind,
        "apiVersion": api_version,
        "metadata": {"resourceVersion": "123456789"},
        "items": [
            {name: value for name, value in item.items() if name not in ("kind", "apiVersion")}
            for item in items
        ],
    }
    plain, packed = _json(listed), protobuf.body(listed)
    bodies = plain, gzip.compress(plain, _GZIP_LEVEL), packed, gzip.compress(packed, _GZIP_LEVEL)
    return {encoding: len(body) / len(items) for encoding, body in zip(ENCODINGS, bodies, strict=True)}


def _event_sizes(thing: Object) -> dict[str, int]:
    """Bytes of one event, which is never compressed."""
    plain = len(_json({"type": "MODIFIED", "object": thing})) + 1
    packed = len(protobuf.frame("MODIFIED", thing))
    return dict(zip(ENCODINGS, (plain, plain, packed, packed), strict=True))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
