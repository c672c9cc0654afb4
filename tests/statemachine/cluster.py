"""A small cluster as a value: what steps change, what the API server serves, what rules are judged by."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from kproxy.state.decode import convert
from kproxy.state.events import Changed
from kproxy.state.objects import Kind
from kproxy.state.store import Store
from kproxy.values import Address, Family, Protocol
from statemachine.flaws import Flaw
from stubapi.manifests import service_cidr
from stubapi.storage import Object

if TYPE_CHECKING:
    from kproxy.state.validate import Flaws

NODE = "node-1"
OTHER_NODE = "node-2"
SLOTS = range(6)
TARGET_PORT = 8080
ZONES = ("zone-a", "zone-b", "")

NODE_ADDRESSES = ("10.199.0.2", "fd00:199::2")
_HOST_NETWORK = 6
"""The number of the endpoint that is no pod of a network of its own but the node itself."""

_SOURCE_RANGES = ("198.51.100.0/24", "2001:db8:51::/48")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A Service, but for its name. Its addresses and ports follow from `slot`; no two Services share one."""

    slot: int
    families: tuple[Family, ...] = (Family.IPV4,)
    protocol: Protocol = Protocol.TCP
    node_port: bool = False
    external_ip: bool = False
    vip: bool = False
    source_ranges: bool = False
    internal_local: bool = False
    external_local: bool = False
    affinity: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """An endpoint. Pods of even number are on this node, those of odd number on the other."""

    number: int
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zone_hint: str = ""

    @property
    def node(self) -> str:
        return OTHER_NODE if self.number % 2 else NODE

    def address(self, family: Family) -> str:
        is_ipv4 = family is Family.IPV4
        if self.number == _HOST_NETWORK:
            return NODE_ADDRESSES[not is_ipv4]
        subnet = 1 + self.number % 2
        return f"10.128.{subnet}.{10 + self.number}" if is_ipv4 else f"fd00:10:128:{subnet}::{self.number}"


class SliceKey(NamedTuple):
    """Which slice: a Service may have several of a family, told apart by a letter."""

    service: str
    family: Family
    letter: str

    @property
    def name(self) -> str:
        return f"{self.service}-{str(self.family).lower()}-{self.letter}"


