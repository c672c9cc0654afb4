"""The rules of a Node, of a Pod and of a ServiceCIDR."""

from functools import partial

from kproxy.state import validate, wire
from kproxy.state.metadata import key_of, sorted_pairs
from kproxy.state.objects import Node, Pod, ServiceCIDR
from kproxy.state.validate import Flaws
from kproxy.values import Address, NamespacedName, Network

ZONE_LABEL = "topology.kubernetes.io/zone"

_ADDRESS_TYPES = ("InternalIP", "ExternalIP")


def node_fact(shape: wire.Node, flaws: Flaws) -> Node:
    """The fact of a Node. InvalidField for an unusable name; `flaws` gains each other field that is left out."""
    metadata, spec = shape.metadata, shape.spec or wire.NodeSpec()
    zone = (metadata.labels or {}).get(ZONE_LABEL) or ""
    return Node(
        key=NamespacedName("", validate.dns_subdomain(metadata.name, "metadata.name")),
        resource_version=metadata.resource_version or "",
        addresses=_node_addresses(shape.status, flaws),
        pod_cidrs=_pod_cidrs(spec, flaws),
        zone=validate.optional(
            zone, partial(validate.label_value, field=f"metadata.labels[{ZONE_LABEL}]"), "", flaws
        ),
        being_deleted=metadata.deletion_timestamp is not None,
        taints=tuple(taint.key for taint in spec.taints or () if taint and taint.key),
    )


def _node_addresses(status: wire.NodeStatus | None, flaws: Flaws) -> tuple[Address, ...]:
    """The IP addresses. Host names are ignored, and are not flaws."""
    listed = (status.addresses if status else None) or []
    found = validate.usable(listed, "status.addresses", _node_address, flaws)
    return tuple(
        address
        for wanted in _ADDRESS_TYPES
        for shape, address in found
        if address is not None and shape.type == wanted
    )


def _node_address(shape: wire.NodeAddress) -> tuple[wire.NodeAddress, Address | None]:
    return shape, validate.address(shape.address or "", "address") if shape.type in _ADDRESS_TYPES else None


def _pod_cidrs(spec: wire.NodeSpec, flaws: Flaws) -> tuple[Network, ...]:
    if spec.pod_cidrs:
        return validate.usable(spec.pod_cidrs, "spec.podCIDRs", validate.network, flaws)
    alone = validate.optional(spec.pod_cidr, _pod_cidr, None, flaws)
    return (alone,) if alone else ()


def _pod_cidr(text: str | None) -> Network | None:
    return validate.network(text, "spec.podCIDR") if text else None


def pod_fact(shape: wire.Pod, flaws: Flaws) -> Pod:
    """The fact of a Pod. InvalidField for an unusable name; `flaws` gains each other field that is left out."""
    status = shape.status or wire.PodStatus()
    node = shape.spec.node_name if shape.spec else None
    alone = [wire.PodIP(status.pod_ip)] if status.pod_ip else []
    field = "status.podIPs" if status.pod_ips else "status.podIP"
    addresses = validate.usable(status.pod_ips or alone, field, _pod_ip, flaws)
    return Pod(
        key=key_of(shape.metadata, validate.dns_subdomain),
        resource_version=shape.metadata.resource_version or "",
        addresses=addresses,
        node=validate.optional(node, _pod_node, "", flaws),
        labels=sorted_pairs(shape.metadata.labels),
    )


def service_cidr_fact(shape: wire.ServiceCIDR, flaws: Flaws) -> ServiceCIDR:
    """The fact of a ServiceCIDR. InvalidField for an unusable name; `flaws` gains each network that is left out."""
    cidrs = shape.spec.cidrs if shape.spec else None
    return ServiceCIDR(
        key=NamespacedName("", validate.dns_subdomain(shape.metadata.name, "metadata.name")),
        resource_version=shape.metadata.resource_version or "",
        networks=validate.usable(cidrs, "spec.cidrs", validate.network, flaws),
    )


def _pod_node(name: str | None) -> str:
    return validate.dns_subdomain(name, "spec.nodeName") if name else ""


def _pod_ip(shape: wire.PodIP) -> Address:
    return validate.address(shape.ip, "ip")
