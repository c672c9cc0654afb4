"""Whether the backend sees the node as the client, because its answers would not come back through the node otherwise.

Sources: "Virtual IPs and Service Proxies" and "Using Source IP" in the Kubernetes documentation; the reference of
KubeProxyConfiguration for `masqueradeAll` and `clusterCIDR`. That a pod which reaches itself is masqueraded, and how
nftables mode tells such a pod, follows the two modes of kube-proxy, as observed.
"""

from collections.abc import Iterator

from kproxy.model.packet import Packet
from kproxy.oracle.claims import Access, Claim, service_ports
from kproxy.oracle.endpoints import Place, endpoints_of
from kproxy.oracle.here import Here
from kproxy.state.objects import Service, ServicePort
from kproxy.values import Protocol, family_of


def is_masqueraded(claim: Claim, packet: Packet, backend: Place) -> bool:
    """Whether a packet that the claim sends to the backend takes an address of the node as its source.

    A packet to a backend that is the node itself is left as it is, because the answer starts at the node.
    """
    here, (address, _) = claim.here, backend
    if not packet.is_from_a_process and here.host.owns(address):
        return False
    if packet.source == address and _may_hairpin(here, packet.protocol, backend):
        return True
    if claim.access is Access.CLUSTER_IP:
        from_elsewhere = here.tells_pods and not here.is_from_pod(packet)
        return here.settings.masquerade_all or from_elsewhere
    if not claim.follows_local_policy:
        return True
    return not here.is_from_pod(packet) and here.host.owns(packet.source)


def _may_hairpin(here: Here, protocol: Protocol, backend: Place) -> bool:
    """Whether a packet from the backend's own address counts as sent by the backend to itself.

    In nftables mode only an endpoint on this node is masqueraded, of any Service; others send here only by a detour.
    """
    return not here.settings.is_nftables or _is_on_this_node(here, protocol, backend)


def _is_on_this_node(here: Here, protocol: Protocol, backend: Place) -> bool:
    """Whether this is an endpoint on this node for any Service that may send to it from here."""
    for service, port, _ in service_ports(here, protocol):
        endpoints = endpoints_of(service, port, here)
        if backend in endpoints and endpoints[backend].node == here.name:
            claims = (Claim(service, access, endpoints, here) for access in _accesses(service, port, here))
            if any(claim.may_send_to(backend) for claim in claims):
                return True
    return False


def _accesses(service: Service, port: ServicePort, here: Here) -> Iterator[Access]:
    """The kinds of address by which the service port is reached at all in this family."""
    yield Access.CLUSTER_IP
    if here.settings.external_ips and any(family_of(each) is here.family for each in service.external_ips):
        yield Access.EXTERNAL_IP
    if any(family_of(each) is here.family for each in service.load_balancer_vips):
        yield Access.LOAD_BALANCER
    if port.node_port:
        yield Access.NODE_PORT
