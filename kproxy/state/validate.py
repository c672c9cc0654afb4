"""The rules that single fields must keep; each raises InvalidField with the field's path.

Whatever passes here may stand in a rule: no quote, blank, newline or option gets through.
"""

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import lru_cache
from typing import NoReturn, TypeVar

from kproxy.errors import InvalidField
from kproxy.values import Address, Family, Network, Protocol, is_canonical_ipv4, read_address, read_network

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_LONGEST_LABEL = 63
_LONGEST_SUBDOMAIN = 253
_HIGHEST_PORT = 65535
_QUOTED_CHARACTERS = 80
_LONGEST_SENTENCE = 200

Flaws = list[InvalidField]
"""Collects the fields of one object that are left out while the rest of it is used."""

Given = TypeVar("Given")
Found = TypeVar("Found")
Choice = TypeVar("Choice", bound=StrEnum)


def usable(
    things: Iterable[Given | None] | None, field: str, rule: Callable[[Given], Found], flaws: Flaws
) -> tuple[Found, ...]:
    """The rule applied to each thing of a list; one that is null or breaks the rule is left out alone, as `flaws` says.

    The path of a flaw gains the field and the index. Paths are put together only once something is wrong: an endpoint
    has ten of them and is read in 2 us.
    """
    if not things:
        return ()
    found: list[Found] = []
    things_by_place = enumerate(things)
    at = 0
    while True:
        try:
            for at, thing in things_by_place:  # noqa: B007 # the place of the thing that broke the rule
                found.append(rule(_given() if thing is None else thing))
        except InvalidField as wrong:
            flaws.append(_within(f"{field}[{at}]", wrong))
        else:
            return tuple(found)


def optional(given: Given, rule: Callable[[Given], Found], without: Found, flaws: Flaws) -> Found:
    """The rule applied to one field; a field that breaks it counts as `without`, and `flaws` gains the reason."""
    try:
        return rule(given)
    except InvalidField as wrong:
        flaws.append(untraced(wrong))
        return without


def untraced(wrong: InvalidField) -> InvalidField:
    """The same without how it was raised: a traceback in a list that one of its frames knows is a cycle of references."""
    return InvalidField(wrong.field, wrong.reason)


def _given() -> NoReturn:
    raise InvalidField("", "is null; write a value, or remove it from the list")


def _within(place: str, wrong: InvalidField) -> InvalidField:
    return InvalidField(f"{place}.{wrong.field}" if wrong.field else place, wrong.reason)


_PLAIN_WORD = re.compile(r"[A-Za-z]{0,63}")


def quoted(text: str) -> str:
    """The text as a message shows it: in quotes, on one line, not too long.

    Letters of every script stand as they are; characters that no terminal should see are escaped: controls, formats
    (those that turn the direction of text among them), and separators other than the blank.
    """
    if len(text) <= _QUOTED_CHARACTERS:
        return repr(text)
    return f"{text[:_QUOTED_CHARACTERS]!r}... ({len(text)} characters)"


def plain_word(text: str) -> str:
    """Quoted if it is a word as kinds of objects and types of events are; other text is not shown."""
    return repr(text) if _PLAIN_WORD.fullmatch(text) else "something else"


def dns_label(text: str, field: str = "") -> str:
    """A DNS-1123 label (RFC 1123): at most 63 of a-z, 0-9 and inner hyphens."""
    if len(text) > _LONGEST_LABEL or not _is_label(text):
        raise InvalidField(field, f"{quoted(text)} is no DNS label: at most 63 of a-z, 0-9 and inner hyphens")
    return text


def dns_subdomain(text: str, field: str = "") -> str:
    """A DNS-1123 subdomain: labels joined by dots, at most 253 characters."""
    if len(text) > _LONGEST_SUBDOMAIN or not _is_subdomain(text):
        raise InvalidField(
            field,
            f"{quoted(text)} is no DNS subdomain: at most 253 of a-z, 0-9, inner hyphens and inner dots",
        )
    return text


def label_value(text: str, field: str = "") -> str:
    """A Kubernetes label value: empty, or at most 63 of letters, digits, and inner `-`, `_` and `.`."""
    if len(text) > _LONGEST_LABEL or not _is_label_value(text):
        raise InvalidField(
            field, f"{quoted(text)} is no label value: at most 63 letters, digits and inner '-', '_', '.'"
        )
    return text


def port(number: int, field: str = "") -> int:
    if not 1 <= number <= _HIGHEST_PORT:
        raise InvalidField(field, f"{number} is not a port; allowed are 1 to {_HIGHEST_PORT}")
    return number


def protocol(text: str | None, field: str = "") -> Protocol:
    """TCP where the field is absent, as the API server has it."""
    return choice(Protocol, text or Protocol.TCP, field)


def choice(kind: type[Choice], text: str, field: str = "") -> Choice:
    try:
        return kind(text)
    except ValueError:
        raise InvalidField(field, f"{quoted(text)} is not one of {', '.join(kind)}") from None


def address(text: str, field: str = "") -> Address:
    try:
        return read_address(text)
    except ValueError as wrong:
        raise InvalidField(field, _sentence(wrong, f"{quoted(text)} is no address")) from None


def address_of(family: Family, text: str, field: str = "") -> Address:
    if family is Family.IPV4 and is_canonical_ipv4(text):
        return Address(text)
    found = address(text, field)
    if (":" in found) is not (family is Family.IPV6):
        raise InvalidField(field, f"{quoted(text)} is not an {family} address")
    return found


def network(text: str, field: str = "") -> Network:
    try:
        return read_network(text)
    except ValueError as wrong:
        raise InvalidField(
            field, _sentence(wrong, f"{quoted(text)} is no network such as 10.0.0.0/8")
        ) from None


def _sentence(wrong: ValueError, plain: str) -> str:
    """What the error says, or the plain sentence where it would repeat what no terminal should see."""
    text = str(wrong)
    return text if text.isprintable() and len(text) <= _LONGEST_SENTENCE else plain


@lru_cache(maxsize=4096)
def _is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _is_subdomain(text: str) -> bool:
    return _SUBDOMAIN.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _is_label_value(text: str) -> bool:
    return _LABEL_VALUE.fullmatch(text) is not None
