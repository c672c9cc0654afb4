"""Reads the output of iptables-save of either variant: tables, chains with their policies, and rules."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from kproxy.errors import InputError
from kproxy.trace.iptables.rules import read_rule
from kproxy.trace.rule import Rule
from kproxy.values import Address

_NOT_PRINTED = "is incompatible, use 'nft' tool"
"""The words of iptables-nft-save about a table with rules that it cannot print; it exits with 0."""


@dataclass(slots=True)
class RuleChain:
    """The rules of a chain in order, read when a packet first enters it. `policy` is empty for a chain of a user."""

    table: str
    name: str
    policy: str = ""
    lines: list[str] = field(default_factory=list)
    _rules: list[Rule] | None = None
    _by_destination: dict[Address, list[tuple[int, Rule]]] = field(default_factory=dict)
    _for_any: list[tuple[int, Rule]] = field(default_factory=list)
    _answers: dict[Address, list[tuple[int, Rule]]] = field(default_factory=dict)

    def rules_for(self, destination: Address) -> list[tuple[int, Rule]]:
        """The rules that may match a packet to this address, with their places in the chain."""
        if self._rules is None:
            self._read()
        known = self._answers.get(destination)
        if known is None:
            known = sorted(
                [*self._for_any, *self._by_destination.get(destination, ())], key=lambda numbered: numbered[0]
            )
            self._answers[destination] = known
        return known

    def _read(self) -> None:
        self._rules = [read_rule(self.table, self.name, line) for line in self.lines]
        for place, rule in enumerate(self._rules):
            if rule.destination:
                self._by_destination.setdefault(rule.destination, []).append((place, rule))
            else:
                self._for_any.append((place, rule))


Tables = dict[str, dict[str, RuleChain]]
"""Chains by table and name."""


def parse_tables(text: str) -> Tables:
    """The tables of an `iptables-save` or `ip6tables-save` dump, or of text that iptables-restore reads.

    Raises InputError with the number of a line that is neither, or that says that iptables could not print a table.
    """
    tables: Tables = {}
    chains: dict[str, RuleChain] | None = None
    table = ""
    for number, line in _numbered(text):
        if line.startswith("*"):
            table = line[1:].strip()
            chains = tables.setdefault(table, {})
        elif chains is None:
            raise InputError(
                f"line {number}: {line!r} stands before any *table; is this iptables-save's output?"
            )
        elif line.startswith(":"):
            name, _, rest = line[1:].partition(" ")
            policy = rest.partition(" ")[0]
            chains.setdefault(name, RuleChain(table, name)).policy = "" if policy == "-" else policy
        elif line.startswith(("-A ", "[")):
            rule = line[line.find("-A ") :]
            name = rule[3:].partition(" ")[0]
            chains.setdefault(name, RuleChain(table, name)).lines.append(rule)
        elif line != "COMMIT":
            raise InputError(f"line {number}: {line!r} is neither *table, :CHAIN, -A, COMMIT nor a # comment")
    return tables


def _numbered(text: str) -> Iterable[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#") and _NOT_PRINTED in line:
            raise InputError(
                f"line {number}: {line!r}: the rules of that table are missing here, as nft wrote some of them"
            )
        if line and not line.startswith("#"):
            yield number, line
