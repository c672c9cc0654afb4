"""The oracle: what should become of a packet, told by the documentation of Services and not by rules.

It answers for one packet at a time from the objects alone. It shares no decision with the code that
makes rules, so that the two can be held against each other and against the kernel.

Sources: "Virtual IPs and Service Proxies", "Service", "EndpointSlices", "Topology Aware Routing" and
"Service Internal Traffic Policy" in the Kubernetes documentation; KEP-1669 (terminating endpoints),
KEP-2433 and KEP-3015 (hints); what kube-proxy's two modes are seen to do where these are silent. Where nftables
mode (`Settings.is_nftables`) decides otherwise, a name below says in what: `_is_kept_out`, `_foremost`, `_may_hairpin`,
`_is_asked_in_vain`, `_refusal_of_service_network`. Its node ports are never on localhost (`rule_settings`).

Taken for granted: no endpoint's address and port is itself an address and port of a Service.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from fractions import Fraction

from kproxy.model.packet import Fate, Fates, Host, Packet, Verdict
from kproxy.model.settings import DetectLocalMode, Settings
from kproxy.state.objects import Endpoint, Node, Service, ServicePort, ServiceType
from kproxy.state.store import Store
from kproxy.values import Address, Family, Network, Protocol, contains, family_of, is_loopback


def decide(store: Store, settings: Settings, node_name: str, host: Host, packet: Packet) -> Fates:
    """What becomes of a connection's first packet on this node, with the probability of each fate.

    Session affinity has not yet seen the client. Where Services claim the same address and port,
    those first by namespace and name are asked first, node ports last, and one that has a backend
    for the packet comes before any that would refuse it.
    """
    here = _Here(store, settings, node_name, host, packet.family)
    claims = list(_claims(here, packet))
    if settings.is_nftables:
        if _is_kept_out(claims, packet):
            return {Fate(Verdict.DROPPED): Fraction(1)}
        claims = _foremost(claims)
    for claim in claims:
        if backends := claim.backends(packet):
            share = Fraction(1, len(backends))
            return {
                Fate(Verdict.SENT, address, port, claim.masquerades(packet, address, port)): share
                for address, port in backends
            }
    refusal = _refusal(claims, here, packet) or _refusal_of_service_network(here, packet)
    return {Fate(refusal or Verdict.NOT_OURS): Fraction(1)}


@dataclass(frozen=True, slots=True)
class _Here:
    """This node in one family, in its cluster."""

    store: Store
    settings: Settings
    name: str
    host: Host
    family: Family

    @property
    def node(self) -> Node | None:
        return self.store.node(self.name)

    @property
    def primary_address(self) -> Address | None:
        named = self.node.addresses if self.node else ()
        addresses = (self.settings.node_address, *named) if self.settings.node_address else named
        return next((address for address in addresses if family_of(address) is self.family), None)

    @property
    def zone(self) -> str:
        return self.node.zone if self.node else ""

    @property
    def tells_pods(self) -> bool:
        """Whether the configuration gives a way to tell traffic of this node's pods."""
        match self.settings.detect_local_mode:
            case DetectLocalMode.BRIDGE_INTERFACE | DetectLocalMode.INTERFACE_NAME_PREFIX:
                return True
            case _:
                return self._pod_network is not None

    def is_from_pod(self, packet: Packet) -> bool:
        match self.settings.detect_local_mode:
            case DetectLocalMode.BRIDGE_INTERFACE:
                return packet.interface == self.settings.bridge_interface
            case DetectLocalMode.INTERFACE_NAME_PREFIX:
                return packet.interface.startswith(self.settings.interface_name_prefix)
            case _:
                return self._pod_network is not None and contains(self._pod_network, packet.source)

    def answers_node_ports(self, address: Address) -> bool:
        """Whether node ports answer on this address (`nodePortAddresses`, `localhostNodePorts`)."""
        settings = self.settings
        if settings.node_port_primary and address == self.primary_address:
            return True
        if is_loopback(address) and not self._may_answer_on_localhost:
            return False
        networks = [each for each in settings.node_port_networks if family_of(each) is self.family]
        named = networks or settings.node_port_primary
        if not named or any(network.endswith("/0") for network in networks):
            return self.host.owns(address)
        on_interfaces = {*self.host.addresses, Address("127.0.0.1")}
        return address in on_interfaces and any(contains(network, address) for network in networks)

    @property
    def _may_answer_on_localhost(self) -> bool:
        return self.family is Family.IPV4 and self.settings.localhost_node_ports

    @property
    def _pod_network(self) -> Network | None:
        if self.settings.detect_local_mode is DetectLocalMode.CLUSTER_CIDR:
            networks = self.settings.cluster_cidrs
        else:
            networks = self.node.pod_cidrs if self.node else ()
        return next((network for network in networks if family_of(network) is self.family), None)


