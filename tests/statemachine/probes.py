"""Packets that ask the kernel, all the time, what it makes of every address that matters."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice

from kproxy.model.packet import Fate, Packet, Verdict
from kproxy.model.settings import Settings
from kproxy.oracle.decide import decide
from kproxy.values import Address, Family
from statemachine.cluster import NODE, Cluster, addresses_of, node_port_of
from wire import LOCAL_PODS, OTHER_NODES, OUTSIDE, Wire

Allowed = Mapping[Packet, AbstractSet[Fate]]
"""The fates that each packet may have at a moment."""

_SENDERS = {
    Family.IPV4: (
        ("198.51.100.9", OUTSIDE.name),
        ("203.0.113.200", OUTSIDE.name),
        ("10.128.1.10", LOCAL_PODS.name),
        ("10.128.2.99", OTHER_NODES.name),
        ("10.199.0.2", ""),
    ),
    Family.IPV6: (
        ("2001:db8:51::9", OUTSIDE.name),
        ("2001:db8:ff::9", OUTSIDE.name),
        ("fd00:10:128:1::2", LOCAL_PODS.name),
        ("fd00:10:128:2::99", OTHER_NODES.name),
        ("fd00:199::2", ""),
    ),
}
_NODE = {Family.IPV4: Address("10.199.0.2"), Family.IPV6: Address("fd00:199::2")}
_AT_ONCE = 80


class Misdelivered(AssertionError):
    """A packet met a fate that neither the old nor the new state has for it."""


def packets(clusters: Iterable[Cluster]) -> list[Packet]:
    """To every address and node port that any of the clusters' Services has, from every kind of sender."""
    used = {
        (shape.slot, family, shape.protocol)
        for cluster in clusters
        for shape in cluster.services.values()
        for family in shape.families
    }
    return [
        Packet(protocol, Address(source), destination, port, interface)
        for slot, family, protocol in sorted(used)
        for destination, port in _destinations(slot, family)
        for source, interface in _SENDERS[family]
    ]


def _destinations(slot: int, family: Family) -> Iterator[tuple[Address, int]]:
    for address in addresses_of(slot, family):
        yield address, 80
    yield _NODE[family], node_port_of(slot)


def allowed_fates(
    wire: Wire, asked: Iterable[Packet], states: Sequence[tuple[Cluster, Settings]]
) -> dict[Packet, set[Fate]]:
    """Whatever any of the states has for a packet.

    A sender that is not served in each of them may be kept waiting while they change: the refusals of the new
    state stand before its redirections do, and a guard by source ranges goes only after them.
    """
    allowed: dict[Packet, set[Fate]] = {packet: set() for packet in asked}
    for cluster, settings in states:
        for packet, fates in allowed.items():
            decided = decide(cluster.store, settings, NODE, wire.host, packet)
            fates.update(decided)
    for fates in allowed.values():
        if len(fates) > 1 and not all(fate.verdict is Verdict.SENT for fate in fates):
            fates.add(Fate(Verdict.DROPPED))
    return allowed


class Prober:
    """Sends packets round by round, a part of them at a time, and judges each."""

    def __init__(self, wire: Wire, tally: Counter[str]) -> None:
        self._wire = wire
        self._tally = tally
        self._at = 0

    def send_some(self, allowed: Allowed) -> None:
        """The next of them in turn; Misdelivered if one goes astray."""
        turn = self._at % max(len(allowed), 1)
        chosen = [*islice(allowed, turn, turn + _AT_ONCE)]
        self._at = turn + len(chosen)
        self._send(chosen, allowed)

    def send_all(self, allowed: Allowed) -> None:
        self._send([*allowed], allowed)

    def _send(self, chosen: list[Packet], allowed: Allowed) -> None:
        self._tally["packets"] += len(chosen)
        for packet, seen in zip(chosen, self._wire.send(chosen), strict=True):
            if seen.fate not in allowed[packet]:
                wanted = " or ".join(map(str, sorted(allowed[packet], key=str)))
                raise Misdelivered(f"{packet} became {seen.fate}, not {wanted}")
