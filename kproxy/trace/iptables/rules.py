"""Reads one rule as iptables-save prints it (iptables 1.8; iptables-extensions(8))."""

import ipaddress
import re
from collections.abc import Callable, Iterator
from fractions import Fraction

from kproxy.trace.rule import Action, Condition, Effect, Position, Rule
from kproxy.values import Address, Protocol

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_PROTOCOLS = {
    **{protocol.lower(): protocol for protocol in Protocol},
    "6": Protocol.TCP,
    "17": Protocol.UDP,
    "132": Protocol.SCTP,
}
_EFFECTS = {
    "ACCEPT": Effect.ACCEPT,
    "DROP": Effect.DROP,
    "REJECT": Effect.REJECT,
    "RETURN": Effect.RETURN,
    "MASQUERADE": Effect.MASQUERADE,
    "SNAT": Effect.MASQUERADE,
    "LOG": Effect.NOTHING,
    "NFLOG": Effect.NOTHING,
    "TRACE": Effect.NOTHING,
}

_SAY_NOTHING = {
    *("-m", "--comment", "--nfacct-name", "--mode", "--name", "--mask", "--seconds", "--hitcount"),
    *("--reject-with", "--to-source", "--to-ports", "--log-prefix", "--log-level", "--nflog-group"),
    *("--nflog-prefix", "--nflog-threshold"),
}
"""Options whose values change nothing here, or are read with another option."""

_DEFAULT_LIST = "DEFAULT"
"""The list that the match `recent` uses without `--name`."""

_FLAGS = {
    "--rsource",
    "--reap",
    "--set",
    "--rcheck",
    "--update",
    "--random-fully",
    "--random",
    "--persistent",
}


def read_rule(table: str, chain: str, line: str) -> Rule:
    """The rule of the line. Nothing is guessed: a word that is not understood is in the rule's `not_understood`."""
    reader = _Reader(line)
    return Rule(
        table,
        chain,
        line,
        tuple(reader.conditions),
        reader.action,
        reader.odds,
        reader.destination,
        reader.not_understood,
    )


class _Reader:
    def __init__(self, line: str) -> None:
        self.conditions: list[Condition] = []
        self.action = Action(Effect.NOTHING)
        self.odds = Fraction(1)
        self.destination: Address | None = None
        self.not_understood = ""
        options = [(name, values, negated) for name, values, negated in _options(line) if name != "-A"]
        self._values = {name: values[0] for name, values, _ in options if values}
        for name, values, negated in options:
            value = values[0] if values else ""
            try:
                understood = len(values) <= 1 and self._take(name, value, negated=negated)
            except ValueError:
                understood = False
            if not understood:
                self.not_understood = self.not_understood or " ".join((name, *values))

    def _take(self, name: str, value: str, *, negated: bool) -> bool:
        """Read one option; False if it is not understood."""
        if name == "-d" and not negated and (single := _single(value)):
            self.destination = single
        elif make := _CONDITIONS.get(name):
            holds = make(value)
            self.conditions.append((lambda position: not holds(position)) if negated else holds)
        elif name in {"-j", "-g"}:
            return self._take_target(name, value)
        elif name == "--probability" and not negated:
            self.odds = _odds(value)
        elif name == "--set-xmark":
            mark, mask = _mark_and_mask(value)
            self.action = Action(Effect.MARK, mark=mark, mask=mask)
        elif name == "--to-destination":
            address, port = _target(value)
            self.action = Action(Effect.REDIRECT, address=address, port=port)
        elif name in {"--rcheck", "--update"}:
            remembered = self._values.get("--name", _DEFAULT_LIST)
            self.conditions.append(lambda position: (remembered in position.remembered) is not negated)
        elif name == "--mode":
            return value == "random"
        else:
            return not negated and (name in _SAY_NOTHING or name in _FLAGS)
        return True

    def _take_target(self, name: str, value: str) -> bool:
        if value in _EFFECTS:
            self.action = Action(_EFFECTS[value])
        elif value not in {"MARK", "DNAT"}:
            self.action = Action(Effect.GO_TO if name == "-g" else Effect.JUMP, chain=value)
        return True


