"""The rules of a Service."""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

from kproxy.errors import InvalidField
from kproxy.state import validate, wire
from kproxy.state.metadata import PROXY_NAME_LABEL, key_of, opt_out_label, sorted_pairs
from kproxy.state.objects import Service, ServicePort, ServiceType
from kproxy.state.printable import quoted
from kproxy.state.validate import Flaws, Found, Given
from kproxy.values import Address, Family, Network, Protocol, family_of

_NO_CLUSTER_IP = ("", "None")
_DEFAULT_AFFINITY_TIMEOUT_S = 10800
_LONGEST_AFFINITY_TIMEOUT_S = 86400

_FAMILY_BY_SIGN = {".": Family.IPV4, ":": Family.IPV6}

_NOBODY = {Family.IPV4: Network("0.0.0.0/32"), Family.IPV6: Network("::/128")}
"""Source ranges that admit no client: no packet comes from the unspecified address."""


def service_fact(shape: wire.Service, flaws: Flaws) -> Service:
    """The fact of a Service. `flaws` gains each field that is left out while the rest is used.

    InvalidField if no rule could use the rest. A bad field is left out alone if kube-proxy would use the rest of the
    Service.
    """
    spec = shape.spec
    kind = validate.optional(spec.type, _type, ServiceType.CLUSTER_IP, flaws)
    return Service(
        key=key_of(shape.metadata, validate.dns_label),
        resource_version=shape.metadata.resource_version or "",
        type=kind,
        cluster_ips=_cluster_ips(spec, flaws),
        awaits_cluster_ip=kind is not ServiceType.EXTERNAL_NAME and not (spec.cluster_ip or spec.cluster_ips),
        ports=_ports(spec.ports or (), flaws),
        external_ips=validate.usable(spec.external_ips, "spec.externalIPs", validate.address, flaws),
        load_balancer_vips=_load_balancer_vips(shape.status, flaws),
        source_ranges=_source_ranges(spec.load_balancer_source_ranges or (), flaws),
        internal_policy_local=_is_local(spec.internal_traffic_policy, "spec.internalTrafficPolicy", flaws),
        external_policy_local=_keeps_external_local(spec, kind, flaws),
        affinity_timeout_s=_affinity_timeout_s(spec, flaws),
        health_check_node_port=_health_check_node_port(spec, kind, flaws),
        publish_not_ready=bool(spec.publish_not_ready_addresses),
        selector=sorted_pairs(spec.selector),
        opt_out_label=opt_out_label(shape.metadata, PROXY_NAME_LABEL),
    )


def _type(text: str | None) -> ServiceType:
    return validate.choice(ServiceType, text, "spec.type") if text else ServiceType.CLUSTER_IP


def _cluster_ips(spec: wire.ServiceSpec, flaws: Flaws) -> tuple[Address, ...]:
    """At most one address of each family. InvalidField if there are addresses and none is usable."""
    if not spec.cluster_ips:
        alone = spec.cluster_ip or ""
        return () if alone in _NO_CLUSTER_IP else (validate.address(alone, "spec.clusterIP"),)
    families: set[Family] = set()

    def unlike_earlier(text: str) -> Address | None:
        if text in _NO_CLUSTER_IP:
            return None
        address = validate.address(text)
        if family_of(address) in families:
            raise InvalidField("", f"{address}: at most one address of each family is allowed")
        families.add(family_of(address))
        return address

    found = _some_of(spec.cluster_ips, "spec.clusterIPs", unlike_earlier, flaws)
    return tuple([address for address in found if address is not None])


def _ports(shapes: Iterable[wire.ServicePort | None], flaws: Flaws) -> tuple[ServicePort, ...]:
    """The ports. InvalidField if there are ports and none is usable."""
    names: set[tuple[str, Protocol]] = set()
    numbers: set[tuple[int, Protocol]] = set()

    def unlike_earlier(placed: tuple[int, wire.ServicePort]) -> ServicePort:
        port = _port(*placed, flaws)
        if (port.name, port.protocol) in names:
            raise InvalidField("name", f"{port.name!r} names an earlier {port.protocol} port too")
        if (port.port, port.protocol) in numbers:
            raise InvalidField("port", f"{port.port} is the number of an earlier {port.protocol} port too")
        names.add((port.name, port.protocol))
        numbers.add((port.port, port.protocol))
        return port

    placed = [(at, shape) if shape else None for at, shape in enumerate(shapes)]
    return _some_of(placed, "spec.ports", unlike_earlier, flaws)


def _port(at: int, shape: wire.ServicePort, flaws: Flaws) -> ServicePort:
    """One port. A node port that is out of range is left out alone."""
    return ServicePort(
        validate.dns_label(shape.name, "name") if shape.name else "",
        validate.protocol(shape.protocol, "protocol"),
        validate.port(shape.port, "port"),
        _optional_port(shape.node_port, f"spec.ports[{at}].nodePort", flaws) if shape.node_port else 0,
    )


