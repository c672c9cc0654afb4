"""Walks a packet through rules in the order of the kernel's hooks, along every way that random matches allow."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from kproxy.model.packet import Fate, Fates, Host, Packet
from kproxy.trace.fates import NotUnderstood, fate_of, start_of, summed
from kproxy.trace.iptables.dump import RuleChain, Tables
from kproxy.trace.rule import Action, Effect, Position, Rule

_Hook = tuple[str, tuple[str, ...]]
_PREROUTING: _Hook = ("PREROUTING", ("raw", "mangle", "nat"))
_INPUT: _Hook = ("INPUT", ("mangle", "filter", "security", "nat"))
_FORWARD: _Hook = ("FORWARD", ("mangle", "filter", "security"))
_OUTPUT: _Hook = ("OUTPUT", ("raw", "mangle", "nat", "filter", "security"))
_POSTROUTING: _Hook = ("POSTROUTING", ("mangle", "nat"))
_PREROUTING_AGAIN: _Hook = ("PREROUTING", ("raw", "mangle"))
_INPUT_AGAIN: _Hook = ("INPUT", ("mangle", "filter", "security"))
"""The kernel translates a connection once in each direction, so that a second round by `lo` skips nat."""

_DEEPEST = 100
"""The most jumps in jumps. The kernel refuses a circle of jumps, but a dump that was edited may have one."""
_LOOPBACK = "lo"


class Way(NamedTuple):
    """One way that a packet may go: its fate, its probability, and the rules that matched on it.

    `fate` is None if the last rule could not be understood.
    """

    fate: Fate | None
    share: Fraction
    rules: tuple[Rule, ...]


class _Reached(NamedTuple):
    """A packet after some rules. `effect` is ACCEPT, DROP, REJECT, RETURN, or None if a rule is not understood."""

    effect: Effect | None
    position: Position
    share: Fraction
    rules: tuple[Rule, ...]


class Walker:
    """Walks packets through the rules of one family in one dump, on the node `host`."""

    def __init__(self, tables: Tables, host: Host) -> None:
        self._tables = tables
        self._host = host

    def fates(self, packet: Packet, remembered: frozenset[str] = frozenset()) -> Fates:
        """All fates that the packet may have as the first packet of a connection.

        `remembered` are the lists of `-m recent` that contain its source. Raises NotUnderstood if the packet
        meets a rule with an unknown word.
        """
        return summed((_known(way), way.share) for way in self.ways(packet, remembered))

    def ways(self, packet: Packet, remembered: frozenset[str] = frozenset()) -> list[Way]:
        """Every way the packet may go; the shares add up to 1."""
        start = start_of(packet, self._host, remembered)
        return list(self._travel(_Reached(Effect.ACCEPT, start, Fraction(1), ()), packet))

    def _travel(self, reached: _Reached, packet: Packet) -> Iterator[Way]:
        first = _OUTPUT if packet.is_from_a_process else _PREROUTING
        for routed in self._pass_hooks([reached], first):
            if routed.effect is not Effect.ACCEPT:
                yield _way(routed, packet)
                continue
            stays = self._host.owns(routed.position.destination)
            if packet.is_from_a_process:
                hooks = [_POSTROUTING, *([_PREROUTING_AGAIN, _INPUT_AGAIN] if stays else [])]
            else:
                hooks = [_INPUT] if stays else [_FORWARD, _POSTROUTING]
            for final in self._pass_hooks([routed], *hooks):
                yield _way(final, packet)

    def _pass_hooks(self, arrived: list[_Reached], *hooks: _Hook) -> list[_Reached]:
        for name, tables in hooks:
            if (name, tables) == _PREROUTING_AGAIN:
                arrived = [
                    each._replace(position=each.position._replace(interface=_LOOPBACK)) for each in arrived
                ]
            for table in tables:
                chain = self._tables.get(table, {}).get(name)
                if chain:
                    arrived = [after for before in arrived for after in self._pass(chain, before)]
        return arrived

    def _pass(self, chain: RuleChain, before: _Reached) -> Iterator[_Reached]:
        if before.effect is not Effect.ACCEPT:
            yield before
            return
        for after in self._walk(chain, before, 0, 0):
            if after.effect is Effect.RETURN:
                yield after._replace(effect=Effect.DROP if chain.policy == "DROP" else Effect.ACCEPT)
            else:
                yield after

    def _walk(self, chain: RuleChain, at: _Reached, start: int, depth: int) -> Iterator[_Reached]:
        """The places that the packet reaches from the chain's rule number `start` on."""
        _, position, share, trail = at
        for place, rule in chain.rules_for(position.destination):
            if place < start or not all(holds(position) for holds in rule.conditions):
                continue
            taken = _Reached(None, position, share * rule.odds, (*trail, rule))
            if depth > _DEEPEST:
                yield taken._replace(rules=(*trail, replace(rule, not_understood="a circle of jumps")))
                return
            if rule.not_understood:
                yield taken
                return
            for after in self._act(rule, taken, depth):
                if after.effect is Effect.NOTHING:
                    yield from self._walk(chain, after, place + 1, depth)
                else:
                    yield after
            share *= 1 - rule.odds
            if not share:
                return
        yield _Reached(Effect.RETURN, position, share, trail)

    def _act(self, rule: Rule, at: _Reached, depth: int) -> Iterator[_Reached]:
        action = rule.action
        match action.effect:
            case Effect.JUMP | Effect.GO_TO:
                target = self._tables[rule.table].get(action.chain)
                if target is None:
                    unknown = replace(rule, not_understood=f"-j {action.chain}")
                    yield at._replace(rules=(*at.rules[:-1], unknown))
                    return
                for after in self._walk(target, at, 0, depth + 1):
                    comes_back = after.effect is Effect.RETURN and action.effect is Effect.JUMP
                    yield after._replace(effect=Effect.NOTHING) if comes_back else after
            case Effect.REDIRECT | Effect.MASQUERADE:
                yield at._replace(effect=Effect.ACCEPT, position=_translated(at.position, action))
            case Effect.MARK:
                mark = (at.position.mark & ~action.mask) ^ action.mark
                yield at._replace(effect=Effect.NOTHING, position=at.position._replace(mark=mark))
            case _:
                yield at._replace(effect=action.effect)


def _translated(position: Position, action: Action) -> Position:
    if action.effect is Effect.MASQUERADE:
        return position._replace(masqueraded=True)
    return position._replace(
        destination=action.address or position.destination,
        port=action.port or position.port,
        redirected=True,
    )


def _way(reached: _Reached, packet: Packet) -> Way:
    """The way of a packet that goes no further."""
    fate = fate_of(packet, reached.effect, reached.position) if reached.effect else None
    return Way(fate, reached.share, reached.rules)


def _known(way: Way) -> Fate:
    if way.fate is None:
        rule = way.rules[-1]
        raise NotUnderstood(f"{rule.not_understood!r} is not understood, in {rule}")
    return way.fate
