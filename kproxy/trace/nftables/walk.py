"""Walks a packet through nftables rules as kproxy writes them, along every way that random numbers allow.

It never guesses: a rule with a statement that it does not know is NotUnderstood.
"""

import ipaddress
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from kproxy.model.packet import Fate, Fates, Host, Packet
from kproxy.trace.fates import NotUnderstood, fate_of, start_of, summed
from kproxy.trace.nftables.dump import Key, NftChain, NftRule, NftTables, Statement, elements
from kproxy.trace.rule import Effect, Position
from kproxy.values import Address

_DEEPEST = 16
"""The most jumps in jumps: NFT_JUMP_STACK_SIZE of the kernel."""

_MOST_CHOICES = 100_000
"""The largest `numgen` that is read: no Service has more backends, and each number is walked on its own."""

_LOOPBACK = "lo"
_UNKNOWN = (LookupError, TypeError, ValueError, AttributeError)
"""The exceptions that end the reading of a statement which is not understood."""

_ENDS = {"accept": Effect.ACCEPT, "drop": Effect.DROP, "reject": Effect.REJECT, "return": Effect.RETURN}


class NftWay(NamedTuple):
    """One way that a packet may go: its fate, its probability, and the rules that matched on it."""

    fate: Fate
    share: Fraction
    rules: tuple[NftRule, ...]


class _At(NamedTuple):
    """A packet after some rules; `effect` is NOTHING while it goes on to the next."""

    effect: Effect
    position: Position
    share: Fraction
    rules: tuple[NftRule, ...]


