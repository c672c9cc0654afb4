"""Values that a configuration writes as text: durations, CIDRs, socket addresses, interface names.

Every `parse` raises ValueError with the text that was found and what is allowed.
"""

import re
from decimal import Decimal
from typing import Self

from kproxy.values import Address, Family, Network, family_of, parse_address, parse_network

PRIMARY = "primary"
"""In `nodePortAddresses`: the node's primary address of each family."""

IFNAMSIZ = 16
"""Linux: the room for an interface's name, its closing zero byte included."""

_UNIT_S = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),  # micro sign
    "μs": Decimal("1e-6"),  # the Greek letter; Go reads both
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_AMOUNT = re.compile(rf"(\d+\.?\d*|\.\d+)({'|'.join(_UNIT_S)})", re.ASCII)
_DURATION = re.compile(rf"\+?(?:0|(?:{_AMOUNT.pattern})+)", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", re.ASCII)


class Seconds(float):
    """A span of time, never negative; the file writes it as Go does, such as `1h5m`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read Go's notation; a bare number has no unit and is refused, `0` excepted."""
        if not _DURATION.fullmatch(text):
            raise ValueError(f"{text!r} is not a duration of 0 or more; write 500ms, 30s or 1h5m")
        return cls(sum(Decimal(amount) * _UNIT_S[unit] for amount, unit in _AMOUNT.findall(text)))


class ClusterCidrs(tuple[Network, ...]):
    """The pods' networks: none, one, or one of each family; the file writes `10.0.0.0/8,fd00::/48`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Split at the comma; blanks around each CIDR are dropped, and empty text means none."""
        if not text.strip():
            return cls()
        networks = [parse_network(part) for part in text.split(",")]
        families = {family_of(network) for network in networks}
        if len(families) != len(networks):
            raise ValueError(
                f"{text!r} is neither one CIDR nor an IPv4 and an IPv6 one; write 10.0.0.0/8,fd00::/48"
            )
        return cls(networks)


class NodePortAddress(str):
    """A CIDR in canonical text, or the word `primary`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            return cls(PRIMARY if text.strip() == PRIMARY else parse_network(text))
        except ValueError as wrong:
            raise ValueError(f"{wrong}; or write {PRIMARY}, alone") from wrong


def parse_socket_address(text: str, default_port: int) -> str:
    """The canonical `address:port`, an IPv6 address in brackets; the port may be missing."""
    try:
        return _socket_address(parse_address(text.strip("[]")), default_port)
    except ValueError:
        host, _, port = text.rpartition(":")
    if family_of(Address(host)) is Family.IPV6 and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{text!r} is not address:port; write 0.0.0.0:{default_port} or [::]:{default_port}")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):  # noqa: PLR2004 # 16 bits
        raise ValueError(
            f"{text!r} has no port from 1 to 65535; write 0.0.0.0:{default_port} or [::]:{default_port}"
        )
    return _socket_address(parse_address(host.strip("[]")), int(port))


def _socket_address(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if family_of(address) is Family.IPV6 else f"{address}:{port}"


def check_interface(text: str, *, room: int) -> None:
    """Pass an interface's name, or the start of one, that a rule can carry; `room` is how long it may be.

    Linux takes nearly every byte in a name. Letters, digits, `_`, `.`, `-` and an inner `+` are
    taken here: no real interface needs more, and none of them means anything to iptables-restore.
    """
    if not _INTERFACE.fullmatch(text) or text.endswith("+") or len(text) > room:
        raise ValueError(
            f"{text!r} does not name an interface; write 1 to {room} letters, digits, or characters of _.- "
            "(a + at the end, for any rest, is added where it is needed)"
        )
