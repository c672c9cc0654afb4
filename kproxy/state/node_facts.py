"""The rules of a Node, of a Pod and of a ServiceCIDR."""

from kproxy.state import validate, wire
from kproxy.state.metadata import key_of, sorted_pairs
from kproxy.state.objects import Node, Pod, ServiceCIDR
from kproxy.values import Address, NamespacedName, Network

ZONE_LABEL = "topology.kubernetes.io/zone"

_ADDRESS_TYPES = ("InternalIP", "ExternalIP")


def node_fact(shape: wire.Node) -> Node:
    """InvalidField where no rule could carry what the Node says."""
    metadata, spec = shape.metadata, shape.spec or wire.NodeSpec()
    zone = (metadata.labels or {}).get(ZONE_LABEL) or ""
    return Node(
        key=NamespacedName("", validate.dns_subdomain(metadata.name, "metadata.name")),
        resource_version=metadata.resource_version or "",
        addresses=_node_addresses(shape.status),
        pod_cidrs=_pod_cidrs(spec),
        zone=validate.label_value(zone, f"metadata.labels[{ZONE_LABEL}]"),
        being_deleted=metadata.deletion_timestamp is not None,
        taints=tuple(taint.key for taint in spec.taints or ()),
    )


def _node_addresses(status: wire.NodeStatus | None) -> tuple[Address, ...]:
    listed = (status.addresses if status else None) or []
    found = validate.each(listed, "status.addresses", _node_address)
    return tuple(
        address
        for wanted in _ADDRESS_TYPES
        for shape, address in zip(listed, found, strict=True)
        if address is not None and shape.type == wanted
    )


def _node_address(shape: wire.NodeAddress) -> Address | None:
    """None for host names."""
    return validate.address(shape.address, "address") if shape.type in _ADDRESS_TYPES else None


def _pod_cidrs(spec: wire.NodeSpec) -> tuple[Network, ...]:
    if not spec.pod_cidrs:
        return (validate.network(spec.pod_cidr, "spec.podCIDR"),) if spec.pod_cidr else ()
    return validate.each(spec.pod_cidrs, "spec.podCIDRs", validate.network)


def pod_fact(shape: wire.Pod) -> Pod:
    """InvalidField where the Pod's names or addresses are none."""
    status = shape.status or wire.PodStatus()
    node = shape.spec.node_name if shape.spec else None
    addresses = validate.each(status.pod_ips, "status.podIPs", _pod_ip)
    if not addresses and status.pod_ip:
        addresses = (validate.address(status.pod_ip, "status.podIP"),)
    return Pod(
        key=key_of(shape.metadata, validate.dns_subdomain),
        resource_version=shape.metadata.resource_version or "",
        addresses=addresses,
        node=validate.dns_subdomain(node, "spec.nodeName") if node else "",
        labels=sorted_pairs(shape.metadata.labels),
    )


def service_cidr_fact(shape: wire.ServiceCIDR) -> ServiceCIDR:
    """InvalidField where one of the networks is none."""
    cidrs = shape.spec.cidrs if shape.spec else None
    return ServiceCIDR(
        key=NamespacedName("", validate.dns_subdomain(shape.metadata.name, "metadata.name")),
        resource_version=shape.metadata.resource_version or "",
        networks=validate.each(cidrs, "spec.cidrs", validate.network),
    )


def _pod_ip(shape: wire.PodIP) -> Address:
    return validate.address(shape.ip, "ip")