class NftWalker:
    """Walks packets through the table of one family, on the node `host`; no client was seen before."""

    def __init__(self, tables: NftTables, host: Host) -> None:
        self._tables = tables
        self._host = host

    def fates(self, packet: Packet) -> Fates:
        """All fates that the packet may have as the first packet of a connection; NotUnderstood names a rule."""
        return summed((way.fate, way.share) for way in self.ways(packet))

    def ways(self, packet: Packet) -> Iterator[NftWay]:
        """Every way the packet may go; the shares add up to 1."""
        start = _At(Effect.ACCEPT, start_of(packet, self._host), Fraction(1), ())
        for routed in self._pass([start], "output" if packet.is_from_a_process else "prerouting"):
            stays = self._host.owns(routed.position.destination)
            if packet.is_from_a_process:
                arrived = self._pass([routed], "postrouting")
                if stays:
                    again = [
                        each._replace(position=each.position._replace(interface=_LOOPBACK))
                        for each in arrived
                    ]
                    arrived = self._pass(self._pass(again, "prerouting", once="nat"), "input", once="nat")
            elif stays:
                arrived = self._pass([routed], "input")
            else:
                arrived = self._pass(self._pass([routed], "forward"), "postrouting")
            yield from (
                NftWay(fate_of(packet, each.effect, each.position), each.share, each.rules)
                for each in arrived
            )

    def _pass(self, packets: list[_At], hook: str, once: str = "") -> list[_At]:
        """The packets after the chains of a hook. Chains of kind `once` translated this connection before."""
        for chain in self._tables.hooked(hook):
            if chain.kind != once:
                packets = [after for before in packets for after in self._enter(chain, before)]
        return packets

    def _enter(self, chain: NftChain, before: _At) -> Iterator[_At]:
        if before.effect is not Effect.ACCEPT:
            yield before
            return
        for after in self._walk(chain.name, before._replace(effect=Effect.NOTHING), 0):
            if after.effect in {Effect.NOTHING, Effect.RETURN}:
                yield after._replace(effect=Effect.DROP if chain.policy == "drop" else Effect.ACCEPT)
            else:
                yield after

    def _walk(self, name: str, at: _At, depth: int) -> Iterator[_At]:
        """The places that the packet reaches in a chain; its effect is RETURN at the end of the chain."""
        chain = self._tables.chains.get(name)
        if chain is None or depth > _DEEPEST:
            raise NotUnderstood(f"chain {name!r} is not there, or leads in a circle, in {at.rules[-1]}")
        going_on = [at]
        for rule in chain.rules:
            still_going_on = []
            for after in (
                each for before in going_on for each in self._run(rule, rule.statements, before, depth)
            ):
                if after.effect is Effect.NOTHING:
                    still_going_on.append(after)
                else:
                    yield after
            going_on = still_going_on
        yield from (each._replace(effect=Effect.RETURN) for each in going_on)

    def _run(self, rule: NftRule, statements: tuple[Statement, ...], at: _At, depth: int) -> Iterator[_At]:
        """The packet after the rest of a rule; its effect is NOTHING if the rule does not match or has no verdict."""
        if not statements:
            yield at
            return
        rest = statements[1:]
        try:
            ((word, about),) = statements[0].items()
            match word:
                case "match":
                    yield from self._matched(rule, about, rest, at, depth)
                case "mangle" if about["key"] == {"meta": {"key": "mark"}}:
                    ((mark, _),) = self._values(about["value"], at.position)
                    marked = at.position._replace(mark=int(mark[0]))
                    yield from self._run(rule, rest, _held(rule, at._replace(position=marked)), depth)
                case "set" if about["op"] == "update":
                    yield from self._run(rule, rest, at, depth)
                case "vmap":
                    yield from self._verdicts(rule, about, at, depth)
                case "dnat":
                    yield from self._redirected(rule, about, at)
                case "masquerade":
                    yield _held(
                        rule,
                        at._replace(effect=Effect.ACCEPT, position=at.position._replace(masqueraded=True)),
                    )
                case _:
                    yield from self._verdict(rule, {word: about}, at, depth)
        except _UNKNOWN as unknown:
            raise NotUnderstood(f"{statements[0]} is not understood, in {rule}") from unknown

    def _verdict(self, rule: NftRule, verdict: Statement, at: _At, depth: int) -> Iterator[_At]:
        ((word, about),) = verdict.items()
        if word in _ENDS:
            yield _held(rule, at._replace(effect=_ENDS[word]))
            return
        if word not in {"jump", "goto"}:
            raise ValueError(word)
        for after in self._walk(about["target"], _held(rule, at), depth + 1):
            comes_back = word == "jump" and after.effect is Effect.RETURN
            yield after._replace(effect=Effect.NOTHING) if comes_back else after

    def _verdicts(self, rule: NftRule, about: Statement, at: _At, depth: int) -> Iterator[_At]:
        held = self._elements(about["data"])
        for key, share in self._values(about["key"], at.position):
            chosen = at._replace(share=at.share * share)
            if key in held:
                yield from self._verdict(rule, held[key], chosen, depth)
            else:
                yield chosen

    def _redirected(self, rule: NftRule, about: Statement, at: _At) -> Iterator[_At]:
        if isinstance(about["addr"], str):
            yield _held(rule, _to(at, about["addr"], about["port"]))
            return
        lookup = about["addr"]["map"]
        held = self._elements(lookup["data"])
        for key, share in self._values(lookup["key"], at.position):
            chosen = at._replace(share=at.share * share)
            yield _held(rule, _to(chosen, *held[key]["concat"])) if key in held else chosen

    def _elements(self, data: Any) -> dict[Key, Any]:
        if isinstance(data, str):
            return self._tables.elements[data.removeprefix("@")]
        return elements(data["set"])

    def _matched(
        self, rule: NftRule, about: Statement, rest: tuple[Statement, ...], at: _At, depth: int
    ) -> Iterator[_At]:
        if about["op"] not in {"==", "!=", "in"}:
            raise ValueError(about["op"])
        values = self._values(about["left"], at.position)
        holding = sum(
            share for value, share in values if self._equals(value, about["right"]) is (about["op"] != "!=")
        )
        if holding:
            yield from self._run(rule, rest, at._replace(share=at.share * holding), depth)
        if holding != 1:
            yield at._replace(share=at.share * (1 - holding))

    def _equals(self, value: Key, right: Any) -> bool:
        if isinstance(right, str) and right.startswith("@"):
            return value in self._elements(right)
        if isinstance(right, dict):
            base, length = right["prefix"]["addr"], right["prefix"]["len"]
            # of a mark, whose highest bits nft shows as a prefix, ipaddress makes an address of 32 bits
            return ipaddress.ip_address(value[0]) in ipaddress.ip_network((base, length))
        if isinstance(right, str) and right.endswith("*"):
            return str(value[0]).startswith(right[:-1])
        return value == (right,)

    def _values(self, expression: Any, position: Position) -> list[tuple[Key, Fraction]]:
        """The values that an expression may have for this packet, each with its share."""
        if isinstance(expression, int):
            return [((expression,), Fraction(1))]
        ((word, about),) = expression.items()
        match word:
            case "concat":
                together: list[tuple[Key, Fraction]] = [((), Fraction(1))]
                for part in about:
                    together = [
                        ((*key, *more), share * odds)
                        for key, share in together
                        for more, odds in self._values(part, position)
                    ]
                return together
            case "numgen":
                count = about["mod"]
                if not 0 < count <= _MOST_CHOICES:
                    raise ValueError(count)
                return [((about["offset"] + each,), Fraction(1, count)) for each in range(count)]
            case "|" | "&":
                (left, _), (right, _) = (self._values(each, position)[0] for each in about)
                both = int(left[0]) | int(right[0]) if word == "|" else int(left[0]) & int(right[0])
                return [((both,), Fraction(1))]
            case _:
                return [((_fact(word, about, position),), Fraction(1))]


def _is_local(address: Address, position: Position) -> str:
    return "local" if position.host.owns(address) else "unicast"


_FACTS: dict[str, Callable[[Position], str | int]] = {
    "payload ip saddr": lambda at: at.source,
    "payload ip daddr": lambda at: at.destination,
    "payload ip6 saddr": lambda at: at.source,
    "payload ip6 daddr": lambda at: at.destination,
    "payload th dport": lambda at: at.port,
    "meta l4proto": lambda at: at.protocol.lower(),
    "meta mark": lambda at: at.mark,
    "meta iifname": lambda at: at.interface,
    "fib type saddr": lambda at: _is_local(at.source, at),
    "fib type daddr": lambda at: _is_local(at.destination, at),
    "ct state": lambda _: "new",
    "ct status": lambda at: "dnat" if at.redirected else "",
}
"""The fields of a packet, and the facts that the kernel has about it, by the words of the JSON."""


def _fact(word: str, about: dict[str, Any], position: Position) -> str | int:
    words = (each if isinstance(each, str) else " ".join(each) for each in about.values())
    return _FACTS[f"{word} {' '.join(words)}"](position)


def _held(rule: NftRule, at: _At) -> _At:
    return at if at.rules[-1:] == (rule,) else at._replace(rules=(*at.rules, rule))


def _to(at: _At, address: str, port: int) -> _At:
    moved = at.position._replace(destination=Address(address), port=port, redirected=True)
    return at._replace(effect=Effect.ACCEPT, position=moved)
