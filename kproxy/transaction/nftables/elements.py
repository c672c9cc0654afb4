"""Commands that create and delete elements of sets and maps; as text for `nft`, or as values for netlink messages."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from kproxy.ruleset.nftables.table import (
    FAMILY_WORD,
    TABLE,
    Contents,
    Element,
    Key,
    Numbered,
    Target,
    Verdict,
    spelled_out,
)
from kproxy.values import Family


class ElementCommand(NamedTuple):
    """Creates or deletes some elements of one set or map: `verb` is create or delete; deleted elements have no value.

    An element that is created must not be there: else the kernel would have nothing to do, and count no commit.
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


def lines_of(contents: Contents) -> dict[str, list[str]]:
    """One line for each element, by set or map."""
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for each in contents:
        key = _key_text(each.key)
        if isinstance(each, Numbered):
            numbered = [
                f"\t{key} . {number} : {one.address} . {one.port},\n"
                for number, one in enumerate(each.values)
            ]
            lines[each.holder].append("".join(numbered))
        elif each.value is None:
            lines[each.holder].append(f"\t{key},\n")
        else:
            lines[each.holder].append(f"\t{key} : {_value_text(each.value)},\n")
    return lines


def _key_text(key: Key) -> str:
    port = str(key.port) if key.protocol else ""
    number = "" if key.number is None else str(key.number)
    return " . ".join(filter(None, (key.source, key.address, key.protocol, port, number)))


def _value_text(value: Verdict | Target) -> str:
    if isinstance(value, Target):
        return f"{value.address} . {value.port}"
    return f"goto {value.chain}" if value.chain else "drop"


def texts_of(verb: str, family: Family, lines: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """One command for each set or map, as `nft` reads it."""
    for holder, each in lines.items():
        yield f"{verb} element {FAMILY_WORD[family]} {TABLE} {holder} {{\n"
        yield from each
        yield "}\n"


def commands_of(verb: str, family: Family, contents: Contents) -> Iterator[ElementCommand]:
    """One command for each set or map."""
    held: defaultdict[str, list[Element | Numbered]] = defaultdict(list)
    for each in contents:
        held[each.holder].append(each)
    for holder, elements in held.items():
        yield ElementCommand(verb, family, holder, tuple(elements))


def deletion(family: Family, elements: Iterable[Element]) -> Iterator[ElementCommand]:
    """Commands that delete these elements."""
    return commands_of("delete", family, (Element(each.holder, each.key) for each in elements))


def apart(commands: Iterable[ElementCommand]) -> list[tuple[ElementCommand, ...]]:
    """The change in small parts, in an order in which each state between two parts is harmless.

    New elements come first, and verdicts last among them. An element that gets another value does so within one part,
    so that no packet misses it. Elements that only go come last.
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
    verdicts = [part for part in new if _is_verdict(part[0])]
    others = [part for part in new if not _is_verdict(part[0])]
    return [*others, *replaced, *verdicts, *((each,) for each in deleted.values())]


def _is_verdict(alone: ElementCommand) -> bool:
    (element,) = alone.elements
    return isinstance(element, Element) and isinstance(element.value, Verdict)


def _alone(command: ElementCommand, element: Element | Numbered) -> ElementCommand:
    return command._replace(elements=(element,))
