"""What one COMMIT of iptables-restore does to chains in memory, and which line of it is refused."""

import re
from collections.abc import Mapping

from kproxy.kernel.programs.iptables import Variant
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import TABLES

NO_RULE, _BAD_PARAMETER, REFUSED_BY_KERNEL = 1, 2, 4
"""Exit codes."""

_TARGET = re.compile(r" -j (KUBE-\S+)")

Chains = Mapping[Chain, tuple[str, ...]]


class NotTaken(Exception):
    """The program refuses a line, counted from 1 in the text of one COMMIT."""

    def __init__(self, line: int, exit_code: int) -> None:
        super().__init__(f"line {line} failed")
        self.line = line
        self.exit_code = exit_code


def after(chains: Chains, section: str, variant: Variant) -> Chains:
    """The chains after one COMMIT; raises NotTaken."""
    return _Section(chains, variant).taken(section)


class _Section:
    """What one COMMIT does to the chains of its table."""

    def __init__(self, chains: Chains, variant: Variant) -> None:
        self._chains = dict(chains)
        self._variant = variant
        self._jumps_to_nowhere = False

    def taken(self, section: str) -> Chains:
        table = ""
        for number, line in enumerate(section.splitlines(), start=1):
            command, _, rest = line.partition(" ")
            if command.startswith("*"):
                table = command[1:]
                if table not in TABLES:
                    raise NotTaken(number, _BAD_PARAMETER)
            elif command.startswith(":"):
                self._chains[Chain(table, command[1:])] = ()
            elif command == "COMMIT":
                if self._jumps_to_nowhere:
                    raise NotTaken(number, _BAD_PARAMETER)
            elif not self._carry_out(number, command, table, rest):
                raise NotTaken(number, NO_RULE)
        return self._chains

    def _carry_out(self, number: int, command: str, table: str, rest: str) -> bool:
        """Whether the program takes the line."""
        name, _, rule = rest.partition(" ")
        chain = Chain(table, name)
        if chain not in self._chains:
            return False
        if command == "-X":
            self._delete(number, chain)
            return True
        held = list(self._chains[chain])
        if command == "-D":
            if f"-A {rest}" not in held:
                return False
            held.remove(f"-A {rest}")
        else:
            place, rule = _place(command, rule, len(held) + 1)
            self._look_at_target(number, table, rule)
            if place > len(held) + 1:
                return False
            held.insert(place - 1, f"-A {name} {rule}")
        self._chains[chain] = tuple(held)
        return True

    def _delete(self, number: int, chain: Chain) -> None:
        others = (rule for each, rules in self._chains.items() if each.table == chain.table for rule in rules)
        is_busy = bool(self._chains[chain]) or any(chain.name in _TARGET.findall(rule) for rule in others)
        if is_busy:
            raise NotTaken(number, NO_RULE if self._variant is Variant.LEGACY else REFUSED_BY_KERNEL)
        del self._chains[chain]

    def _look_at_target(self, number: int, table: str, rule: str) -> None:
        """Legacy tells a jump to nowhere at its line, nft at the COMMIT."""
        if all(Chain(table, name) in self._chains for name in _TARGET.findall(f" {rule}")):
            return
        if self._variant is Variant.LEGACY:
            raise NotTaken(number, _BAD_PARAMETER)
        self._jumps_to_nowhere = True


def _place(command: str, rule: str, end: int) -> tuple[int, str]:
    """Where the rule goes, counted from 1, and the rule without its place."""
    if command == "-A":
        return end, rule
    place, _, rest = rule.partition(" ")
    return (int(place), rest) if place.isdecimal() else (1, rule)
