"""The beginning and the end of a walk through rules: where a packet is at first, and its fate."""

from collections.abc import Iterable
from fractions import Fraction

from kproxy.errors import KproxyError
from kproxy.model.packet import Fate, Fates, Host, Packet, Verdict
from kproxy.trace.rule import Effect, Position

_VERDICTS = {Effect.DROP: Verdict.DROPPED, Effect.REJECT: Verdict.REJECTED}


class NotUnderstood(KproxyError):
    """A packet meets a rule with a word whose meaning is not known here; the text names the rule and the word."""


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
    """The fate after all rules; `effect` is ACCEPT, DROP or REJECT."""
    if effect in _VERDICTS:
        return Fate(_VERDICTS[effect])
    arrived = position.destination, position.port
    if arrived == (packet.destination, packet.port) and not position.masqueraded:
        return Fate(Verdict.NOT_OURS)
    return Fate(Verdict.SENT, *arrived, position.masqueraded)


def summed(ways: Iterable[tuple[Fate, Fraction]]) -> Fates:
    """The share of each fate: the sum over all ways that lead to it."""
    fates: Fates = {}
    for fate, share in ways:
        fates[fate] = fates.get(fate, Fraction(0)) + share
    return fates
