"""The rules for single fields. Each rule raises InvalidField with the field's path.

Text that passes these rules may be used in a rule of iptables or nftables: no quote, blank, newline or option passes.
"""

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import lru_cache
from typing import NoReturn, TypeVar

from kproxy.errors import InvalidField
from kproxy.state.printable import quoted
from kproxy.values import Address, Family, Network, Protocol, is_canonical_ipv4, read_address, read_network

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_LONGEST_LABEL = 63
_LONGEST_SUBDOMAIN = 253
_HIGHEST_PORT = 65535
_LONGEST_SENTENCE = 200

Flaws = list[InvalidField]
"""The fields of one object that are left out while the rest of the object is used."""

Given = TypeVar("Given")
Found = TypeVar("Found")
Choice = TypeVar("Choice", bound=StrEnum)


def usable(
    things: Iterable[Given | None] | None, field: str, rule: Callable[[Given], Found], flaws: Flaws
) -> tuple[Found, ...]:
    """Apply the rule to each thing of a list. A thing that is null or breaks the rule is left out, and `flaws` says so.

    The path of a flaw gets the field and the index in front. Paths are built only after an error: an endpoint has ten
    of them and is read in 2 us.
    """
    if not things:
        return ()
    found: list[Found] = []
    things_by_place = enumerate(things)
    at = 0
    while True:
        try:
            for at, thing in things_by_place:  # noqa: B007 # `at` is the place of the thing that broke the rule
                found.append(rule(_given() if thing is None else thing))
        except InvalidField as wrong:
            flaws.append(_within(f"{field}[{at}]", wrong))
        else:
            return tuple(found)


def optional(given: Given, rule: Callable[[Given], Found], without: Found, flaws: Flaws) -> Found:
    """Apply the rule to one field. A field that breaks the rule counts as `without`, and `flaws` gains the reason."""
    try:
        return rule(given)
    except InvalidField as wrong:
        flaws.append(untraced(wrong))
        return without


def untraced(wrong: InvalidField) -> InvalidField:
    """A copy of the error without its traceback.

    A traceback in a list that one of its frames refers to is a cycle of references.
    """
    return InvalidField(wrong.field, wrong.reason)


def _given() -> NoReturn:
    raise InvalidField("", "is null; write a value, or remove it from the list")


def _within(place: str, wrong: InvalidField) -> InvalidField:
    return InvalidField(f"{place}.{wrong.field}" if wrong.field else place, wrong.reason)


def dns_label(text: str, field: str = "") -> str:
    """A DNS-1123 label (RFC 1123): at most 63 of a-z, 0-9 and inner hyphens."""
    if len(text) > _LONGEST_LABEL or not _is_label(text):
        raise InvalidField(
            field, f"{quoted(text)} is not a DNS label: at most 63 of a-z, 0-9 and inner hyphens"
        )
    return text


def dns_subdomain(text: str, field: str = "") -> str:
    """A DNS-1123 subdomain: labels joined by dots, at most 253 characters."""
    if len(text) > _LONGEST_SUBDOMAIN or not _is_subdomain(text):
        raise InvalidField(
            field,
            f"{quoted(text)} is not a DNS subdomain: at most 253 of a-z, 0-9, inner hyphens and inner dots",
        )
    return text


def label_value(text: str, field: str = "") -> str:
    """A Kubernetes label value: empty, or at most 63 of letters, digits, and inner `-`, `_` and `.`."""
    if len(text) > _LONGEST_LABEL or not _is_label_value(text):
        raise InvalidField(
            field, f"{quoted(text)} is not a label value: at most 63 letters, digits and inner '-', '_', '.'"
        )
    return text


def port(number: int, field: str = "") -> int:
    if not 1 <= number <= _HIGHEST_PORT:
        raise InvalidField(field, f"{number} is not a port; allowed are 1 to {_HIGHEST_PORT}")
    return number


def protocol(text: str | None, field: str = "") -> Protocol:
    """The protocol; TCP if the field is absent, as in the API server."""
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
        raise InvalidField(field, _sentence(wrong, f"{quoted(text)} is not an address")) from None


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
            field, _sentence(wrong, f"{quoted(text)} is not a network such as 10.0.0.0/8")
        ) from None


def _sentence(wrong: ValueError, plain: str) -> str:
    """The error's text, or the plain sentence if the text is not printable or too long."""
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
