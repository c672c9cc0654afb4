"""The rules that single fields must keep; each raises InvalidField with the field's path.

Whatever passes here may stand in a rule: no quote, blank, newline or option gets through.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from kproxy.errors import InvalidField
from kproxy.values import Address, Family, Network, Protocol, family_of, parse_address, parse_network

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_SUBDOMAIN_LENGTH = 253
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_HIGHEST_PORT = 65535

Choice = TypeVar("Choice", bound=StrEnum)


def dns_label(text: str, field: str) -> str:
    """A DNS-1123 label (RFC 1123): at most 63 of a-z, 0-9 and inner hyphens."""
    if not _is_label(text):
        raise InvalidField(field, f"{text!r} is no DNS label: at most 63 of a-z, 0-9 and inner hyphens")
    return text


def dns_subdomain(text: str, field: str) -> str:
    """A DNS-1123 subdomain: labels joined by dots, at most 253 characters."""
    if not _is_subdomain(text):
        raise InvalidField(field, f"{text!r} is no DNS subdomain: labels of a-z, 0-9 and hyphens, joined by dots")
    return text


def label_value(text: str, field: str) -> str:
    """A Kubernetes label value: empty, or at most 63 of letters, digits, and inner `-`, `_` and `.`."""
    if not _LABEL_VALUE.fullmatch(text):
        raise InvalidField(field, f"{text!r} is no label value: at most 63 letters, digits and inner '-', '_', '.'")
    return text


def port(number: int, field: str) -> int:
    if not 1 <= number <= _HIGHEST_PORT:
        raise InvalidField(field, f"{number} is not a port; allowed are 1 to {_HIGHEST_PORT}")
    return number


def optional_port(number: int | None, field: str) -> int:
    """A port, or 0 where there is none."""
    return port(number, field) if number else 0


def protocol(text: str | None, field: str) -> Protocol:
    """TCP where the field is absent, as the API server has it."""
    return choice(Protocol, text or Protocol.TCP, field)


def choice(kind: type[Choice], text: str, field: str) -> Choice:
    try:
        return kind(text)
    except ValueError:
        raise InvalidField(field, f"{text!r} is not one of {', '.join(kind)}") from None


def address(text: str, field: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as wrong:
        raise InvalidField(field, str(wrong)) from None


def address_of(family: Family, text: str, field: str) -> Address:
    found = address(text, field)
    if family_of(found) is not family:
        raise InvalidField(field, f"{text!r} is not an {family} address")
    return found


def addresses(texts: Iterable[str], field: str) -> tuple[Address, ...]:
    return tuple(address(text, f"{field}[{at}]") for at, text in enumerate(texts))


def networks(texts: Iterable[str], field: str) -> tuple[Network, ...]:
    return tuple(network(text, f"{field}[{at}]") for at, text in enumerate(texts))


def network(text: str, field: str) -> Network:
    try:
        return parse_network(text)
    except ValueError as wrong:
        raise InvalidField(field, str(wrong)) from None


@lru_cache(maxsize=4096)
def _is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _is_subdomain(text: str) -> bool:
    return len(text) <= _SUBDOMAIN_LENGTH and _SUBDOMAIN.fullmatch(text) is not None