ObjectKey = tuple[Kind, str]
"""Kind and name; those that have a namespace stand in one."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """This node, as its object says; the addresses on its links stay."""

    zone: str = "zone-a"
    pod_cidrs: tuple[str, ...] = ("10.128.1.0/24", "fd00:10:128:1::/64")
    addresses: tuple[str, ...] = NODE_ADDRESSES
    exists: bool = True


NODE_KEY = (Kind.NODE, NODE)

Networks = tuple[str, ...]
"""The name of a ServiceCIDR."""


@dataclass(frozen=True)
class Cluster:
    """All objects of a moment, as a right proxy uses them, and what is odd about them.

    `flaws` are those of objects that are used in spite of them; `refused` are objects that cannot be used, whose older
    version is among the others if there is one. Each of the `with_` and `without_` methods changes one object at most.
    """

    services: Mapping[str, Shape] = field(default_factory=dict)
    slices: Mapping[SliceKey, tuple[Pod, ...]] = field(default_factory=dict)
    node: NodeFacts = NodeFacts()
    service_cidrs: Mapping[str, Networks] = field(default_factory=dict)
    flaws: Mapping[ObjectKey, Flaw] = field(default_factory=dict)
    refused: Mapping[ObjectKey, tuple[Flaw, Object]] = field(default_factory=dict)

    def with_service(self, name: str, shape: Shape, flaw: Flaw | None = None) -> "Cluster":
        """The slot is the next free one if another Service has it, as the API server would not share it."""
        taken = {other.slot for at, other in self.services.items() if at != name}
        wanted = [*SLOTS[shape.slot :], *SLOTS[: shape.slot]]
        slot = next(slot for slot in wanted if slot not in taken)
        placed = replace(shape, slot=slot)
        if flaw and flaw.keeps_older:
            return self._refusing((Kind.SERVICE, name), flaw, service_manifest(name, placed))
        return self._having((Kind.SERVICE, name), flaw, services={**self.services, name: placed})

    def without_service(self, name: str) -> "Cluster":
        services = {at: shape for at, shape in self.services.items() if at != name}
        return self._having((Kind.SERVICE, name), None, services=services)

    def with_slice(self, key: SliceKey, pods: tuple[Pod, ...], flaw: Flaw | None = None) -> "Cluster":
        at = (Kind.ENDPOINT_SLICE, key.name)
        if flaw and flaw.keeps_older:
            return self._refusing(at, flaw, slice_manifest(key, pods))
        return self._having(at, flaw, slices={**self.slices, key: pods})

    def without_slice(self, key: SliceKey) -> "Cluster":
        slices = {at: pods for at, pods in self.slices.items() if at != key}
        return self._having((Kind.ENDPOINT_SLICE, key.name), None, slices=slices)

    def with_node(self, node: NodeFacts, flaw: Flaw | None = None) -> "Cluster":
        if flaw and flaw.keeps_older:
            return self._refusing(NODE_KEY, flaw, node_manifest(node))
        return self._having(NODE_KEY, flaw, node=node)

    def with_service_cidr(self, name: str, networks: Networks, flaw: Flaw | None = None) -> "Cluster":
        at = (Kind.SERVICE_CIDR, name)
        if flaw and flaw.keeps_older:
            return self._refusing(at, flaw, service_cidr(name, *networks))
        return self._having(at, flaw, service_cidrs={**self.service_cidrs, name: networks})

    def without_service_cidr(self, name: str) -> "Cluster":
        kept = {at: networks for at, networks in self.service_cidrs.items() if at != name}
        return self._having((Kind.SERVICE_CIDR, name), None, service_cidrs=kept)

    @property
    def as_newly_read(self) -> "Cluster":
        """As an agent uses it that knows no older version of anything."""
        newest = self
        for (kind, name), refusal in self.refused.items():
            match kind:
                case Kind.SERVICE:
                    newest = newest.without_service(name)
                case Kind.ENDPOINT_SLICE:
                    for key in [key for key in self.slices if key.name == name]:
                        newest = newest.without_slice(key)
                case Kind.SERVICE_CIDR:
                    newest = newest.without_service_cidr(name)
                case _:
                    newest = newest.with_node(replace(self.node, exists=False))
            newest = replace(newest, refused={**newest.refused, (kind, name): refusal})
        return newest

    @cached_property
    def manifests(self) -> dict[ObjectKey, Object]:
        """The objects in the API server, by kind and name."""
        return {
            **{
                key: self.flaws[key].served(manifest) if key in self.flaws else manifest
                for key, manifest in self._plain_manifests()
            },
            **{key: flaw.served(manifest) for key, (flaw, manifest) in self.refused.items()},
        }

    @cached_property
    def store(self) -> Store:
        """The facts that a correct proxy uses, read from the objects without their flaws."""
        store = Store()
        for key, manifest in self._plain_manifests():
            used = self.flaws[key].used(manifest) if key in self.flaws else manifest
            if used is not None:
                flaws: Flaws = []
                store.apply(Changed(convert(key[0], used, flaws=flaws)))
                assert [] == flaws
        return store

    def _plain_manifests(self) -> Iterator[tuple[ObjectKey, Object]]:
        if self.node.exists:
            yield NODE_KEY, node_manifest(self.node)
        for name, networks in self.service_cidrs.items():
            yield (Kind.SERVICE_CIDR, name), service_cidr(name, *networks)
        for name, shape in self.services.items():
            yield (Kind.SERVICE, name), service_manifest(name, shape)
        for key, pods in self.slices.items():
            yield (Kind.ENDPOINT_SLICE, key.name), slice_manifest(key, pods)

    def _having(self, key: ObjectKey, flaw: Flaw | None, **content: Any) -> "Cluster":  # fields of ours
        """With this content, and this as all that is odd about the object."""
        flaws = {at: other for at, other in self.flaws.items() if at != key}
        refused = {at: other for at, other in self.refused.items() if at != key}
        return replace(self, flaws={**flaws, key: flaw} if flaw else flaws, refused=refused, **content)

    def _refusing(self, key: ObjectKey, flaw: Flaw, manifest: Object) -> "Cluster":
        return replace(self, refused={**self.refused, key: (flaw, manifest)})


def addresses_of(slot: int, family: Family) -> tuple[Address, Address, Address]:
    """The cluster IP, the external IP and the load balancer's VIP of a slot."""
    if family is Family.IPV4:
        ours = f"10.96.0.{10 + slot}", f"203.0.113.{10 + slot}", f"192.0.2.{10 + slot}"
    else:
        ours = f"fd00:10:96::{10 + slot}", f"2001:db8:ee::{10 + slot}", f"2001:db8:1b::{10 + slot}"
    cluster_ip, external_ip, vip = map(Address, ours)
    return cluster_ip, external_ip, vip


