"""A table of nftables: blocks of text, and elements in the sets and maps among them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from msgspec import Struct

from kproxy.errors import InputError
from kproxy.values import Address, Family

TABLE = "kproxy"
NOWHERE = Address("")
FAMILY_WORD = {Family.IPV4: "ip", Family.IPV6: "ip6"}

_HEAD = re.compile(r"(set|map|chain) (\S+) \{")


class Role(Enum):
    """The purpose of a block. The orders of a transaction follow from it."""

    HOOK = "hook chain"
    """Where packets come in."""
    DISPATCH = "dispatch chain"
    """Leads packets from hook chains to the verdicts in maps."""
    POLICY = "policy chain"
    """Decides on masquerading, and which endpoints a packet may use."""
    PICKER = "endpoint picker"
    """Picks one of the endpoints."""
    ENDPOINT = "endpoint chain"
    """Sends packets to one endpoint, and remembers that the client did."""
    GUARD = "source ranges"
    """Lets only some clients on."""
    REFUSAL = "refusal"
    """Rejects or drops packets that no endpoint serves."""
    VERDICTS = "verdict map"
    """From a Service's addresses and ports to a policy chain."""
    REFUSALS = "map of refusals"
    """From addresses and ports that no endpoint serves to a refusal."""
    GUARDS = "map of guards"
    """From addresses and ports to the source ranges that guard them. Packets ask this map first."""
    ENDPOINTS = "endpoint map"
    CLIENTS = "set of clients"
    """With the endpoints that they stay with. The kernel fills it as packets pass."""
    ADDRESSES = "set of addresses"
    ADDED = "added by a template"
    """Known only to a template that is not ours."""

    @property
    def leads(self) -> bool:
        """Whether such chains lead packets to everything else; they are complete last."""
        return self in (Role.HOOK, Role.DISPATCH)

    @property
    def holds_verdicts(self) -> bool:
        return self in (Role.VERDICTS, Role.REFUSALS, Role.GUARDS)

    @property
    def outlasts_verdicts(self) -> bool:
        """Whether elements of such a map go one run after the verdicts that go.

        Endpoints do no harm where nobody is sent to them, refusals where everybody is sent elsewhere, and guards
        guard until the end.
        """
        return self in (Role.ENDPOINTS, Role.REFUSALS, Role.GUARDS)


class Block(NamedTuple):
    """A set, map or chain, by its name; `kind` is one of these words."""

    kind: str
    name: str

    @property
    def is_chain(self) -> bool:
        return self.kind == "chain"


class Body(NamedTuple):
    """The purpose of a block, and its text: one line for each declaration or rule, which begins with a tab."""

    role: Role
    text: str
    picks_from: str = ""
    """The map in which a rule of this chain finds where to send packets, if one does so.

    nft 1.0.6 compiles such a rule only together with a new map.
    """
    is_plain: bool = False
    """Whether the elements of a set or map are just their keys and values, without intervals, timeouts or flags."""


Blocks = Mapping[Block, Body]


class Key(Struct, frozen=True, gc=False):
    """The parts of a key, in their order. A part that a key lacks is empty, or None for `number`."""

    source: Address = NOWHERE
    address: Address = NOWHERE
    protocol: str = ""
    """In lower case. A key with a protocol has a port."""
    port: int = 0
    number: int | None = None
    """A number below how many endpoints there are."""


class Verdict(NamedTuple):
    """Goes to this chain; without a chain it drops the packet."""

    chain: str


DROP = Verdict("")


class Target(Struct, frozen=True, gc=False):
    """Where an endpoint answers."""

    address: Address
    port: int


class Answering(Protocol):
    """Anything with an endpoint's address and port."""

    @property
    def address(self) -> Address: ...
    @property
    def port(self) -> int: ...


class Element(NamedTuple):
    """One element of a set or map; None for the value in a set, and where it is to be deleted."""

    holder: str
    key: Key
    value: Verdict | Target | None = None


class Numbered(NamedTuple):
    """Elements of one map: `values` under the key with number 0, 1 and so on. Most elements of a table are such."""

    holder: str
    key: Key
    values: Sequence[Answering]


Contents = Iterable[Element | Numbered]


def spelled_out(contents: Contents) -> Iterator[Element]:
    """One by one."""
    for each in contents:
        if isinstance(each, Numbered):
            holder, key, values = each
            source, address, protocol, port = key.source, key.address, key.protocol, key.port
            yield from [
                Element(
                    holder, Key(source, address, protocol, port, number), Target(value.address, value.port)
                )
                for number, value in enumerate(values)
            ]
        else:
            yield each


def parse_blocks(text: str) -> dict[Block, str]:
    """The blocks that a template wrote, in its order; InputError names a line that stands in none."""
    blocks: dict[Block, str] = {}
    lines: list[str] | None = None
    block = Block("", "")
    for line in text.splitlines():
        head = _HEAD.fullmatch(line)
        if head and lines is None:
            block, lines = Block(*head.groups()), []
        elif line == "}" and lines is not None:
            blocks[block], lines = "".join(lines), None
        elif line.startswith("\t") and lines is not None:
            lines.append(f"{line}\n")
        elif line.strip():
            raise InputError(f"{line!r} is neither the head, a line (begun by a tab) nor the end of a block")
    if lines is not None:
        raise InputError(f"{block.kind} {block.name} is never closed")
    return blocks