class _Access(Enum):
    """By which of its addresses a Service is reached."""

    CLUSTER_IP = auto()
    EXTERNAL_IP = auto()
    LOAD_BALANCER = auto()
    NODE_PORT = auto()


@dataclass(frozen=True, slots=True)
class _Claim:
    """A service port to which a packet is addressed."""

    service: Service
    access: _Access
    endpoints: dict[tuple[Address, int], Endpoint]
    here: _Here

    @property
    def follows_local_policy(self) -> bool:
        if self.access is _Access.CLUSTER_IP:
            return self.service.internal_policy_local
        return self.service.external_policy_local

    @property
    def refusal(self) -> Verdict:
        """Refused if no node can serve it; dropped if only this one cannot, so that another is tried."""
        return Verdict.DROPPED if _usable(self.endpoints) else Verdict.REJECTED

    def backends(self, packet: Packet) -> list[tuple[Address, int]]:
        """Where this packet may be sent; empty if this claim has no place for it."""
        if self.access is _Access.NODE_PORT and not self.here.answers_node_ports(packet.destination):
            return []
        if self.access is _Access.LOAD_BALANCER and not self.admits(packet.source):
            return []
        return self._local() if self._stays_local(packet) else self._anywhere()

    def masquerades(self, packet: Packet, backend: Address, port: int) -> bool:
        """Whether the backend sees the node as the client: else its answers would not come back through here.

        What comes to a backend that is the node itself does come back, and is left as it is.
        """
        if not packet.is_from_a_process and self.here.host.owns(backend):
            return False
        if packet.source == backend and self._may_hairpin(packet.protocol, backend, port):
            return True
        if self.access is _Access.CLUSTER_IP:
            from_elsewhere = self.here.tells_pods and not self.here.is_from_pod(packet)
            return self.here.settings.masquerade_all or from_elsewhere
        if not self.follows_local_policy:
            return True
        return not self.here.is_from_pod(packet) and self.here.host.owns(packet.source)

    def may_send_to(self, where: tuple[Address, int]) -> bool:
        """Whether some packet that this claim answers can be sent there."""
        is_internal = self.access is _Access.CLUSTER_IP
        return (self.follows_local_policy and where in self._local()) or (
            not (is_internal and self.follows_local_policy) and where in self._anywhere()
        )

    @property
    def serves_nobody(self) -> bool:
        return self.is_unserved and (self.access is _Access.CLUSTER_IP or not _usable(self.endpoints))

    def _may_hairpin(self, protocol: Protocol, backend: Address, port: int) -> bool:
        """Nftables mode thinks of this node's own endpoints, of whatever Service: others are no senders here but by a detour."""
        return not self.here.settings.is_nftables or _is_own(self.here, protocol, backend, port)

    @property
    def is_unserved(self) -> bool:
        return not (self._local() if self.follows_local_policy else self._anywhere())

    @property
    def is_guarded(self) -> bool:
        """Whether source ranges restrict this load balancer; without endpoints everyone is refused alike."""
        return self.is_restricted and bool(_usable(self.endpoints))

    @property
    def is_restricted(self) -> bool:
        return self.access is _Access.LOAD_BALANCER and bool(self._ranges)

    @property
    def _ranges(self) -> list[Network]:
        ranges = [each for each in self.service.source_ranges if family_of(each) is self.here.family]
        return [] if any(each.endswith("/0") for each in ranges) else ranges

    def admits(self, source: Address) -> bool:
        """Whether the source ranges let the client in.

        Where they let this node in, a packet that comes from the load balancer's own address is the
        node's: some kernels choose it as source for a local address.
        """
        ranges = self._ranges
        primary = self.here.primary_address
        admits_node = primary is not None and any(contains(each, primary) for each in ranges)
        return (
            not ranges
            or any(contains(each, source) for each in ranges)
            or (admits_node and source in self.service.load_balancer_vips)
        )

    def _stays_local(self, packet: Packet) -> bool:
        """The node and its pods reach every backend also by an external address of policy Local."""
        if self.access is _Access.CLUSTER_IP or not self.follows_local_policy:
            return self.follows_local_policy
        return not (self.here.is_from_pod(packet) or self.here.host.owns(packet.source))

    def _local(self) -> list[tuple[Address, int]]:
        name = self.here.name
        return _usable({where: each for where, each in self.endpoints.items() if each.node == name})

    def _anywhere(self) -> list[tuple[Address, int]]:
        usable = _usable(self.endpoints)
        if not any(self.endpoints[where].ready for where in usable):
            return usable
        for place, hints in (
            (self.here.name, {where: self.endpoints[where].node_hints for where in usable}),
            (self.here.zone, {where: self.endpoints[where].zone_hints for where in usable}),
        ):
            near = [where for where in usable if place in hints[where]]
            if near and all(hints.values()):
                return near
        return usable


