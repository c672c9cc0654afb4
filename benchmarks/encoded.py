"""The list of all EndpointSlices in each form in which an API server sends it, and one process that lists them by TLS.

The slices are as their controller writes them, with nodes, zones, hints and managedFields; with references to pods or
without. The uids count up: those of pods in a real cluster are random, which no compression takes away.
"""

import gc
import gzip
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from benchmarks.cluster import Size, slice_manifest
from benchmarks.faults import PAGE_SIZE
from benchmarks.sample import cpu_s, resident_mb
from kproxy.client.accept import accepted
from kproxy.client.connection import Connection
from kproxy.client.credentials.tokens import NoCredentials
from kproxy.client.target import Target, TlsSettings
from kproxy.sources.kube import ENDPOINT_SLICES
from kproxy.sources.listing import list_resource
from stubapi import protobuf
from stubapi.certificates import server_context

JSON, PROTOBUF = "application/json", "application/vnd.kubernetes.protobuf"
_NODES, _ZONES = 500, 3
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Form:
    """An encoding, and whether it is compressed."""

    content_type: str
    is_compressed: bool

    @property
    def name(self) -> str:
        return f"{'protobuf' if self.content_type == PROTOBUF else 'JSON'}{', gzip' * self.is_compressed}"


FORMS = tuple(Form(content_type, packed) for content_type in (JSON, PROTOBUF) for packed in (False, True))


class Listed(msgspec.Struct):
    """One list in a process of its own: seconds from the first request to the last fact, and MiB that it took."""

    wall_s: float
    cpu_s: float
    grown_mb: float
    objects: int


Pages = dict[str, list[bytes]]
"""The forms, by content type."""


def pages(size: Size, *, with_pods: bool) -> Pages:
    """Pages of `PAGE_SIZE` slices each; with references to pods, as in slices that a controller wrote."""
    found: Pages = {JSON: [], PROTOBUF: []}
    for begin in range(0, size.services, PAGE_SIZE):
        end = min(begin + PAGE_SIZE, size.services)
        more = {"continue": str(end)} if end < size.services else {}
        page = {
            "kind": "EndpointSliceList",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"resourceVersion": "4711", **more},
            "items": [_slice(number, size.endpoints, with_pods=with_pods) for number in range(begin, end)],
        }
        found[JSON].append(msgspec.json.encode(page))
        found[PROTOBUF].append(protobuf.body(page))
    return found


def _slice(number: int, endpoints: int, *, with_pods: bool) -> dict[str, Any]:
    made: dict[str, Any] = slice_manifest(number, endpoints)
    del made["kind"], made["apiVersion"]
    name = made["metadata"]["labels"]["kubernetes.io/service-name"]
    owner = {"apiVersion": "v1", "kind": "Service", "name": name, "uid": _uid(number), "controller": True}
    made["metadata"] |= {
        "generateName": f"{name}-",
        "uid": _uid(number + 1),
        "resourceVersion": str(100_000 + number),
        "generation": 3,
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-02T03:04:05Z"},
        "ownerReferences": [{**owner, "blockOwnerDeletion": True}],
        "managedFields": [
            {
                "manager": "kube-controller-manager",
                "operation": "Update",
                "apiVersion": "discovery.k8s.io/v1",
                "time": "2026-01-02T03:04:05Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:addressType": {}, "f:endpoints": {}, "f:metadata": _FIELDS, "f:ports": {}},
            }
        ],
    }
    made["metadata"]["labels"] |= {
        "app": name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    for at, endpoint in enumerate(made["endpoints"]):
        place = number * endpoints + at
        zone = f"zone-{place % _NODES % _ZONES}"
        endpoint |= {
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": f"node-{place % _NODES}",
            "zone": zone,
            "hints": {"forZones": [{"name": zone}]},
            **({"targetRef": _pod(name, at, place)} if with_pods else {}),
        }
    return made


def _pod(service: str, at: int, place: int) -> dict[str, str]:
    return {"kind": "Pod", "namespace": "default", "name": f"{service}-{at:05}", "uid": _uid(place)}


_FIELDS: dict[str, Any] = {
    "f:annotations": {".": {}, "f:endpoints.kubernetes.io/last-change-trigger-time": {}},
    "f:generateName": {},
    "f:labels": {
        ".": {},
        "f:app": {},
        "f:endpointslice.kubernetes.io/managed-by": {},
        "f:kubernetes.io/service-name": {},
    },
    "f:ownerReferences": {".": {}, 'k:{"uid":"6f1c2a52-7f0e-4a43-9d3b-2f4f0f1c9a11"}': {}},
}


def _uid(number: int) -> str:
    return f"6f1c2a52-7f0e-4a43-9d3b-{number:012x}"


def packed(body: bytes) -> bytes:
    """The bytes as an API server compresses them."""
    return gzip.compress(body, 1)


@contextmanager
def served(of: Pages) -> Iterator[tuple[int, bytes]]:
    """A server of these pages in its own process; its port and authority. It answers in the form that is asked for."""
    bodies = {
        form: [packed(page) if form.is_compressed else page for page in of[form.content_type]]
        for form in FORMS
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = (
            True  # as in Go's servers; otherwise a page waits for a late acknowledgement
        )

        def do_GET(self) -> None:
            form = Form(
                self.headers["Accept"].partition(",")[0], "gzip" in self.headers.get("Accept-Encoding", "")
            )
            query = parse_qs(urlsplit(self.path).query)
            page = int(query.get("continue", ["0"])[0]) // PAGE_SIZE
            body = bodies[form][page]
            self.send_response(200)
            self.send_header("Content-Type", form.content_type)
            self.send_header("Content-Length", str(len(body)))
            if form.is_compressed:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing: nobody reads it."""

    context, authority = server_context("127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        process = multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True)
        process.start()
        try:
            yield server.server_address[1], authority
        finally:
            process.kill()
            process.join()


def listed(at: tuple[int, bytes], form: Form) -> Listed:
    """Run the list in its own process, which has listed nothing before."""
    port, authority = at
    asked = [str(port), form.content_type, str(int(form.is_compressed))]
    command = [sys.executable, "-m", "benchmarks.encoded", *asked]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, input=authority, stdout=subprocess.PIPE, check=True, env=here)
    return msgspec.json.decode(done.stdout, type=Listed)


def _list(port: int, authority: bytes, form: Form) -> Listed:
    target = Target(
        f"https://127.0.0.1:{port}",
        "the benchmark",
        TlsSettings(authority),
        NoCredentials(),
        takes_compressed=form.is_compressed,
    )
    connection = Connection(target, accept=accepted(form.content_type, ""))

    def get(query: Any) -> Any:
        return connection.get(ENDPOINT_SLICES.path, query, read_timeout_s=_TIMEOUT_S)

    with get({"limit": "1"}) as answer:  # the handshake, and the imports for it, are not a part of the list
        for _ in answer.chunks():
            pass
    gc.collect()
    _, before_mb = resident_mb()
    began, cpu_before = time.perf_counter(), cpu_s()
    found, _version = list_resource(get, ENDPOINT_SLICES, PAGE_SIZE)
    took_s, used_s = time.perf_counter() - began, cpu_s() - cpu_before
    return Listed(took_s, used_s, resident_mb()[1] - before_mb, len(found.objects))


if __name__ == "__main__":
    told = _list(int(sys.argv[1]), sys.stdin.buffer.read(), Form(sys.argv[2], sys.argv[3] == "1"))
    json.dump(msgspec.to_builtins(told), sys.stdout)
