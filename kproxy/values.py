"""The basic types of every layer: families, protocols, addresses and names.

An address or network is its canonical text, checked once by `parse_address` or `parse_network` when it enters. 100,000
endpoints as `ipaddress` objects would cost three times the memory without a benefit, because rules are text.
"""

import ipaddress
import re
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, NewType

Address = NewType("Address", str)
"""An IPv4 or IPv6 address in canonical text: no leading zeros, no zone, IPv6 compressed."""

Network = NewType("Network", str)
"""A CIDR in canonical text with its host bits cleared, such as `10.128.0.0/9`."""


class Family(StrEnum):
    IPV4 = "IPv4"
    IPV6 = "IPv6"

    @property
    def host_prefix(self) -> int:
        """The prefix length that names one single address."""
        return 32 if self is Family.IPV4 else 128


class Protocol(StrEnum):
    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class NamespacedName(NamedTuple):
    """The key of an object within its kind. A cluster-wide object has an empty namespace."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class ServicePortName(NamedTuple):
    """Names one service port: a Service, one of its ports, and that port's protocol."""

    service: NamespacedName
    port: str
    protocol: Protocol

    def __str__(self) -> str:
        return f"{self.service}:{self.port}" if self.port else str(self.service)


_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_CANONICAL_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
"""Matches most addresses: IPv4 has one spelling, and a match is five times faster than parsing it."""

is_canonical_ipv4 = _CANONICAL_IPV4.fullmatch
"""Whether the text is a canonical IPv4 address. It is the compiled pattern's own method, which saves a call."""


def parse_address(text: str) -> Address:
    """The canonical form of an address. ValueError says what is wrong.

    Besides the texts that `ipaddress` refuses (such as leading zeros), zones such as `fe80::1%eth0` are refused, and so
    is IPv4-mapped IPv6, which a rule of neither family would match.
    """
    if _CANONICAL_IPV4.fullmatch(text):
        return Address(text)
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            raise ValueError(f"{text!r} carries a zone, which no rule can have; write it without one")
        if address.ipv4_mapped:
            raise ValueError(f"{text!r} is an IPv4-mapped IPv6 address; write {address.ipv4_mapped}")
    return Address(str(address))


def read_address(text: str) -> Address:
    """An address of a stored object, as Kubernetes reads it (KEP-4858): 010 is ten, and ::ffff:10.0.0.1 is IPv4.

    Objects that were stored before the API server's validation became strict have such text. ValueError for all other
    texts that `parse_address` refuses.
    """
    if _CANONICAL_IPV4.fullmatch(text):
        return Address(text)
    head, colon, quad = text.rpartition(":")
    if "." in quad:
        text = head + colon + ".".join(map(_as_decimal, quad.split(".")))
    if not colon:
        return _canonical_ipv4(text)
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return Address(str(mapped)) if mapped else parse_address(text)


def _canonical_ipv4(text: str) -> Address:
    """Check text without a colon, which cannot be an IPv6 address.

    To let `ipaddress` try both families takes ten times as long.
    """
    if _CANONICAL_IPV4.fullmatch(text):
        return Address(text)
    raise ValueError(f"{text!r} does not appear to be an IPv4 or IPv6 address")


def _as_decimal(octet: str) -> str:
    return octet.lstrip("0") or "0" if octet.isascii() and octet.isdigit() else octet


def parse_network(text: str) -> Network:
    """The canonical form of a CIDR. Surrounding blanks and host bits are dropped.

    The API server allows blanks around a CIDR in `loadBalancerSourceRanges`, and kube-proxy removes them. ValueError
    says what is wrong.
    """
    return _network(text, parse_address)


def read_network(text: str) -> Network:
    """A CIDR of a stored object. Its address is read as by `read_address`, and the rest as by `parse_network`."""
    return _network(text, read_address)


def _network(text: str, read: Callable[[str], Address]) -> Network:
    trimmed = text.strip()
    if "/" not in trimmed:
        raise ValueError(
            f"{text!r} has no prefix length; write {trimmed}/32 or {trimmed}/128 for one address"
        )
    base, _, prefix = trimmed.partition("/")
    if not (prefix.isascii() and prefix.isdigit()):
        raise ValueError(f"{text!r} has a prefix length that is not a number")
    address = read(base)
    if ":" in base and ":" not in address:
        raise ValueError(f"{text!r} is an IPv4-mapped network; write it as IPv4")
    return Network(str(ipaddress.ip_network(f"{address}/{int(prefix)}", strict=False)))


def family_of(value: Address | Network) -> Family:
    """The family of a canonical address or network."""
    return Family.IPV6 if ":" in value else Family.IPV4


def contains(network: Network, address: Address) -> bool:
    """Whether the address is in the network. An address of the other family never is."""
    if family_of(network) is not family_of(address):
        return False
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)


def is_loopback(address: Address) -> bool:
    """Whether the address is in 127.0.0.0/8 or is ::1."""
    return ipaddress.ip_address(address).is_loopback
