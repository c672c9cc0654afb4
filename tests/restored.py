"""What `iptables-restore --noflush` makes of a text: the state after each COMMIT, and what the kernel would refuse."""

import re
from collections.abc import Iterator

from kproxy.ruleset.chain import BUILT_IN, Chain
from kproxy.ruleset.iptables.chains import Ruleset

_TARGET = re.compile(r" -j (KUBE-\S+)")


def restored(chains: Ruleset, text: str) -> Iterator[dict[Chain, str]]:
    """AssertionError at what a kernel that holds these chains refuses: a jump to nowhere, a chain deleted in use."""
    held = {chain: rules.splitlines() for chain, rules in chains.items()}
    table = ""
    for line in text.splitlines():
        command, _, rest = line.partition(" ")
        if command.startswith("*"):
            table = command[1:]
        elif command == "COMMIT":
            _check_jumps(held)
            yield {chain: "".join(f"{rule}\n" for rule in rules) for chain, rules in held.items()}
        elif command.startswith(":"):
            held[Chain(table, command[1:])] = []
        else:
            _carry_out(held, table, command, rest)


def _carry_out(held: dict[Chain, list[str]], table: str, command: str, rest: str) -> None:
    name, _, rule = rest.partition(" ")
    chain = Chain(table, name)
    if name in BUILT_IN:
        held.setdefault(chain, [])
    match command:
        case "-A":
            held[chain].append(f"-A {name} {rule}")
        case "-I":
            place, _, numbered = rule.partition(" ")
            at, rule = (int(place) - 1, numbered) if place.isdecimal() else (0, rule)
            assert at <= len(held[chain]), f"{chain} has no place {place}"
            held[chain].insert(at, f"-A {name} {rule}")
        case "-D":
            held[chain].remove(f"-A {name} {rule}")
        case "-X":
            assert not held.pop(chain), f"{chain} is deleted with rules in it"
        case _:
            raise AssertionError(f"not known: {command} {rest}")


def _check_jumps(held: dict[Chain, list[str]]) -> None:
    for chain, rules in held.items():
        for name in _TARGET.findall("\n".join(rules)):
            assert Chain(chain.table, name) in held, f"{chain} jumps to {name}, which is not there"
