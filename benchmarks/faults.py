"""Objects that break one rule each, as a cluster may hold them, and lists that contain them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from benchmarks.cluster import Size, service_manifest, slice_manifest
from kproxy.state.objects import Kind
from stubapi import manifests

Manifest = dict[str, Any]
Lists = dict[Kind, list[bytes]]
"""For each kind, the pages of its list as the bytes of an API server's answers."""

PAGE_SIZE = 500
_LEVELS = 1_000
_DEEP = msgspec.Raw(b'{"f:a":' * _LEVELS + b"{}" + b"}" * _LEVELS)
_FILLED_IN = {
    "uid": "6f1c2a52-7f0e-4a43-9d3b-2f4f0f1c9a11",
    "resourceVersion": "4711",
    "creationTimestamp": "2026-01-02T03:04:05Z",
}
_FIELDS: Manifest = {"f:spec": {"f:ports": {".": {}, 'k:{"port":80}': {".": {}, "f:port": {}}}, "f:type": {}}}


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to be bad. `replaces`: the object is used without its bad part, so it takes the place of a good one."""

    name: str
    kind: Kind
    spoil: Callable[[Manifest], object]
    replaces: bool = False


def _nest(thing: Manifest) -> None:
    thing["metadata"]["managedFields"].append({"manager": "tenant", "fieldsV1": _DEEP})


FAULTS = (
    Fault("nested 1,000 levels", Kind.SERVICE, _nest, replaces=True),
    Fault("nested 1,000 levels", Kind.ENDPOINT_SLICE, _nest, replaces=True),
    Fault("ports are text", Kind.SERVICE, lambda thing: thing["spec"].update(ports="http")),
    Fault("endpoints are a number", Kind.ENDPOINT_SLICE, lambda thing: thing.update(endpoints=7)),
    Fault("port 70000", Kind.SERVICE, lambda thing: thing["spec"]["ports"][0].update(port=70_000)),
    Fault(
        "port 70000",
        Kind.ENDPOINT_SLICE,
        lambda thing: thing["ports"].append({"name": "more", "port": 70_000}),
        replaces=True,
    ),
    Fault("FQDN", Kind.ENDPOINT_SLICE, lambda thing: thing.update(addressType="FQDN")),
    Fault("no label", Kind.ENDPOINT_SLICE, lambda thing: thing["metadata"].update(labels={})),
    Fault(
        "external IP",
        Kind.SERVICE,
        lambda thing: thing["spec"].update(externalIPs=["192.0.2.300"]),
        replaces=True,
    ),
    Fault(
        "endpoint",
        Kind.ENDPOINT_SLICE,
        lambda thing: thing["endpoints"].append({"addresses": ["10.129.0.x"]}),
        replaces=True,
    ),
    Fault(
        "source range",
        Kind.SERVICE,
        lambda thing: thing["spec"].update(loadBalancerSourceRanges=["anywhere"]),
        replaces=True,
    ),
)
"""A list has the same number of each kind."""


def good_lists(size: Size, node: str) -> Lists:
    return _lists(size, node, {})


def lists_with_bad(size: Size, bad: int, node: str) -> Lists:
    """The good objects and `bad` bad ones: some are added to the good ones, others replace good ones."""
    faults = {number: FAULTS[number % len(FAULTS)] for number in range(bad)}
    return _lists(size, node, faults)


def _lists(size: Size, node: str, faults: dict[int, Fault]) -> Lists:
    """A Node and a ServiceCIDR have one bad item if anything is bad."""
    spoilt_node, spoilt_cidr = manifests.node(node), manifests.service_cidr("kubernetes", "10.96.0.0/11")
    if faults:
        spoilt_node["status"]["addresses"].append({"type": "InternalIP", "address": "node-1.example"})
        spoilt_cidr["spec"]["cidrs"].append("10.96.0.0/99")
    return {
        Kind.SERVICE: _pages(_objects(Kind.SERVICE, size, faults)),
        Kind.ENDPOINT_SLICE: _pages(_objects(Kind.ENDPOINT_SLICE, size, faults)),
        Kind.NODE: _pages([spoilt_node]),
        Kind.SERVICE_CIDR: _pages([spoilt_cidr]),
    }


def _objects(kind: Kind, size: Size, faults: dict[int, Fault]) -> list[Manifest]:
    found = []
    for number in range(size.services):
        good = _made(kind, number, size.endpoints)
        fault = faults.get(number)
        if fault and fault.kind is kind:
            bad = good if fault.replaces else _made(kind, number, size.endpoints, beside=True)
            fault.spoil(bad)
            found += [bad] if fault.replaces else [good, bad]
        else:
            found.append(good)
    return found


def _made(kind: Kind, number: int, endpoints: int, *, beside: bool = False) -> Manifest:
    made: Manifest = service_manifest(number) if kind is Kind.SERVICE else slice_manifest(number, endpoints)
    made["metadata"] |= _FILLED_IN | {"managedFields": [{"manager": "controller", "fieldsV1": _FIELDS}]}
    if beside:
        made["metadata"]["name"] += "-bad"
    return made


def _pages(objects: Sequence[Manifest]) -> list[bytes]:
    pages = range(0, max(len(objects), 1), PAGE_SIZE)
    return [_page(objects[at : at + PAGE_SIZE], at + PAGE_SIZE if at != pages[-1] else 0) for at in pages]


def _page(objects: Iterable[Manifest], goes_on_at: int) -> bytes:
    metadata = {"resourceVersion": "4711", "continue": str(goes_on_at or "")}
    return msgspec.json.encode({"metadata": metadata, "items": list(objects)})
