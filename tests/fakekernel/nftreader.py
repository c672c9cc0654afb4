"""A reader of the commands that kproxy and its tests write for nft: what the tables in memory are after them.

It knows the kernel's rules for order and use: what a rule or a verdict names has to be there, and what something names
cannot be deleted. It does not know what rules mean, so it takes any text for a rule.
"""

import re
import struct
from collections.abc import Iterator
from socket import AF_INET, AF_INET6, inet_pton
from typing import TypeVar

from fakekernel.nftruleset import GOTO_CODE, NAMES_CHAIN, NAMES_HOLDER, Chain, Holder, Rule, Ruleset, Table
from kproxy.kernel.netlink.elements import RawElement

EXISTS, MISSING, BUSY = "File exists", "No such file or directory", "Device or resource busy"

_BEGINS_BLOCK = re.compile(r"(set|map|chain) (\S+) \{")
_TABLE = re.compile(r"table (ip6?) (\S+) \{")
_ELEMENTS = re.compile(r"(create|add|delete) element (ip6?) (\S+) (\S+) \{(.*)")
_COMMAND = re.compile(
    r"(add|insert|delete|flush) (table|chain|set|map|rule) (ip6?) (\S+)(?: (\S+))?(?: (.*))?"
)
_SENDS_BY_MAP = re.compile(r" map @(\S+)")
_POLICY = re.compile(r"policy \w+")
_CLIENTS = "affinity/"
"""Sets of this prefix hold clients, each with the number of its endpoint."""

_DROP_CODE = struct.pack(">i", 0)
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}

_Block = TypeVar("_Block", Chain, Holder)


class NotTaken(Exception):
    """The kernel refuses the command that begins at this line, counted from 1."""

    def __init__(self, line: int, said: str) -> None:
        super().__init__(said)
        self.line = line
        self.said = said


def after(ruleset: Ruleset, text: str) -> tuple[Ruleset, bool]:
    """The ruleset after these commands, and whether they changed anything; NotTaken, and the given one stays as it is."""
    reader = _Reader(ruleset.copy(), text)
    reader.run()
    return reader.ruleset, reader.has_changed


