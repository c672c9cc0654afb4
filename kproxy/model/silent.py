"""Why a Service, or a slice without one, yields no rule that serves anybody.

A cluster fills in fields that a manifest leaves out: cluster IPs, node port numbers, slices. With manifests alone
nobody does, so each reason names the missing field, and says what to write.
"""

from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from kproxy.model.plan import is_proxied
from kproxy.model.topology import reason_by_condition
from kproxy.state.objects import EndpointSlice, Kind, Service, ServicePort, ServiceType
from kproxy.state.store import Store
from kproxy.values import Family, NamespacedName, Protocol, family_of

_MOST_COMPARED = 1000
"""The most names that are compared with a missing name; a comparison takes some microseconds."""

_MOST_HINTS = 50
"""The most hints of one call: each costs a walk over all Pods or Services, and nobody reads more than 50."""

_MOST_NAMED = 5
"""The most names in one sentence, so that a line of the log stays readable."""


_NO_PORTS = "it has no ports; write spec.ports"


class Silence(NamedTuple):
    """An object that yields no rule, or fewer than it asks for, with the reason; `hint` says what to write instead.

    `service` is the Service itself, or the one that a slice names. `is_usual` is whether healthy clusters have many
    such objects.
    """

    service: NamespacedName
    kind: str
    key: NamespacedName
    reason: str
    hint: str = ""
    is_usual: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.key} {self.reason}" + (f"; {self.hint}" if self.hint else "")


def silences(store: Store, keys: Iterable[NamespacedName]) -> Iterator[Silence]:
    """The silences of the Services of these keys, and of the slices that name them, computed one after another."""
    hints = _Hints(store)
    for key in keys:
        service, slices = store.services.get(key), store.slices_of(key)
        yield from _of_service(service, slices, hints) if service else _of_orphans(key, slices, hints)


def yields_rules(service: Service) -> bool:
    """Whether the Service has rules at all, in any family."""
    return is_proxied(service) and bool(service.ports)


def _of_service(service: Service, slices: Collection[EndpointSlice], hints: "_Hints") -> Iterator[Silence]:
    if not service.cluster_ips and not service.awaits_cluster_ip and service.key in hints.told:
        return  # its address may be the field that was left out
    reason = _no_rule(service)
    if reason:
        yield _about(service, f"yields no rule: {reason}", is_usual=reason is not _NO_PORTS)
        return
    if service.awaits_cluster_ip:
        told = "yields no rule: it has no spec.clusterIP, and an API server would assign one"
        yield _about(service, told, "write one, such as 10.96.0.10")
    yield from _unreachable(service)
    if not slices:
        yield hints.of_lonely(service)
        return
    for told in _unserved(service, slices):
        yield _about(service, f"has no endpoints{told}")


def _about(service: Service, reason: str, hint: str = "", *, is_usual: bool = False) -> Silence:
    return Silence(service.key, "Service", service.key, reason, hint, is_usual)


def _no_rule(service: Service) -> str:
    """Why the Service is not proxied at all; empty if it is proxied, or would be if it had a cluster IP."""
    if service.type is ServiceType.EXTERNAL_NAME:
        return "an ExternalName is a name in DNS, and no address"
    if service.opt_out_label:
        return f"its label {service.opt_out_label} asks for another proxy"
    if not service.cluster_ips and not service.awaits_cluster_ip:
        return (
            "it is headless (clusterIP: None), so its clients connect to its endpoints by their own addresses"
        )
    if not service.ports:
        return _NO_PORTS
    return ""


def _unreachable(service: Service) -> Iterator[Silence]:
    """The ways from outside that the Service asks for and does not have."""
    if service.type is ServiceType.NODE_PORT:
        for at, port in enumerate(service.ports):
            if not port.node_port:
                told = f"has no node port for {_named(port)}: an API server would assign one"
                yield _about(service, told, f"write spec.ports[{at}].nodePort, such as 30080")
    if service.type is ServiceType.LOAD_BALANCER and not service.load_balancer_vips:
        told = "has no load-balancer address: status.loadBalancer.ingress has no ip, or none of ipMode VIP"
        hint = "a controller writes it in a cluster; here write one, such as [{ip: 192.0.2.1}]"
        yield _about(service, told, hint, is_usual=True)


def _unserved(service: Service, slices: Collection[EndpointSlice]) -> Iterator[str]:
    """The ports of the Service that have no endpoints, each with the reason; the end of a sentence."""
    ours = [piece for piece in slices if not piece.opt_out_label]
    if not ours:
        label = next(iter(slices)).opt_out_label
        names = _names(piece.key.name for piece in slices)
        yield f": the label {label} of its EndpointSlices ({names}) asks for another proxy, or for none"
        return
    families = {family_of(address) for address in service.cluster_ips} or set(Family)
    there = {piece.family for piece in ours}
    if service.cluster_ips:
        yield from (
            f" in {family}: its EndpointSlices are {' and '.join(sorted(there))}"
            for family in sorted(families - there)
        )
    matching = [piece for piece in ours if piece.family in families]
    ports_of: dict[str, list[str]] = {}
    for port in service.ports if matching else ():
        ports_of.setdefault(_no_endpoint(port, matching), []).append(port.name or str(port.port))
    for reason, ports in ports_of.items():
        if reason:
            yield f" for port {_names(ports)}: {reason}"


