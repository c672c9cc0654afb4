"""The fate of a packet for which no claim has a backend: rejected, dropped, or let go.

Sources: "Service" in the Kubernetes documentation for Services without endpoints. Addresses of the service network are
refused as by the chain `cluster-ips-check` of kube-proxy's nftables mode. The rest follows its two modes,
as observed.
"""

from kproxy.model.packet import Packet, Verdict
from kproxy.oracle.claims import Access, Claim
from kproxy.oracle.here import Here
from kproxy.state.objects import ServiceType
from kproxy.values import contains


def refusal(claims: list[Claim], here: Here, packet: Packet) -> Verdict | None:
    """The verdict on a packet for which no claim has a backend; None if no rule refuses it."""
    return _refusal_by_claims(claims, here, packet) or _refusal_by_service_network(here, packet)


def _refusal_by_claims(claims: list[Claim], here: Here, packet: Packet) -> Verdict | None:
    if here.is_martian(packet) or any(claim.is_guarded for claim in claims):
        return Verdict.DROPPED
    unserved = [claim for claim in claims if claim.is_unserved and _refuses(claim, packet)]
    unserved.sort(key=lambda claim: claim.access is not Access.CLUSTER_IP)
    return unserved[0].refusal if unserved else None


def _refuses(claim: Claim, packet: Packet) -> bool:
    """Whether a claim that cannot serve answers this packet at all.

    In iptables mode an external address refuses only packets that come to the node or through it: a process of the
    node that calls an address without backends is let go, unless the address is the node's own. A node port is refused
    at each of the node's addresses. In nftables mode all are refused alike, node ports only where they would be served.
    """
    here = claim.here
    if claim.access is Access.CLUSTER_IP:
        return True
    if here.settings.is_nftables:
        return claim.access is not Access.NODE_PORT or here.answers_node_ports(packet.destination)
    return not packet.is_from_a_process or here.host.owns(packet.destination)


def _refusal_by_service_network(here: Here, packet: Packet) -> Verdict | None:
    """In nftables mode a cluster IP refuses ports that it does not have; free addresses of its networks drop all."""
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
