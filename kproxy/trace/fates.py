"""What a walk through anybody's rules begins and ends with: where a packet is at first, and what has become of it."""

from collections.abc import Iterable
from fractions import Fraction

from kproxy.errors import KproxyError
from kproxy.model.packet import Fate, Fates, Host, Packet, Verdict
from kproxy.trace.rule import Effect, Position

_VERDICTS = {Effect.DROP: Verdict.DROPPED, Effect.REJECT: Verdict.REJECTED}


class NotUnderstood(KproxyError):
    """A rule that a packet meets says something whose meaning is not known here; the text names both."""


def start_of(packet: Packet, host: Host, remembered: frozenset[str] = frozenset()) -> Position:
    return Position(
        packet.protocol,
        packet.source,
        packet.source_port,
        packet.destination,
        packet.port,
        packet.interface,
        host,
        remembered,
    )


def fate_of(packet: Packet, effect: Effect, position: Position) -> Fate:
    """After all rules; `effect` is ACCEPT, DROP or REJECT."""
    if effect in _VERDICTS:
        return Fate(_VERDICTS[effect])
    arrived = position.destination, position.port
    if arrived == (packet.destination, packet.port) and not position.masqueraded:
        return Fate(Verdict.NOT_OURS)
    return Fate(Verdict.SENT, *arrived, position.masqueraded)


def summed(ways: Iterable[tuple[Fate, Fraction]]) -> Fates:
    """The share of each fate, whichever ways lead there."""
    fates: Fates = {}
    for fate, share in ways:
        fates[fate] = fates.get(fate, Fraction(0)) + share
    return fates