def node_port_of(slot: int) -> int:
    return 30080 + slot


def service_manifest(name: str, shape: Shape) -> Object:
    addresses = [addresses_of(shape.slot, family) for family in shape.families]
    node_port = {"nodePort": node_port_of(shape.slot)} if shape.node_port or shape.vip else {}
    kind = "LoadBalancer" if shape.vip else "NodePort" if shape.node_port else "ClusterIP"
    local = {True: "Local", False: "Cluster"}
    spec = {
        "type": kind,
        "clusterIP": addresses[0][0],
        "clusterIPs": [cluster_ip for cluster_ip, _, _ in addresses],
        "ipFamilies": list(map(str, shape.families)),
        "ports": [{"protocol": shape.protocol, "port": 80, "targetPort": TARGET_PORT, **node_port}],
        "sessionAffinity": "ClientIP" if shape.affinity else "None",
        "internalTrafficPolicy": local[shape.internal_local],
        "externalIPs": [external_ip for _, external_ip, _ in addresses] if shape.external_ip else [],
    }
    if kind != "ClusterIP" or shape.external_ip:
        spec["externalTrafficPolicy"] = local[shape.external_local]
    if shape.vip and shape.source_ranges:
        spec["loadBalancerSourceRanges"] = list(_SOURCE_RANGES)
    ingress = [{"ip": vip, "ipMode": "VIP"} for _, _, vip in addresses] if shape.vip else []
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
        "status": {"loadBalancer": {"ingress": ingress}},
    }


def slice_manifest(key: SliceKey, pods: tuple[Pod, ...]) -> Object:
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": key.name,
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": key.service},
        },
        "addressType": str(key.family),
        "endpoints": [_endpoint(pod, key.family) for pod in pods],
        "ports": [{"name": "", "protocol": protocol, "port": TARGET_PORT} for protocol in Protocol],
    }


def _endpoint(pod: Pod, family: Family) -> Object:
    hints = {"hints": {"forZones": [{"name": pod.zone_hint}]}} if pod.zone_hint else {}
    return {
        "addresses": [pod.address(family)],
        "conditions": {"ready": pod.ready, "serving": pod.serving, "terminating": pod.terminating},
        "nodeName": pod.node,
        **hints,
    }


def node_manifest(facts: NodeFacts) -> Object:
    zone = {"topology.kubernetes.io/zone": facts.zone} if facts.zone else {}
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE, **zone}},
        "spec": {"podCIDRs": list(facts.pod_cidrs)},
        "status": {"addresses": [{"type": "InternalIP", "address": address} for address in facts.addresses]},
    }
