"""A cluster of any size, the same at every run: Services of one port, each with the same number of endpoints."""

from collections.abc import Iterator
from typing import NamedTuple, cast

import msgspec

from kproxy.model.node import NodeView, view_node
from kproxy.model.settings import Settings
from kproxy.state.decode import decode
from kproxy.state.events import Changed, Deleted
from kproxy.state.objects import EndpointSlice, Kind, Service
from kproxy.state.store import Store
from kproxy.values import Address, Family, NamespacedName
from stubapi import manifests

CIDR = "10.128.0.0/9"
"""The network of all endpoints."""

_NODE = "node-1"
_NODE_ADDRESSES = (Address("127.0.0.1"), Address("10.199.0.2"))


class Size(NamedTuple):
    services: int
    endpoints: int

    def __str__(self) -> str:
        return f"{self.services:,} x {self.endpoints}"


class Entry(NamedTuple):
    """One Service with its endpoints, as the decoders return them."""

    service: Service
    slice: EndpointSlice

    @property
    def arrives(self) -> tuple[Changed, Changed]:
        return Changed(self.service), Changed(self.slice)

    @property
    def leaves(self) -> tuple[Deleted, Deleted]:
        return Deleted(Kind.SERVICE, self.service.key), Deleted(Kind.ENDPOINT_SLICE, self.slice.key)


def service_manifest(number: int) -> dict[str, object]:
    manifest = manifests.service(_name(number))
    address = cluster_ip(number)
    manifest["spec"] |= {"clusterIP": address, "clusterIPs": [address]}
    return manifest


def slice_manifest(
    number: int, endpoints: int, *, generation: int = 0, replaced: int = 1
) -> dict[str, object]:
    """The slice of a Service; its first `replaced` endpoints are of this generation."""
    addresses = (_address(number, at, generation if at < replaced else 0) for at in range(endpoints))
    return manifests.endpoint_slice(f"{_name(number)}-a", _name(number), *addresses)


def entry(number: int, endpoints: int, *, generation: int = 0, replaced: int = 1) -> Entry:
    piece = slice_manifest(number, endpoints, generation=generation, replaced=replaced)
    return Entry(
        cast("Service", decode(Kind.SERVICE, msgspec.json.encode(service_manifest(number)))),
        cast("EndpointSlice", decode(Kind.ENDPOINT_SLICE, msgspec.json.encode(piece))),
    )


def entries(size: Size) -> Iterator[Entry]:
    return (entry(number, size.endpoints) for number in range(size.services))


def filled_store(size: Size) -> Store:
    store = Store()
    for each in entries(size):
        for event in each.arrives:
            store.apply(event)
    return store


def node_view(settings: Settings) -> NodeView:
    """The node that the rules are for; it has none of the endpoints."""
    return view_node(_NODE, None, _NODE_ADDRESSES, settings, Family.IPV4)


def service_key(number: int) -> NamespacedName:
    return NamespacedName("default", _name(number))


def cluster_ip(number: int) -> str:
    return f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _name(number: int) -> str:
    """In the order of names, the last Service is the one with the highest number."""
    return f"s{number:06}"


def _address(number: int, at: int, generation: int) -> str:
    """No two endpoints of a Service are ever the same, for up to 100 endpoints and 8,000 generations."""
    if generation == 0:
        return f"10.{129 + at}.{number >> 8 & 255}.{number & 255}"
    place = generation * 128 + at
    return f"10.{240 + (place >> 16)}.{place >> 8 & 255}.{place & 255}"
