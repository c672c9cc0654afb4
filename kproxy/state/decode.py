"""From the bytes of one object to a fact, or to the field that cannot be used and why.

Parsing and selecting fields is one step (msgspec, `kproxy.state.wire`); the rules of each kind follow
here. The rules are those of the API server's validation, as far as they matter to a rule, so that
a hand-written manifest is held to what a cluster would accept.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from kproxy.errors import InvalidField
from kproxy.state import validate, wire
from kproxy.state.objects import (
    Endpoint,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    Kind,
    Node,
    Object,
    Pod,
    Service,
    ServicePort,
    ServiceType,
)
from kproxy.values import Address, Family, NamespacedName, Protocol, family_of

HEADLESS_LABEL = "service.kubernetes.io/headless"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
SERVICE_NAME_LABEL = "kubernetes.io/service-name"
ZONE_LABEL = "topology.kubernetes.io/zone"

_NO_CLUSTER_IP = ("", "None")
_DEFAULT_AFFINITY_TIMEOUT_S = 10800
_LONGEST_AFFINITY_TIMEOUT_S = 86400
_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


def decode(kind: Kind, raw: bytes | msgspec.Raw) -> Object:
    """The fact in the JSON bytes of one object; InvalidField names what cannot be used."""
    try:
        return _validated(kind, _DECODERS[kind].decode(raw))
    except msgspec.DecodeError as error:
        raise _as_invalid_field(error) from None


def convert(kind: Kind, data: object) -> Object:
    """The fact in one object that is already parsed, as YAML is; InvalidField as for `decode`."""
    try:
        return _validated(kind, msgspec.convert(data, _SHAPES[kind], strict=True))
    except msgspec.ValidationError as error:
        raise _as_invalid_field(error) from None


def _validated(kind: Kind, shape: Any) -> Object:
    return _FACTS[kind](shape)


def _as_invalid_field(error: msgspec.DecodeError) -> InvalidField:
    text = str(error)
    found = _AT.search(text)
    return InvalidField(found["path"], text[: found.start()]) if found else InvalidField("", text)


def _key(metadata: wire.Metadata, name: Callable[[str, str], str]) -> NamespacedName:
    return NamespacedName(
        validate.dns_label(metadata.namespace, "metadata.namespace"), name(metadata.name, "metadata.name")
    )


def _opt_out_label(metadata: wire.Metadata, labels: Iterable[str]) -> str:
    return next((label for label in labels if label in (metadata.labels or ())), "")


def _service(shape: wire.Service) -> Service:
    spec = shape.spec
    kind = validate.choice(ServiceType, spec.type or ServiceType.CLUSTER_IP, "spec.type")
    external_ips = validate.addresses(spec.external_ips or (), "spec.externalIPs")
    return Service(
        key=_key(shape.metadata, validate.dns_label),
        resource_version=shape.metadata.resource_version,
        type=kind,
        cluster_ips=_cluster_ips(spec),
        ports=_service_ports(spec.ports or ()),
        external_ips=external_ips,
        load_balancer_vips=_load_balancer_vips(shape.status),
        source_ranges=validate.networks(spec.load_balancer_source_ranges or (), "spec.loadBalancerSourceRanges"),
        internal_policy_local=_is_local(spec.internal_traffic_policy, "spec.internalTrafficPolicy"),
        external_policy_local=_keeps_external_local(spec, kind),
        affinity_timeout_s=_affinity_timeout_s(spec),
        health_check_node_port=_health_check_node_port(spec, kind),
        publish_not_ready=bool(spec.publish_not_ready_addresses),
        selector=tuple(sorted((spec.selector or {}).items())),
        opt_out_label=_opt_out_label(shape.metadata, (PROXY_NAME_LABEL,)),
    )


def _cluster_ips(spec: wire.ServiceSpec) -> tuple[Address, ...]:
    texts = spec.cluster_ips if spec.cluster_ips is not None else [spec.cluster_ip or ""]
    given = [text for text in texts if text not in _NO_CLUSTER_IP]
    found = validate.addresses(given, "spec.clusterIPs")
    if len({family_of(address) for address in found}) < len(found):
        raise InvalidField("spec.clusterIPs", f"{', '.join(found)}: at most one address of each family is allowed")
    return found


def _service_ports(ports: Iterable[wire.ServicePort]) -> tuple[ServicePort, ...]:
    found = []
    names: set[tuple[str, Protocol]] = set()
    numbers: set[tuple[int, Protocol]] = set()
    for at, port in enumerate(ports):
        field = f"spec.ports[{at}]"
        protocol = validate.protocol(port.protocol, f"{field}.protocol")
        name = validate.dns_label(port.name, f"{field}.name") if port.name else ""
        number = validate.port(port.port, f"{field}.port")
        if (name, protocol) in names:
            raise InvalidField(f"{field}.name", f"{name!r} names an earlier {protocol} port too")
        if (number, protocol) in numbers:
            raise InvalidField(f"{field}.port", f"{number} is the number of an earlier {protocol} port too")
        names.add((name, protocol))
        numbers.add((number, protocol))
        node_port = validate.optional_port(port.node_port, f"{field}.nodePort")
        found.append(ServicePort(name, protocol, number, node_port))
    return tuple(found)


def _load_balancer_vips(status: wire.ServiceStatus | None) -> tuple[Address, ...]:
    """The ingress addresses that reach the node as destinations (KEP-1860); host names are not ours to resolve."""
    balancer = status.load_balancer if status else None
    found = []
    for at, ingress in enumerate((balancer.ingress if balancer else None) or ()):
        field = f"status.loadBalancer.ingress[{at}]"
        if ingress.ip_mode not in (None, "VIP", "Proxy"):
            raise InvalidField(f"{field}.ipMode", f"{ingress.ip_mode!r} is not one of VIP, Proxy")
        if ingress.ip and ingress.ip_mode != "Proxy":
            found.append(validate.address(ingress.ip, f"{field}.ip"))
    return tuple(found)


def _is_local(policy: str | None, field: str) -> bool:
    if policy not in (None, "", "Cluster", "Local"):
        raise InvalidField(field, f"{policy!r} is not one of Cluster, Local")
    return policy == "Local"


def _keeps_external_local(spec: wire.ServiceSpec, kind: ServiceType) -> bool:
    """Whether externalTrafficPolicy is Local and means something: only for what is reachable from outside."""
    is_local = _is_local(spec.external_traffic_policy, "spec.externalTrafficPolicy")
    is_reachable = kind in (ServiceType.NODE_PORT, ServiceType.LOAD_BALANCER) or (
        kind is ServiceType.CLUSTER_IP and bool(spec.external_ips)
    )
    return is_local and is_reachable


def _affinity_timeout_s(spec: wire.ServiceSpec) -> int | None:
    if spec.session_affinity in (None, "", "None"):
        return None
    if spec.session_affinity != "ClientIP":
        raise InvalidField("spec.sessionAffinity", f"{spec.session_affinity!r} is not one of None, ClientIP")
    config = spec.session_affinity_config
    client_ip = config.client_ip if config else None
    timeout_s = client_ip.timeout_seconds if client_ip else None
    if timeout_s is None:
        return _DEFAULT_AFFINITY_TIMEOUT_S
    if not 1 <= timeout_s <= _LONGEST_AFFINITY_TIMEOUT_S:
        raise InvalidField(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            f"{timeout_s} is out of range; allowed are 1 to {_LONGEST_AFFINITY_TIMEOUT_S}",
        )
    return timeout_s


def _health_check_node_port(spec: wire.ServiceSpec, kind: ServiceType) -> int:
    port = validate.optional_port(spec.health_check_node_port, "spec.healthCheckNodePort")
    return port if kind is ServiceType.LOAD_BALANCER and spec.external_traffic_policy == "Local" else 0


def _endpoint_slice(shape: wire.EndpointSlice) -> EndpointSlice:
    key = _key(shape.metadata, validate.dns_subdomain)
    owner = (shape.metadata.labels or {}).get(SERVICE_NAME_LABEL)
    if owner is None:
        raise InvalidField("metadata.labels", f"the label {SERVICE_NAME_LABEL} that names the Service is missing")
    service = NamespacedName(key.namespace, validate.dns_label(owner, f"metadata.labels[{SERVICE_NAME_LABEL}]"))
    if shape.address_type == "FQDN":
        raise InvalidField("addressType", "FQDN endpoints have no address that a rule could name")
    family = validate.choice(Family, shape.address_type, "addressType")
    return EndpointSlice(
        key=key,
        service=service,
        family=family,
        resource_version=shape.metadata.resource_version,
        ports=_endpoint_ports(shape.ports or (), "ports"),
        endpoints=tuple(
            _endpoint(endpoint, endpoint.addresses[0], family, f"endpoints[{at}]")
            for at, endpoint in enumerate(shape.endpoints or ())
            if endpoint.addresses
        ),
        opt_out_label=_opt_out_label(shape.metadata, (PROXY_NAME_LABEL, HEADLESS_LABEL)),
    )


def _endpoint_ports(ports: Iterable[wire.EndpointPort], field: str) -> tuple[EndpointPort, ...]:
    """The ports that have a name and a number; an empty name is a name."""
    return tuple(
        EndpointPort(
            validate.dns_label(port.name, f"{field}[{at}].name") if port.name else "",
            validate.protocol(port.protocol, f"{field}[{at}].protocol"),
            validate.port(port.port, f"{field}[{at}].port"),
        )
        for at, port in enumerate(ports)
        if port.name is not None and port.port
    )


_NO_CONDITIONS = wire.Conditions()
_NO_HINTS = wire.Hints()


def _endpoint(endpoint: wire.Endpoint, address: str, family: Family, field: str) -> Endpoint:
    conditions = endpoint.conditions or _NO_CONDITIONS
    hints = endpoint.hints or _NO_HINTS
    return Endpoint(
        address=validate.address_of(family, address, f"{field}.addresses[0]"),
        ready=conditions.ready is not False,
        serving=conditions.serving is not False,
        terminating=conditions.terminating is True,
        node=_node_name(endpoint.node_name, field),
        zone_hints=tuple(
            validate.label_value(hint.name, f"{field}.hints.forZones[{at}].name")
            for at, hint in enumerate(hints.for_zones or ())
        ),
        node_hints=tuple(
            validate.dns_subdomain(hint.name, f"{field}.hints.forNodes[{at}].name")
            for at, hint in enumerate(hints.for_nodes or ())
        ),
        pod=_pod_name(endpoint.target_ref, field),
    )


def _node_name(name: str | None, field: str) -> str:
    return validate.dns_subdomain(name, f"{field}.nodeName") if name else ""


def _pod_name(target: wire.TargetRef | None, field: str) -> str:
    if target is None or target.kind != "Pod" or not target.name:
        return ""
    return validate.dns_subdomain(target.name, f"{field}.targetRef.name")


def _endpoints(shape: wire.Endpoints) -> Endpoints:
    key = _key(shape.metadata, validate.dns_label)
    return Endpoints(
        key=key,
        resource_version=shape.metadata.resource_version,
        slices=tuple(
            piece
            for at, subset in enumerate(shape.subsets or ())
            for piece in _subset_slices(key, at, subset)
        ),
    )


def _subset_slices(service: NamespacedName, number: int, subset: wire.Subset) -> Iterable[EndpointSlice]:
    """One slice for each family of the subset's addresses."""
    field = f"subsets[{number}]"
    ports = _endpoint_ports(
        [msgspec.structs.replace(port, name=port.name or "") for port in subset.ports or ()], f"{field}.ports"
    )
    endpoints = [
        *_subset_endpoints(subset.addresses or (), f"{field}.addresses", ready=True),
        *_subset_endpoints(subset.not_ready_addresses or (), f"{field}.notReadyAddresses", ready=False),
    ]
    for family in Family:
        of_family = tuple(endpoint for endpoint in endpoints if family_of(endpoint.address) is family)
        if of_family:
            yield EndpointSlice(
                key=NamespacedName(service.namespace, f"{service.name}-subset-{number}-{family.lower()}"),
                service=service,
                family=family,
                ports=ports,
                endpoints=of_family,
            )