def _usable(endpoints: dict[tuple[Address, int], Endpoint]) -> list[tuple[Address, int]]:
    """The ready ones; without any, those on their way out that still serve (KEP-1669)."""
    return [where for where, each in endpoints.items() if each.ready] or [
        where for where, each in endpoints.items() if each.serving and each.terminating
    ]


def _claims(here: _Here, packet: Packet) -> Iterator[_Claim]:
    """Who answers to the packet's destination, in the order in which they are asked."""
    node_ports = []
    for service, port, cluster_ip in _service_ports(here, packet.protocol):
        accesses = list(_accesses(service, port, cluster_ip, here, packet))
        if not accesses:
            continue
        endpoints = _endpoints(service, port, here)
        claims = [_Claim(service, access, endpoints, here) for access in accesses]
        node_ports += [claim for claim in claims if claim.access is _Access.NODE_PORT]
        yield from (claim for claim in claims if claim.access is not _Access.NODE_PORT)
    yield from node_ports


def _service_ports(here: _Here, protocol: Protocol) -> Iterator[tuple[Service, ServicePort, Address]]:
    """Everything that is proxied with this protocol, with its cluster IP, Services in the order of their names."""
    for _, service in sorted(here.store.services.items()):
        cluster_ip = next((ip for ip in service.cluster_ips if family_of(ip) is here.family), None)
        if cluster_ip is None or service.type is ServiceType.EXTERNAL_NAME or service.opt_out_label:
            continue
        for port in service.ports:
            if port.protocol is protocol:
                yield service, port, cluster_ip


def _accesses(
    service: Service, port: ServicePort, cluster_ip: Address, here: _Here, packet: Packet
) -> Iterator[_Access]:
    if port.port == packet.port:
        if packet.destination == cluster_ip:
            yield _Access.CLUSTER_IP
        if packet.destination in service.external_ips and here.settings.external_ips:
            yield _Access.EXTERNAL_IP
        if packet.destination in service.load_balancer_vips:
            yield _Access.LOAD_BALANCER
    if port.node_port == packet.port and here.host.owns(packet.destination):
        yield _Access.NODE_PORT


def _is_own(here: _Here, protocol: Protocol, address: Address, port: int) -> bool:
    """Whether this is an endpoint on this node for any Service that may send to it from here."""
    where = address, port
    for service, service_port, _ in _service_ports(here, protocol):
        endpoints = _endpoints(service, service_port, here)
        if where in endpoints and endpoints[where].node == here.name:
            ways = (_Claim(service, access, endpoints, here) for access in _ways(service, service_port, here))
            if any(claim.may_send_to(where) for claim in ways):
                return True
    return False


def _ways(service: Service, port: ServicePort, here: _Here) -> Iterator[_Access]:
    """By which kinds of address the service port is reached at all in this family."""
    yield _Access.CLUSTER_IP
    if here.settings.external_ips and any(family_of(each) is here.family for each in service.external_ips):
        yield _Access.EXTERNAL_IP
    if any(family_of(each) is here.family for each in service.load_balancer_vips):
        yield _Access.LOAD_BALANCER
    if port.node_port:
        yield _Access.NODE_PORT


