"""The rules of a Service."""

from collections.abc import Iterable

from kproxy.errors import InvalidField
from kproxy.state import validate, wire
from kproxy.state.metadata import PROXY_NAME_LABEL, key_of, opt_out_label, sorted_pairs
from kproxy.state.objects import Service, ServicePort, ServiceType
from kproxy.values import Address, Protocol, family_of

_NO_CLUSTER_IP = ("", "None")
_DEFAULT_AFFINITY_TIMEOUT_S = 10800
_LONGEST_AFFINITY_TIMEOUT_S = 86400


def service_fact(shape: wire.Service) -> Service:
    """InvalidField where the API server would refuse the Service, or no rule could carry it."""
    spec = shape.spec
    kind = validate.choice(ServiceType, spec.type or ServiceType.CLUSTER_IP, "spec.type")
    return Service(
        key=key_of(shape.metadata, validate.dns_label),
        resource_version=shape.metadata.resource_version or "",
        type=kind,
        cluster_ips=_cluster_ips(spec),
        awaits_cluster_ip=kind is not ServiceType.EXTERNAL_NAME and not (spec.cluster_ip or spec.cluster_ips),
        ports=_ports(spec.ports or ()),
        external_ips=validate.each(spec.external_ips, "spec.externalIPs", validate.address),
        load_balancer_vips=_load_balancer_vips(shape.status),
        source_ranges=validate.each(
            spec.load_balancer_source_ranges, "spec.loadBalancerSourceRanges", validate.network
        ),
        internal_policy_local=_is_local(spec.internal_traffic_policy, "spec.internalTrafficPolicy"),
        external_policy_local=_keeps_external_local(spec, kind),
        affinity_timeout_s=_affinity_timeout_s(spec),
        health_check_node_port=_health_check_node_port(spec, kind),
        publish_not_ready=bool(spec.publish_not_ready_addresses),
        selector=sorted_pairs(spec.selector),
        opt_out_label=opt_out_label(shape.metadata, PROXY_NAME_LABEL),
    )


def _cluster_ips(spec: wire.ServiceSpec) -> tuple[Address, ...]:
    if not spec.cluster_ips:
        alone = spec.cluster_ip or ""
        return () if alone in _NO_CLUSTER_IP else (validate.address(alone, "spec.clusterIP"),)
    found = validate.each(spec.cluster_ips, "spec.clusterIPs", _cluster_ip)
    addresses = tuple(address for address in found if address is not None)
    if len({family_of(address) for address in addresses}) < len(addresses):
        raise InvalidField(
            "spec.clusterIPs", f"{', '.join(addresses)}: at most one address of each family is allowed"
        )
    return addresses


def _cluster_ip(text: str) -> Address | None:
    return None if text in _NO_CLUSTER_IP else validate.address(text)


def _ports(shapes: Iterable[wire.ServicePort]) -> tuple[ServicePort, ...]:
    names: set[tuple[str, Protocol]] = set()
    numbers: set[tuple[int, Protocol]] = set()

    def unlike_earlier(shape: wire.ServicePort) -> ServicePort:
        port = _port(shape)
        if (port.name, port.protocol) in names:
            raise InvalidField("name", f"{port.name!r} names an earlier {port.protocol} port too")
        if (port.port, port.protocol) in numbers:
            raise InvalidField("port", f"{port.port} is the number of an earlier {port.protocol} port too")
        names.add((port.name, port.protocol))
        numbers.add((port.port, port.protocol))
        return port

    return validate.each(shapes, "spec.ports", unlike_earlier)


def _port(shape: wire.ServicePort) -> ServicePort:
    return ServicePort(
        validate.dns_label(shape.name, "name") if shape.name else "",
        validate.protocol(shape.protocol, "protocol"),
        validate.port(shape.port, "port"),
        validate.optional_port(shape.node_port, "nodePort"),
    )


def _load_balancer_vips(status: wire.ServiceStatus | None) -> tuple[Address, ...]:
    balancer = status.load_balancer if status else None
    found = validate.each(balancer.ingress if balancer else None, "status.loadBalancer.ingress", _vip)
    return tuple(vip for vip in found if vip is not None)


def _vip(ingress: wire.Ingress) -> Address | None:
    """The address, if packets reach the node with it as destination (KEP-1860): ipMode VIP or none."""
    if ingress.ip_mode not in (None, "VIP", "Proxy"):
        raise InvalidField("ipMode", f"{validate.quoted(ingress.ip_mode)} is not one of VIP, Proxy")
    if not ingress.ip or ingress.ip_mode == "Proxy":
        return None
    return validate.address(ingress.ip, "ip")


def _is_local(policy: str | None, field: str) -> bool:
    if policy not in (None, "", "Cluster", "Local"):
        raise InvalidField(field, f"{validate.quoted(policy)} is not one of Cluster, Local")
    return policy == "Local"


def _keeps_external_local(spec: wire.ServiceSpec, kind: ServiceType) -> bool:
    """Whether externalTrafficPolicy is Local and means something: only for what is reachable from outside."""
    is_local = _is_local(spec.external_traffic_policy, "spec.externalTrafficPolicy")
    is_reachable = kind in (ServiceType.NODE_PORT, ServiceType.LOAD_BALANCER) or (
        kind is ServiceType.CLUSTER_IP and bool(spec.external_ips)
    )
    return is_local and is_reachable


def _affinity_timeout_s(spec: wire.ServiceSpec) -> int | None:
    affinity = spec.session_affinity
    if affinity in (None, "", "None"):
        return None
    if affinity != "ClientIP":
        raise InvalidField(
            "spec.sessionAffinity", f"{validate.quoted(affinity)} is not one of None, ClientIP"
        )
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
