"""One run of a change: text that `nft` reads, or elements alone, which need no program."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kproxy.ruleset.nftables.frontends import VERDICT_MAPS
from kproxy.ruleset.nftables.table import (
    FAMILY_WORD,
    TABLE,
    Block,
    Blocks,
    Contents,
    Element,
    Numbered,
    spelled_out,
)
from kproxy.values import Family

_EXPRESSION = r"(?:ip6? [sd]addr|meta l4proto|th dport|numgen random mod 2)"
_CONCATENATION = rf"{_EXPRESSION}(?: \. {_EXPRESSION})*"
_PLAIN = re.compile(rf'\ttypeof {_CONCATENATION}(?: : (?:verdict|{_CONCATENATION}))?\n(?:\tcomment ".*"\n)?')
"""A set or map whose elements are just what they say. Templates of others may declare one with intervals or timeouts."""


_COMMAND = re.compile(r"^[^\t}].*\n(?:[\t}].*\n)*", re.MULTILINE)
"""A line, and those of the elements after it."""


class ElementCommand(NamedTuple):
    """What becomes of some elements of one set or map: `verb` is create or delete, and what is deleted has no value.

    What is created must not be there: else the kernel would have nothing to do, and count nothing.
    """

    verb: str
    family: Family
    holder: str
    elements: tuple[Element | Numbered, ...]

    def __str__(self) -> str:
        return "".join(texts_of(self.verb, self.family, lines_of(self.elements)))

    @property
    def line_count(self) -> int:
        return sum(len(each.values) if isinstance(each, Numbered) else 1 for each in self.elements)


Part = str | ElementCommand
"""Text is of chains, sets and maps."""


@dataclass(frozen=True, slots=True)
class Run:
    """What `nft -f` reads; or the same as `commands` where it is about nothing but elements of plain sets and maps."""

    words: str = ""
    commands: tuple[ElementCommand, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.words or self.commands)

    @property
    def text(self) -> str:
        return self.words or "".join(map(str, self.commands))

    @property
    def commands_of_text(self) -> tuple[str, ...]:
        """Each command of a text whose blocks are elements alone."""
        return tuple(match[0] for match in _COMMAND.finditer(self.words))

    @property
    def line_count(self) -> int:
        """Rules, elements, and what declares a chain, set or map."""
        return self.words.count("\n\t") or sum(each.line_count for each in self.commands)


NO_RUN = Run()


def run_of(blocks: Blocks, parts: Iterable[Part]) -> Run:
    """These parts as one run, in a table of these blocks."""
    parts = tuple(parts)
    commands = tuple(
        part for part in parts if isinstance(part, ElementCommand) and _is_plain(blocks, part.holder)
    )
    return Run(commands=commands) if len(commands) == len(parts) else Run("".join(map(str, parts)))


def _is_plain(blocks: Blocks, holder: str) -> bool:
    declared = blocks.get(Block("map", holder)) or blocks.get(Block("set", holder), "")
    return bool(_PLAIN.fullmatch(declared))


def lines_of(contents: Contents) -> dict[str, list[str]]:
    """One line an element, by set or map."""
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for each in contents:
        holder, key, value = each
        if isinstance(each, Numbered):
            numbered = [f"\t{key} . {number} : {one},\n" for number, one in enumerate(value)]
            lines[holder].append("".join(numbered))
        else:
            lines[holder].append(f"\t{key} : {value},\n" if value else f"\t{key},\n")
    return lines


def texts_of(verb: str, family: Family, lines: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """One command a set or map."""
    for holder, each in lines.items():
        yield f"{verb} element {FAMILY_WORD[family]} {TABLE} {holder} {{\n"
        yield from each
        yield "}\n"


def commands_of(verb: str, family: Family, contents: Contents) -> Iterator[ElementCommand]:
    """The same as messages are made of."""
    held: defaultdict[str, list[Element | Numbered]] = defaultdict(list)
    for each in contents:
        held[each.holder].append(each)
    for holder, those in held.items():
        yield ElementCommand(verb, family, holder, tuple(those))


def apart(commands: Iterable[ElementCommand]) -> list[tuple[ElementCommand, ...]]:
    """The same change in small parts, in an order in which each state between them is harmless.

    New elements come first, and verdicts last among them; an element that gets another value does so within one part,
    so that nobody misses it; what only goes comes last.
    """
    commands = tuple(commands)
    deleted = {
        (each.holder, one.key): _alone(each, one)
        for each in commands
        if each.verb == "delete"
        for one in spelled_out(each.elements)
    }
    new, replaced = [], []
    for each in commands:
        if each.verb == "create":
            for one in spelled_out(each.elements) if deleted else each.elements:
                old = deleted.pop((each.holder, one.key), None)
                if old:
                    replaced.append((old, _alone(each, one)))
                else:
                    new.append((_alone(each, one),))
    verdicts = [part for part in new if part[0].holder in VERDICT_MAPS]
    others = [part for part in new if part[0].holder not in VERDICT_MAPS]
    return [*others, *replaced, *verdicts, *((each,) for each in deleted.values())]


def _alone(command: ElementCommand, element: Element | Numbered) -> ElementCommand:
    return command._replace(elements=(element,))
