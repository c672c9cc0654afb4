"""The oracle: the fate of a packet, as the documentation of Services tells it and not as rules do.

It answers for one packet at a time from the objects alone. It shares no decision with the code that
makes rules, so that the two can be held against each other and against the kernel.

The rules of the documentation stand in one file for each subject, whose header names its sources:

- `here.py`: this node, its pods, where node ports answer;
- `endpoints.py`: readiness, termination, hints, copies, and what is on this node;
- `claims.py`: addresses of Services, policies, source ranges, and the order in which Services are asked;
- `rivals.py`: several Services at one address, in nftables mode;
- `masquerade.py`: whether the backend sees the client's address;
- `refusals.py`: packets that find no backend.

Where nftables mode (`Settings.is_nftables`) decides otherwise, the name says in which point: `is_kept_out`, `foremost`,
`_may_hairpin`, `_refuses`, `_refusal_by_service_network`. Its node ports are never on localhost (`rule_settings`).

The oracle assumes that no endpoint's address and port is also an address and port of a Service.
"""

from fractions import Fraction

from kproxy.model.packet import Fate, Fates, Host, Packet, Verdict
from kproxy.model.settings import Settings
from kproxy.oracle.claims import claims_on
from kproxy.oracle.here import Here
from kproxy.oracle.masquerade import is_masqueraded
from kproxy.oracle.refusals import refusal
from kproxy.oracle.rivals import foremost, is_kept_out
from kproxy.state.store import Store


def decide(store: Store, settings: Settings, node_name: str, host: Host, packet: Packet) -> Fates:
    """The fates of a connection's first packet on this node, with the probability of each.

    No client has been seen before, so session affinity changes nothing. If several Services claim one address and
    port, they are asked in the order of namespace and name, node ports last; a Service that has a backend for the
    packet comes before any that would refuse it.
    """
    here = Here(store, settings, node_name, host, packet.family)
    claims = list(claims_on(packet, here))
    if settings.is_nftables:
        if is_kept_out(claims, packet):
            return {Fate(Verdict.DROPPED): Fraction(1)}
        claims = foremost(claims)
    for claim in claims:
        if backends := claim.backends(packet):
            share = Fraction(1, len(backends))
            return {
                Fate(Verdict.SENT, *backend, is_masqueraded(claim, packet, backend)): share
                for backend in backends
            }
    return {Fate(refusal(claims, here, packet) or Verdict.NOT_OURS): Fraction(1)}
