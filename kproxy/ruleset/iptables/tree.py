"""A dispatch chain as a tree of small chains: a packet is compared with prefixes, not with every Service.

The place of a rule in the tree is its path: the destination address, or the protocol and the destination port,
as hexadecimal digits. A chain with too many rules jumps to one chain for each next digit. The rules alone
decide which chains exist, not the order in which the rules came. A rule that comes or goes changes its own
chain, and seldom the chain above.
"""

import ipaddress
import re
from collections.abc import Iterator
from typing import NamedTuple

from kproxy.ruleset.iptables import names
from kproxy.ruleset.layout import Layout
from kproxy.values import Family, NamespacedName

_ADDRESS = re.compile(r" -d ([0-9a-f.:]+)/(?:32|128) ")
_PORT = re.compile(r" -p (tcp|udp|sctp) .*--dport ([0-9]+)\b")
_PROTOCOL_OF = {"t": "tcp", "u": "udp", "s": "sctp"}
"""A path of ports begins with one of these, which are no hexadecimal digits."""


class Jump(NamedTuple):
    """The way on to a chain of the tree, for packets to a network, or to ports of a protocol.

    `network` is empty in a jump by port, `ports` is empty for all ports of `protocol`.
    """

    chain: str
    network: str = ""
    protocol: str = ""
    ports: str = ""


class TreeChain(NamedTuple):
    """One chain: jumps first, then rules without their `-A CHAIN`."""

    name: str
    jumps: tuple[Jump, ...]
    rules: tuple[str, ...]


class _Branch:
    """All rules whose paths begin alike: in `held` while they are few or have equal paths, else in branches `below`."""

    __slots__ = ("below", "count", "held")

    def __init__(self) -> None:
        self.count = 0
        self.held: dict[tuple[NamespacedName, str], list[str]] = {}
        self.below: dict[str, _Branch] = {}


class DispatchTree:
    """The rules that Services add to the chain `root`, in the order of their owners within each chain."""

    def __init__(self, root: str, family: Family, layout: Layout) -> None:
        self._root_name = root
        self._family = family
        self._layout = layout
        self._root = _Branch()
        self._touched: set[str] = {""}

    def replace(self, owner: NamespacedName, old: str, new: str) -> None:
        """Put the lines `new` of an owner in the place of its lines `old`; each line is `-A ROOT ...`."""
        for path, lines in _by_path(old, self._family).items():
            self._take(self._root, path, 0, owner, len(lines))
        for path, lines in _by_path(new, self._family).items():
            self._put(self._root, path, 0, owner, lines)

    def changes(self) -> dict[str, TreeChain | None]:
        """The chains that may have changed since the last call; None for a chain that is gone."""
        touched, self._touched = self._touched, set()
        found: dict[str, TreeChain | None] = {}
        for path in touched:
            branch = self._find(path)
            stands = branch is not None and (not path or _nearest_chain(branch, path) == path)
            found[self._name(path)] = self._chain(branch, path) if branch and stands else None
        return found

    def _most(self, path: str) -> float:
        return self._layout.chain_rules if path else self._layout.root_rules

    def _put(self, branch: _Branch, path: str, depth: int, owner: NamespacedName, lines: list[str]) -> None:
        at = path[:depth]
        self._touched.add(at)
        branch.count += len(lines)
        branch.held[owner, path] = lines
        if branch.count > self._most(at):
            self._split(branch, depth)

    def _split(self, branch: _Branch, depth: int) -> None:
        deeper = {key: lines for key, lines in branch.held.items() if len(key[1]) > depth}
        for (owner, path), lines in deeper.items():
            del branch.held[owner, path]
            child = branch.below.setdefault(path[depth], _Branch())
            self._put(child, path, depth + 1, owner, lines)

    def _take(self, branch: _Branch, path: str, depth: int, owner: NamespacedName, count: int) -> None:
        at = path[:depth]
        self._touched.add(at)
        branch.count -= count
        if (owner, path) in branch.held:
            del branch.held[owner, path]
            return
        child = branch.below[path[depth]]
        self._take(child, path, depth + 1, owner, count)
        if not child.count:
            del branch.below[path[depth]]
        if branch.count <= self._most(at):
            branch.held.update(self._gather(branch, at))

    def _gather(self, branch: _Branch, at: str) -> Iterator[tuple[tuple[NamespacedName, str], list[str]]]:
        """Take all rules out of the branches below, which are then gone."""
        below, branch.below = branch.below, {}
        for digit, child in below.items():
            self._touched.add(at + digit)
            yield from child.held.items()
            yield from self._gather(child, at + digit)

    def _find(self, path: str) -> _Branch | None:
        branch: _Branch | None = self._root
        for digit in path:
            branch = branch.below.get(digit) if branch else None
        return branch

    def _chain(self, branch: _Branch, path: str) -> TreeChain:
        jumps = (self._jump(child, path + digit) for digit, child in sorted(branch.below.items()))
        rules = (line for _, lines in sorted(branch.held.items()) for line in lines)
        return TreeChain(self._name(path), tuple(jumps), tuple(rules))

    def _jump(self, branch: _Branch, path: str) -> Jump:
        path = _nearest_chain(branch, path)
        name = self._name(path)
        protocol = _PROTOCOL_OF.get(path[0])
        if protocol is None:
            return Jump(name, network=_network(path, self._family))
        return Jump(name, protocol=protocol, ports=_ports(path[1:]))

    def _name(self, path: str) -> str:
        if not path:
            return self._root_name
        protocol = _PROTOCOL_OF.get(path[0])
        if protocol is None:
            return names.tree_chain(self._root_name, _network(path, self._family))
        return names.tree_chain(
            self._root_name, f"{protocol}-{_first_and_last_port(path[1:])[0]}/{4 * len(path[1:])}"
        )


_HIGHEST_PORT = 0xFFFF


def _nearest_chain(branch: _Branch, path: str) -> str:
    """The path of the first chain at or below: a branch with one branch below and no rule needs no chain."""
    while len(branch.below) == 1 and not branch.held:
        ((digit, branch),) = branch.below.items()
        path += digit
    return path


def _by_path(text: str, family: Family) -> dict[str, list[str]]:
    """The rules of a text by their paths, without their `-A CHAIN`."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        found.setdefault(_path(line, family), []).append((*line.split(" ", 2), "")[2])
    return found


def _path(line: str, family: Family) -> str:
    """The path of a rule; empty, for the root, if the rule has no match on a valid address or port."""
    if found := _ADDRESS.search(line):
        return _digits(found[1], family)
    if (port := _PORT.search(line)) and int(port[2]) <= _HIGHEST_PORT:
        return f"{port[1][0]}{int(port[2]):04x}"
    return ""


def _digits(address: str, family: Family) -> str:
    try:
        digits = ipaddress.ip_address(address).packed.hex()
    except ValueError:
        return ""
    return digits if 4 * len(digits) == family.host_prefix else ""


def _network(digits: str, family: Family) -> str:
    """The network of all addresses that begin with these digits."""
    base = bytes.fromhex(digits.ljust(family.host_prefix // 4, "0"))
    return f"{ipaddress.ip_address(base)}/{4 * len(digits)}"


def _first_and_last_port(digits: str) -> tuple[int, int]:
    return int(digits.ljust(4, "0"), 16), int(digits.ljust(4, "f"), 16)


def _ports(digits: str) -> str:
    first, last = _first_and_last_port(digits)
    if first == last:
        return str(first)
    return f"{first}:{last}" if digits else ""