def _options(line: str) -> Iterator[tuple[str, list[str], bool]]:
    """Each option with its values, and whether a `!` stands before it."""
    words = [(quoted or bare, not bare) for quoted, bare in _WORD.findall(line)]
    name, negated, negates = "", False, False
    values: list[str] = []
    for word, is_quoted in words:
        if word == "!" and not is_quoted:
            negates = True
        elif word.startswith("-") and not is_quoted and len(word) > 1:
            if name:
                yield name, values, negated
            name, values, negated, negates = word, [], negates, False
        else:
            values.append(word)
    if name:
        yield name, values, negated


def _single(text: str) -> Address | None:
    """The address of a network that holds only it, in canonical form."""
    network = ipaddress.ip_network(text)
    return Address(str(network.network_address)) if network.num_addresses == 1 else None


def _within(field: Callable[[Position], Address], text: str) -> Condition:
    network = ipaddress.ip_network(text)
    answers: dict[Address, bool] = {}

    def holds(position: Position) -> bool:
        address = field(position)
        if address not in answers:
            answers[address] = ipaddress.ip_address(address) in network
        return answers[address]

    return holds


def _interface(text: str) -> Condition:
    if text.endswith("+"):
        prefix = text[:-1]
        return lambda position: bool(position.interface) and position.interface.startswith(prefix)
    return lambda position: position.interface == text


def _protocol(text: str) -> Condition:
    if not text:
        raise ValueError(text)
    protocol = _PROTOCOLS.get(text)
    return lambda position: position.protocol is protocol


def _ports(field: Callable[[Position], int], text: str) -> Condition:
    ranges = []
    for part in text.split(","):
        low, _, high = part.partition(":")
        ranges.append((int(low), int(high or low)))
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        only = ranges[0][0]
        return lambda position: field(position) == only
    return lambda position: any(low <= field(position) <= high for low, high in ranges)


def _state(text: str) -> Condition:
    """The first packet of a connection is NEW, and also DNAT after it was redirected."""
    states = set(text.split(","))
    unknown = states - {"NEW", "DNAT", "SNAT", "INVALID", "RELATED", "ESTABLISHED", "UNTRACKED"}
    if unknown:
        raise ValueError(text)
    return lambda position: "NEW" in states or ("DNAT" in states and position.redirected)


def _marked(text: str) -> Condition:
    mark, mask = _mark_and_mask(text)
    return lambda position: position.mark & mask == mark


def _local(field: Callable[[Position], Address], text: str) -> Condition:
    if text != "LOCAL":
        raise ValueError(text)
    return lambda position: position.host.owns(field(position))


_CONDITIONS: dict[str, Callable[[str], Condition]] = {
    "-s": lambda text: _within(lambda position: position.source, text),
    "-d": lambda text: _within(lambda position: position.destination, text),
    "-i": _interface,
    "-p": _protocol,
    "--dport": lambda text: _ports(lambda position: position.port, text),
    "--dports": lambda text: _ports(lambda position: position.port, text),
    "--sport": lambda text: _ports(lambda position: position.source_port, text),
    "--sports": lambda text: _ports(lambda position: position.source_port, text),
    "--ctstate": _state,
    "--state": _state,
    "--mark": _marked,
    "--src-type": lambda text: _local(lambda position: position.source, text),
    "--dst-type": lambda text: _local(lambda position: position.destination, text),
}


def _mark_and_mask(text: str) -> tuple[int, int]:
    mark, _, mask = text.partition("/")
    return int(mark, 0), int(mask, 0) if mask else 0xFFFFFFFF


_DECIMAL = re.compile(r"[0-9]{1,20}(\.[0-9]{1,40})?")
_MOST_CHOICES = 10_000
"""The largest denominator that is tried: above it the fractions lie closer than rounding tells apart."""
_NEAREST = Fraction(1, 10**9)
"""The kernel keeps 31 bits of a probability (xt_statistic.h), and programs write ten decimals of it."""


def _odds(text: str) -> Fraction:
    """The probability, as the fraction of small numbers of which it is the rounded value, if there is one."""
    if not _DECIMAL.fullmatch(text) or not 0 <= (odds := Fraction(text)) <= 1:
        raise ValueError(text)
    exact = odds.limit_denominator(_MOST_CHOICES)
    return exact if abs(odds - exact) < _NEAREST else odds


def _target(text: str) -> tuple[Address, int]:
    host, colon, port = (
        text.rpartition(":") if text.startswith("[") or text.count(":") == 1 else (text, "", "")
    )
    address = ipaddress.ip_address(host.strip("[]"))
    return Address(str(address)), int(port) if colon else 0