def _endpoints(service: Service, port: ServicePort, here: _Here) -> dict[tuple[Address, int], Endpoint]:
    """The service port's endpoints, each address and port once."""
    copies: dict[tuple[Address, int], list[Endpoint]] = {}
    for piece in here.store.slices_of(service.key):
        if piece.family is not here.family or piece.opt_out_label:
            continue
        numbers = [
            each.port for each in piece.ports if (each.name, each.protocol) == (port.name, port.protocol)
        ]
        for number in numbers:
            for endpoint in piece.endpoints:
                copies.setdefault((endpoint.address, number), []).append(endpoint)
    return {where: _believed(listed) for where, listed in copies.items()}


def _believed(copies: list[Endpoint]) -> Endpoint:
    """The copy that counts where one address is listed several times, slices in the order of their names.

    A pod that runs is believed rather than one that ends and had the address before: the last copy that is not
    terminating, and the first if all are (kubernetes#135593).
    """
    running = [each for each in copies if not each.terminating]
    return running[-1] if running else copies[0]


def _foremost(claims: list[_Claim]) -> list[_Claim]:
    """In nftables mode an address and port belongs to one Service, and so does a node port: to that of most use."""
    node_ports = [claim for claim in claims if claim.access is _Access.NODE_PORT]
    others = [claim for claim in claims if claim.access is not _Access.NODE_PORT]
    return [
        min(rivals, key=lambda claim: (claim.is_unserved, claim.serves_nobody))
        for rivals in (others, node_ports)
        if rivals
    ]


def _is_kept_out(claims: list[_Claim], packet: Packet) -> bool:
    """In nftables mode source ranges guard the load balancer's address, whatever else it is, with endpoints and without.

    Those of the Service that it belongs to count, or if that has none, of the first by name.
    """
    owners = [claim.service for claim in _foremost(claims)]
    guards = [claim for claim in claims if claim.is_restricted]
    guards.sort(key=lambda claim: claim.service not in owners)
    return bool(guards) and not guards[0].admits(packet.source)


def _refusal(claims: list[_Claim], here: _Here, packet: Packet) -> Verdict | None:
    """What becomes of a packet for which no claim has a backend; None if nobody minds it."""
    if _is_martian(here, packet) or any(claim.is_guarded for claim in claims):
        return Verdict.DROPPED
    unserved = [claim for claim in claims if claim.is_unserved and _is_asked_in_vain(claim, packet)]
    unserved.sort(key=lambda claim: claim.access is not _Access.CLUSTER_IP)
    return unserved[0].refusal if unserved else None


def _is_asked_in_vain(claim: _Claim, packet: Packet) -> bool:
    """Whether a claim that cannot serve answers this packet at all.

    In iptables mode only what comes to the node or through it is refused by an external address: a
    process of the node that calls one without backends is let go, unless the address is the node's own.
    A node port is refused at each of the node's addresses. In nftables mode all are refused alike, node ports
    only where they would be served.
    """
    here = claim.here
    if claim.access is _Access.CLUSTER_IP:
        return True
    if here.settings.is_nftables:
        return claim.access is not _Access.NODE_PORT or here.answers_node_ports(packet.destination)
    return not packet.is_from_a_process or here.host.owns(packet.destination)


def _refusal_of_service_network(here: _Here, packet: Packet) -> Verdict | None:
    """In nftables mode a cluster IP refuses ports that it has not, and a free address of its networks drops all."""
    if not here.settings.is_nftables or here.host.owns(packet.destination):
        return None
    held = {
        cluster_ip
        for service in here.store.services.values()
        if service.type is not ServiceType.EXTERNAL_NAME and not service.opt_out_label and service.ports
        for cluster_ip in service.cluster_ips
    }
    if packet.destination in held:
        return Verdict.REJECTED
    networks = here.store.service_networks(here.family)
    return Verdict.DROPPED if any(contains(each, packet.destination) for each in networks) else None


def _is_martian(here: _Here, packet: Packet) -> bool:
    """Node ports on localhost open 127.0.0.0/8 to other addresses; only their own traffic may pass there."""
    return (
        packet.destination.startswith("127.")
        and not packet.source.startswith("127.")
        and here.answers_node_ports(Address("127.0.0.1"))
    )