def _no_endpoint(port: ServicePort, slices: Collection[EndpointSlice]) -> str:
    named = [
        piece for piece in slices if (port.name, port.protocol) in {(p.name, p.protocol) for p in piece.ports}
    ]
    if not named:
        return _no_such_port(port, slices)
    endpoints = [endpoint for piece in named for endpoint in piece.endpoints]
    if not endpoints:
        return f"no address stands in {_names(piece.key.name for piece in named)}"
    if any(reason_by_condition(endpoint, another_is_ready=False).is_used for endpoint in endpoints):
        return ""
    return (
        f"none of its {len(endpoints)} endpoints is ready"
        if len(endpoints) > 1
        else "its only endpoint is not ready"
    )


def _no_such_port(port: ServicePort, slices: Iterable[EndpointSlice]) -> str:
    """Why no slice serves this port: ports match by name and protocol, whatever their numbers."""
    there = sorted({(each.name, each.protocol) for piece in slices for each in piece.ports})
    if not there:
        return "its EndpointSlices have no port with a number; write ports"
    wanted = f'named "{port.name}"' if port.name else "without a name"
    shown = _names(
        (f'"{name}"' if name else "one without a name") + f" ({protocol})" for name, protocol in there
    )
    return f"its EndpointSlices have no port {wanted} ({port.protocol}), only {shown}; {_port_meant(port, there)}"


def _port_meant(port: ServicePort, there: Collection[tuple[str, Protocol]]) -> str:
    protocol = next((protocol for name, protocol in there if name == port.name), None)
    if protocol:
        return f"did you mean protocol {protocol}?"
    near = get_close_matches(port.name, [name for name, _ in there if name], 1)
    return f"did you mean {near[0]}?" if near else "the two must have the same name"


def _of_orphans(
    missing: NamespacedName, slices: Iterable[EndpointSlice], hints: "_Hints"
) -> Iterator[Silence]:
    """The slices of a Service that does not exist; if the Service was left out, that was said already."""
    for piece in slices if missing not in hints.told else ():
        reason = f"yields no rule: there is no Service {missing}"
        yield Silence(missing, "EndpointSlice", piece.key, reason, hints.for_slice(missing), is_usual=True)


class _Hints:
    """Finds names that may be meant by names that do not exist, at most `_MOST_HINTS` times."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._left = _MOST_HINTS

    @cached_property
    def told(self) -> set[NamespacedName | None]:
        """Services of which something was left out, which was said already."""
        return {rejection.key for rejection in self._store.rejections if rejection.kind == Kind.SERVICE}

    @cached_property
    def _slices_left_out(self) -> list[NamespacedName]:
        """The slices that were left out, at most `_MOST_COMPARED`: each Service is compared with all of them."""
        keys = (each.key for each in self._store.rejections if each.kind == Kind.ENDPOINT_SLICE)
        return sorted(islice(filter(None, keys), _MOST_COMPARED))

    @cached_property
    def _orphans(self) -> list[NamespacedName]:
        """The Services that slices name and that do not exist."""
        return sorted(key for key in self._store.services_of_slices() if key not in self._store.services)

    def for_slice(self, missing: NamespacedName) -> str:
        meant = self._meant(missing, self._store.services)
        return f"did you mean {meant}?" if meant else ""

    def of_lonely(self, service: Service) -> Silence:
        """About a Service that no slice names; a slice that was left out may have its name, as clusters name slices."""
        left_out = [key.name for key in self._slices_left_out if _may_be_of(key, service.key)]
        if left_out:
            told = f"has no endpoints: an EndpointSlice that may be its own is left out: {_names(left_out)}"
            return _about(service, told)
        return _about(service, "has no endpoints: no EndpointSlice names it", self.for_service(service))

    def for_service(self, service: Service) -> str:
        """The slices or Pods that may be meant for this Service, and the slice that is missing."""
        meant = self._meant(service.key, self._orphans)
        if meant:
            slices = _names(piece.key.name for piece in self._store.slices_of(meant))
            return f"{slices} names a Service {meant}: did you mean {service.key}?"
        pods = self._matching_pods(service)
        found = f"Pods match its selector ({pods} of those given), but " if pods else ""
        return (
            f"{found}kproxy makes no slices from Pods or Deployments as a cluster does: give one with the label "
            f"kubernetes.io/service-name: {service.key.name}"
        )

    def _meant(self, name: NamespacedName, others: Collection[NamespacedName]) -> NamespacedName | None:
        """A Service of this name in another namespace, or one of a similar name in this namespace."""
        self._left -= 1
        if self._left < 0:
            return None
        here = (other.name for other in others if other.namespace == name.namespace)
        near = get_close_matches(name.name, islice(here, _MOST_COMPARED), 1)
        if near:
            return NamespacedName(name.namespace, near[0])
        return next((other for other in others if other.name == name.name), None)

    def _matching_pods(self, service: Service) -> int:
        wanted = set(service.selector)
        if not wanted or self._left < 0:
            return 0
        return sum(
            pod.key.namespace == service.key.namespace and wanted <= set(pod.labels)
            for pod in self._store.pods.values()
        )


def _may_be_of(piece: NamespacedName, service: NamespacedName) -> bool:
    return piece.namespace == service.namespace and piece.name.startswith(service.name)


def _named(port: ServicePort) -> str:
    return f'port "{port.name}"' if port.name else f"port {port.port}"


def _names(names: Iterable[str]) -> str:
    found = list(names)
    more = len(found) - _MOST_NAMED
    return ", ".join(found[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