class _Reader:
    def __init__(self, ruleset: Ruleset, text: str) -> None:
        self.ruleset = ruleset
        self.has_changed = False
        self._declared_here: set[str] = set()
        """Sets and maps that were not there before this text."""
        self._toggled: list[Table] = []
        """Tables that this text has put to sleep or woken; Linux 6.18 gives them no new hook in the same commit."""
        self._lines = text.splitlines()
        self._at = 0

    def run(self) -> None:
        while self._at < len(self._lines):
            begun = self._at + 1
            try:
                self._command(self._next())
            except NotTaken as refused:
                raise NotTaken(refused.line or begun, refused.said) from refused

    def _next(self) -> str:
        self._at += 1
        return self._lines[self._at - 1]

    def _until_end(self) -> Iterator[tuple[int, str]]:
        """The lines up to the brace that ends a block, each with its number."""
        while (line := self._next()) != "}":
            yield self._at, line

    def _command(self, line: str) -> None:
        if not line:
            return
        if line == "flush ruleset":
            self.has_changed |= bool(self.ruleset.tables)
            self.ruleset.tables.clear()
        elif found := _TABLE.fullmatch(line):
            self._table_block(*found.groups())
        elif found := _ELEMENTS.fullmatch(line):
            self._elements(*found.groups())
        elif found := _COMMAND.fullmatch(line):
            verb, kind, family, table, name, rest = found.groups()
            if kind == "table":
                self._whole_table(verb, family, table, name or "")
            else:
                self._block_command(verb, kind, self._table(family, table), name or "", rest or "")
        else:
            raise NotTaken(0, f"syntax error, unexpected {line.split(maxsplit=1)[0]}")

    def _table(self, family: str, name: str) -> Table:
        table = self.ruleset.tables.get((family, name))
        if table is None:
            raise NotTaken(0, f"Could not process rule: {MISSING}")
        return table

    def _new_table(self, family: str, name: str) -> Table:
        if (family, name) not in self.ruleset.tables:
            self.ruleset.tables[family, name] = Table()
            self.has_changed = True
        return self.ruleset.tables[family, name]

    def _whole_table(self, verb: str, family: str, name: str, options: str) -> None:
        if verb == "add":
            table = self._new_table(family, name)
            self._let_sleep(table, is_dormant=bool(options))
        else:
            self._table(family, name)
            del self.ruleset.tables[family, name]
            self.has_changed = True

    def _let_sleep(self, table: Table, *, is_dormant: bool) -> None:
        if table.is_dormant != is_dormant:
            table.is_dormant = is_dormant
            self.has_changed = True
            self._toggled.append(table)

    def _table_block(self, family: str, name: str) -> None:
        """As nft does it: all chains, sets and maps of the block come before its rules."""
        table = self._new_table(family, name)
        self._let_sleep(table, is_dormant=False)
        rules: list[tuple[int, Chain, str]] = []
        for begun, line in self._until_end():
            found = _BEGINS_BLOCK.fullmatch(line)
            if not found:
                raise NotTaken(begun, f"syntax error, unexpected {line}")
            kind, block = found.groups()
            lines = list(self._until_end())
            if kind == "chain":
                chain = self._add_chain(table, block, begun, lines)
                rules += [(number, chain, text) for number, text in lines if " hook " not in text]
            else:
                self._declare(table, kind, block, begun, "\n".join(text for _, text in lines))
        for number, chain, text in rules:
            self._add_rule(table, chain, text.strip(), number)

    def _add_chain(self, table: Table, name: str, line: int, lines: list[tuple[int, str]]) -> Chain:
        place = "".join(text.strip() for _, text in lines if " hook " in text)
        chain = table.chains.get(name)
        if chain is None:
            if place and any(table is each for each in self._toggled):
                raise NotTaken(line, "Could not process rule: Invalid argument")
            chain = table.chains[name] = Chain(place)
            table.next_handle()
        elif place and chain.place != place:
            raise NotTaken(line, f"Could not process rule: {EXISTS}")
        self.has_changed = True  # the kernel counts also a chain that was there
        return chain

    def _declare(self, table: Table, kind: str, name: str, line: int, declared: str) -> None:
        named, others = (table.maps, table.sets) if kind == "map" else (table.sets, table.maps)
        held = named.get(name)
        if name in others or (held and held.declared != declared):
            raise NotTaken(line, f"Could not process rule: {EXISTS}")
        if held is None:
            named[name] = Holder(declared)
            table.next_handle()
            self._declared_here.add(name)
            self.has_changed = True

    def _add_rule(self, table: Table, chain: Chain, text: str, line: int, *, is_first: bool = False) -> None:
        chains = [name for name in NAMES_CHAIN.findall(text) if name not in table.chains]
        holders = [name for name in NAMES_HOLDER.findall(text) if table.holder(name) is None]
        if chains or holders:
            raise NotTaken(line, f"Could not process rule: {MISSING}")
        if set(_SENDS_BY_MAP.findall(text)) - self._declared_here:  # so nft 1.0.6, see `endpoint_chains`
            raise NotTaken(line, "conflicting protocols specified: ip vs. th")
        chain.rules.insert(0 if is_first else len(chain.rules), Rule(text, table.next_handle()))
        self.has_changed = True

    def _block_command(self, verb: str, kind: str, table: Table, name: str, rest: str) -> None:
        if kind == "rule":
            self._add_rule(table, self._held(table.chains, name), rest, 0, is_first=verb == "insert")
        elif verb == "add":
            self._add_block(table, kind, name, rest)
        elif kind == "chain":
            chain = self._held(table.chains, name)
            if verb == "flush":
                self.has_changed |= bool(chain.rules)
                chain.rules.clear()
            else:
                self._delete(table.chains, name, table.uses_of_chain(name))
        else:
            holders = table.maps if kind == "map" else table.sets
            holder = self._held(holders, name)
            if verb == "flush":
                self.has_changed |= bool(holder.elements)
                holder.elements.clear()
            else:
                self._delete(holders, name, table.uses_of_holder(name))

    def _add_block(self, table: Table, kind: str, name: str, rest: str) -> None:
        inside = rest.strip("{ }")
        if kind != "chain":
            self._declare(table, kind, name, 0, f"\t{inside.rstrip(';')}")
        elif inside.startswith("policy"):
            chain = self._held(table.chains, name)
            chain.place = _POLICY.sub(inside.rstrip("; "), chain.place)
            self.has_changed = True
        else:
            self._add_chain(table, name, 0, [(0, inside)] if inside else [])

    @staticmethod
    def _held(named: dict[str, _Block], name: str) -> _Block:
        if name not in named:
            raise NotTaken(0, f"Could not process rule: {MISSING}")
        return named[name]

    def _delete(self, named: dict[str, _Block], name: str, uses: int) -> None:
        if uses:
            raise NotTaken(0, f"Could not process rule: {BUSY}")
        del named[name]
        self.has_changed = True

    def _elements(self, verb: str, family: str, table_name: str, name: str, rest: str) -> None:
        table = self._table(family, table_name)
        holder = table.holder(name)
        if holder is None:
            raise NotTaken(0, f"Could not process rule: {MISSING}")
        inline = [(0, each) for each in rest.strip("{ }").split(",")] if rest else []
        for line, text in inline or self._until_end():
            self._element(verb, table, name, text.strip().rstrip(","), line)

    def _element(self, verb: str, table: Table, name: str, text: str, line: int) -> None:
        holder = table.holder(name)
        assert holder is not None
        element = _raw(name, text, line)
        held = holder.elements.get(element.key)
        if verb == "delete":
            if held is None:
                raise NotTaken(line, f"Could not process rule: {MISSING}")
            del holder.elements[element.key]
        else:
            if held is not None and (verb == "create" or held != element.value):
                raise NotTaken(line, f"Could not process rule: {EXISTS}")
            if element.value[:4] == GOTO_CODE and element.value[4:].decode() not in table.chains:
                raise NotTaken(line, f"Could not process rule: {MISSING}")
            self.has_changed |= held is None
            holder.elements[element.key] = element.value
            return
        self.has_changed = True


def _raw(name: str, text: str, line: int) -> RawElement:
    """An element as the kernel holds it: each part in whole words of 32 bits, a verdict as its code and chain."""
    key, _, value = text.partition(" : ")
    try:
        if name.startswith(_CLIENTS):
            client, _, number = key.partition(" . ")
            return RawElement(_packed(client) + struct.pack("=I", int(number)), b"")
        verb, _, chain = value.partition("goto ")
        if value == "drop":
            return RawElement(_packed(key), _DROP_CODE)
        return RawElement(_packed(key), _packed(value) if verb or not chain else GOTO_CODE + chain.encode())
    except (OSError, struct.error) as failed:
        raise NotTaken(line, f"{text} is no element: {failed}") from failed


def _packed(text: str) -> bytes:
    """Addresses, protocols and ports in network order; a number behind a port in the order of this machine."""
    packed = b""
    has_port = False
    for part in text.split(" . ") if text else ():
        if part.isdecimal():
            packed += struct.pack("=I" if has_port else ">Hxx", int(part))
            has_port = True
        elif part in _PROTOCOLS:
            packed += struct.pack("Bxxx", _PROTOCOLS[part])
        else:
            packed += inet_pton(AF_INET6 if ":" in part else AF_INET, part)
    return packed
