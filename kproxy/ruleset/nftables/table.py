"""What a table of nftables is here: blocks of text, and elements in the sets and maps among them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from kproxy.errors import InputError
from kproxy.values import Family

TABLE = "kproxy"
FAMILY_WORD = {Family.IPV4: "ip", Family.IPV6: "ip6"}

_HEAD = re.compile(r"(set|map|chain) (\S+) \{")


class Block(NamedTuple):
    """A set, map or chain; `kind` is that word."""

    kind: str
    name: str

    @property
    def is_chain(self) -> bool:
        return self.kind == "chain"


Blocks = Mapping[Block, str]
"""What stands between the braces of each block: one line a declaration or rule, each begun by a tab."""


class Element(NamedTuple):
    """One element of a set or map; in a set its value is empty."""

    holder: str
    key: str
    value: str = ""


class Numbered(NamedTuple):
    """Elements of one map in one: the values of `key . 0`, `key . 1` and so on. Most elements of a table are such."""

    holder: str
    key: str
    values: tuple[str, ...]


Contents = Iterable[Element | Numbered]


def spelled_out(contents: Contents) -> Iterator[Element]:
    """One by one."""
    for each in contents:
        if isinstance(each, Numbered):
            holder, key, values = each
            yield from [Element(holder, f"{key} . {number}", value) for number, value in enumerate(values)]
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
