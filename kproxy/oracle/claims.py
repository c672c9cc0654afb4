"""The service ports that answer to the destination of a packet, and the kind of address by which each is reached.

Sources: "Service" and "Virtual IPs and Service Proxies" in the Kubernetes documentation: types of Services, external
IPs, load balancers with `ipMode` VIP and `loadBalancerSourceRanges`, both traffic policies, and the label
service-proxy-name. The order in which claims are asked is that of kube-proxy's iptables mode, as observed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from kproxy.model.packet import Packet, Verdict
from kproxy.oracle.endpoints import Endpoints, Place, endpoints_of, usable, usable_anywhere, usable_here
from kproxy.oracle.here import Here
from kproxy.state.objects import Service, ServicePort, ServiceType
from kproxy.values import Address, Network, Protocol, contains, family_of


class Access(Enum):
    """The kind of address by which a Service is reached."""

    CLUSTER_IP = auto()
    EXTERNAL_IP = auto()
    LOAD_BALANCER = auto()
    NODE_PORT = auto()


@dataclass(frozen=True, slots=True)
class Claim:
    """A service port to which a packet is addressed."""

    service: Service
    access: Access
    endpoints: Endpoints
    here: Here

    @property
    def follows_local_policy(self) -> bool:
        if self.access is Access.CLUSTER_IP:
            return self.service.internal_policy_local
        return self.service.external_policy_local

    def backends(self, packet: Packet) -> list[Place]:
        """The places to which this packet may be sent; empty if this claim has none for it."""
        if self.access is Access.NODE_PORT and not self.here.answers_node_ports(packet.destination):
            return []
        if self.access is Access.LOAD_BALANCER and not self.admits(packet.source):
            return []
        return self._local() if self._stays_local(packet) else self._anywhere()

    def may_send_to(self, place: Place) -> bool:
        """Whether some packet that this claim answers can be sent there."""
        is_internal = self.access is Access.CLUSTER_IP
        return (self.follows_local_policy and place in self._local()) or (
            not (is_internal and self.follows_local_policy) and place in self._anywhere()
        )

    @property
    def refusal(self) -> Verdict:
        """Refused if no node can serve it; dropped if only this node cannot, so that the client tries another."""
        return Verdict.DROPPED if usable(self.endpoints) else Verdict.REJECTED

    @property
    def is_unserved(self) -> bool:
        return not (self._local() if self.follows_local_policy else self._anywhere())

    @property
    def serves_nobody(self) -> bool:
        return self.is_unserved and (self.access is Access.CLUSTER_IP or not usable(self.endpoints))

    @property
    def is_guarded(self) -> bool:
        """Whether source ranges restrict this load balancer; without endpoints every client is refused."""
        return self.is_restricted and bool(usable(self.endpoints))

    @property
    def is_restricted(self) -> bool:
        return self.access is Access.LOAD_BALANCER and bool(self._ranges)

    def admits(self, source: Address) -> bool:
        """Whether the source ranges let the client in.

        If they let this node in, they also let in a packet from the load balancer's own address, which is from the
        node: some kernels choose that address as source for a local address.
        """
        ranges = self._ranges
        primary = self.here.primary_address
        admits_node = primary is not None and any(contains(each, primary) for each in ranges)
        return (
            not ranges
            or any(contains(each, source) for each in ranges)
            or (admits_node and source in self.service.load_balancer_vips)
        )

    @property
    def _ranges(self) -> list[Network]:
        ranges = [each for each in self.service.source_ranges if family_of(each) is self.here.family]
        return [] if any(each.endswith("/0") for each in ranges) else ranges

    def _stays_local(self, packet: Packet) -> bool:
        """Whether policy Local binds this packet: the node and its pods reach every backend by an external address."""
        if self.access is Access.CLUSTER_IP or not self.follows_local_policy:
            return self.follows_local_policy
        return not (self.here.is_from_pod(packet) or self.here.host.owns(packet.source))

    def _local(self) -> list[Place]:
        return usable_here(self.endpoints, self.here)

    def _anywhere(self) -> list[Place]:
        return usable_anywhere(self.endpoints, self.here)


def claims_on(packet: Packet, here: Here) -> Iterator[Claim]:
    """The service ports that answer to the packet's destination, in the order in which they are asked."""
    node_ports = []
    for service, port, cluster_ip in service_ports(here, packet.protocol):
        accesses = list(_accesses(service, port, cluster_ip, here, packet))
        if not accesses:
            continue
        endpoints = endpoints_of(service, port, here)
        claims = [Claim(service, access, endpoints, here) for access in accesses]
        node_ports += [claim for claim in claims if claim.access is Access.NODE_PORT]
        yield from (claim for claim in claims if claim.access is not Access.NODE_PORT)
    yield from node_ports


def service_ports(here: Here, protocol: Protocol) -> Iterator[tuple[Service, ServicePort, Address]]:
    """Everything that is proxied with this protocol, with its cluster IP, Services in the order of their names."""
    for _, service in sorted(here.store.services.items()):
        cluster_ip = next((ip for ip in service.cluster_ips if family_of(ip) is here.family), None)
        if cluster_ip is None or service.type is ServiceType.EXTERNAL_NAME or service.opt_out_label:
            continue
        for port in service.ports:
            if port.protocol is protocol:
                yield service, port, cluster_ip


def _accesses(
    service: Service, port: ServicePort, cluster_ip: Address, here: Here, packet: Packet
) -> Iterator[Access]:
    if port.port == packet.port:
        if packet.destination == cluster_ip:
            yield Access.CLUSTER_IP
        if packet.destination in service.external_ips and here.settings.external_ips:
            yield Access.EXTERNAL_IP
        if packet.destination in service.load_balancer_vips:
            yield Access.LOAD_BALANCER
    if port.node_port == packet.port and here.host.owns(packet.destination):
        yield Access.NODE_PORT