def _subset_endpoints(
    addresses: Iterable[wire.EndpointAddress], field: str, *, ready: bool
) -> Iterable[Endpoint]:
    for at, one in enumerate(addresses):
        place = f"{field}[{at}]"
        yield Endpoint(
            address=validate.address(one.ip, f"{place}.ip"),
            ready=ready,
            serving=ready,
            node=_node_name(one.node_name, place),
            pod=_pod_name(one.target_ref, place),
        )


def _node(shape: wire.Node) -> Node:
    spec = shape.spec or wire.NodeSpec()
    cidrs = spec.pod_cidrs if spec.pod_cidrs is not None else [spec.pod_cidr] if spec.pod_cidr else []
    listed = (shape.status.addresses if shape.status else None) or []
    return Node(
        key=NamespacedName("", validate.dns_subdomain(shape.metadata.name, "metadata.name")),
        resource_version=shape.metadata.resource_version,
        addresses=tuple(
            validate.address(one.address, f"status.addresses[{at}].address")
            for wanted in ("InternalIP", "ExternalIP")
            for at, one in enumerate(listed)
            if one.type == wanted
        ),
        pod_cidrs=validate.networks(cidrs, "spec.podCIDRs"),
        zone=validate.label_value((shape.metadata.labels or {}).get(ZONE_LABEL, ""), f"metadata.labels[{ZONE_LABEL}]"),
        being_deleted=shape.metadata.deletion_timestamp is not None,
        taints=tuple(taint.key for taint in spec.taints or ()),
    )


def _pod(shape: wire.Pod) -> Pod:
    status = shape.status or wire.PodStatus()
    ips = [one.ip for one in status.pod_ips or ()] or ([status.pod_ip] if status.pod_ip else [])
    return Pod(
        key=_key(shape.metadata, validate.dns_subdomain),
        resource_version=shape.metadata.resource_version,
        addresses=validate.addresses(ips, "status.podIPs"),
        node=_node_name(shape.spec.node_name if shape.spec else None, "spec"),
        labels=tuple(sorted((shape.metadata.labels or {}).items())),
    )


_SHAPES: dict[Kind, type] = {
    Kind.SERVICE: wire.Service,
    Kind.ENDPOINT_SLICE: wire.EndpointSlice,
    Kind.ENDPOINTS: wire.Endpoints,
    Kind.NODE: wire.Node,
    Kind.POD: wire.Pod,
}
_DECODERS: dict[Kind, msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(shape) for kind, shape in _SHAPES.items()}
_FACTS: dict[Kind, Callable[[Any], Object]] = {
    Kind.SERVICE: _service,
    Kind.ENDPOINT_SLICE: _endpoint_slice,
    Kind.ENDPOINTS: _endpoints,
    Kind.NODE: _node,
    Kind.POD: _pod,
}