def _optional_port(number: int, field: str, flaws: Flaws) -> int:
    return validate.optional(number, partial(validate.port, field=field), 0, flaws)


def _some_of(
    things: Collection[Given | None], field: str, rule: Callable[[Given], Found], flaws: Flaws
) -> tuple[Found, ...]:
    """The usable things. InvalidField with the first reason if there are things and none is usable."""
    wrong: Flaws = []
    found = validate.usable(things, field, rule, wrong)
    if things and not found:
        raise InvalidField(
            wrong[0].field, wrong[0].reason
        )  # the error's traceback leads to `wrong`, so `wrong` must not hold the error
    flaws += wrong
    return found


def _load_balancer_vips(status: wire.ServiceStatus | None, flaws: Flaws) -> tuple[Address, ...]:
    balancer = status.load_balancer if status else None
    ingress = balancer.ingress if balancer else None
    if not ingress:
        return ()
    found = validate.usable(ingress, "status.loadBalancer.ingress", _vip, flaws)
    return tuple(vip for vip in found if vip is not None)


def _vip(ingress: wire.Ingress) -> Address | None:
    """The address if packets reach the node with it as destination (KEP-1860): ipMode is VIP or absent."""
    if ingress.ip_mode not in (None, "VIP", "Proxy"):
        raise InvalidField("ipMode", f"{quoted(ingress.ip_mode)} is not one of VIP, Proxy")
    if not ingress.ip or ingress.ip_mode == "Proxy":
        return None
    return validate.address(ingress.ip, "ip")


def _source_ranges(texts: Sequence[str | None], flaws: Flaws) -> tuple[Network, ...]:
    """The usable ranges. If ranges of a family are given and none is usable, the family is closed, not open."""
    if not texts:
        return ()
    wrong: Flaws = []
    found = validate.usable(texts, "spec.loadBalancerSourceRanges", validate.network, wrong)
    if not wrong:
        return found
    meant = {
        family for sign, family in _FAMILY_BY_SIGN.items() if any(sign in (text or "") for text in texts)
    }
    closed = (meant or set(Family)) - {family_of(network) for network in found}
    consequence = "".join(
        f"; no {family} range can be read, so no {family} client is let in" for family in sorted(closed)
    )
    flaws += [InvalidField(each.field, f"{each.reason}{consequence}") for each in wrong]
    return (*found, *(_NOBODY[family] for family in Family if family in closed))


def _is_local(policy: str | None, field: str, flaws: Flaws) -> bool:
    """Whether a traffic policy is Local. An unknown policy is Cluster, as in kube-proxy."""
    if policy not in (None, "", "Cluster", "Local"):
        flaws.append(InvalidField(field, f"{quoted(policy)} is not one of Cluster, Local"))
    return policy == "Local"


def _keeps_external_local(spec: wire.ServiceSpec, kind: ServiceType, flaws: Flaws) -> bool:
    """Whether externalTrafficPolicy is Local and has an effect: only if the Service is reachable from outside."""
    is_local = _is_local(spec.external_traffic_policy, "spec.externalTrafficPolicy", flaws)
    is_reachable = kind in (ServiceType.NODE_PORT, ServiceType.LOAD_BALANCER) or (
        kind is ServiceType.CLUSTER_IP and bool(spec.external_ips)
    )
    return is_local and is_reachable


def _affinity_timeout_s(spec: wire.ServiceSpec, flaws: Flaws) -> int | None:
    affinity = spec.session_affinity
    if affinity not in (None, "", "None", "ClientIP"):
        reason = f"{quoted(affinity)} is not one of None, ClientIP"
        flaws.append(InvalidField("spec.sessionAffinity", reason))
    if affinity != "ClientIP":
        return None
    config = spec.session_affinity_config
    client_ip = config.client_ip if config else None
    timeout_s = client_ip.timeout_seconds if client_ip else None
    if timeout_s is None:
        return _DEFAULT_AFFINITY_TIMEOUT_S
    return validate.optional(timeout_s, _affinity_timeout, _DEFAULT_AFFINITY_TIMEOUT_S, flaws)


def _affinity_timeout(timeout_s: int) -> int:
    if not 1 <= timeout_s <= _LONGEST_AFFINITY_TIMEOUT_S:
        raise InvalidField(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            f"{timeout_s} is out of range; allowed are 1 to {_LONGEST_AFFINITY_TIMEOUT_S}",
        )
    return timeout_s


def _health_check_node_port(spec: wire.ServiceSpec, kind: ServiceType, flaws: Flaws) -> int:
    number = spec.health_check_node_port
    port = _optional_port(number, "spec.healthCheckNodePort", flaws) if number else 0
    return port if kind is ServiceType.LOAD_BALANCER and spec.external_traffic_policy == "Local" else 0
