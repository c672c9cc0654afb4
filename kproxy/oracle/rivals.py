"""Services that claim one address and port in nftables mode, where an element of a map belongs to one Service only.

The documentation is silent on this: the rules here are those of kube-proxy's nftables mode, as observed.
"""

from kproxy.model.packet import Packet
from kproxy.oracle.claims import Access, Claim


def foremost(claims: list[Claim]) -> list[Claim]:
    """The claim that gets an address and port, and the claim that gets a node port: each the most useful one."""
    node_ports = [claim for claim in claims if claim.access is Access.NODE_PORT]
    others = [claim for claim in claims if claim.access is not Access.NODE_PORT]
    return [
        min(rivals, key=lambda claim: (claim.is_unserved, claim.serves_nobody))
        for rivals in (others, node_ports)
        if rivals
    ]


def is_kept_out(claims: list[Claim], packet: Packet) -> bool:
    """Whether source ranges keep the packet out; they guard the address, with endpoints and without.

    The ranges of the Service that has the address count; if it has none, the ranges of the first Service by name.
    """
    owners = [claim.service for claim in foremost(claims)]
    guards = [claim for claim in claims if claim.is_restricted]
    guards.sort(key=lambda claim: claim.service not in owners)
    return bool(guards) and not guards[0].admits(packet.source)
