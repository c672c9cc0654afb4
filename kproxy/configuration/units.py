"""Values that a configuration writes as text: durations, CIDRs, addresses, interface names.

Every `parse` raises ValueError with the text that was found and the allowed form.
"""

import re
from decimal import Decimal
from typing import ClassVar, Self

from kproxy.values import Address, Family, Network, family_of, parse_address, parse_network

PRIMARY = "primary"
"""In `nodePortAddresses`: the node's primary address of each family."""

NODE_PORT_WORDS = {
    PRIMARY: (),
    "localhost": (Network("127.0.0.0/8"), Network("::1/128")),
    "all": (Network("0.0.0.0/0"), Network("::/0")),
}
"""The words of `nodePortAddresses`, with the networks that each stands for (KEP-6032, kube-proxy 1.37)."""

EXTERNAL_IPS_GATE = "AllowServiceExternalIPs"
"""A feature gate. If it is off, `externalIPs` of Services have no rules (KEP-5707, kube-proxy 1.36)."""

WATCH_LIST_GATE = "WatchListClient"
"""A feature gate. If it is off, lists are fetched in the ordinary way instead of as streams.

It is client-go's, and kube-proxy reads it from its configuration (pkg/features/kube_features.go).
"""

GATES_WITH_EFFECT = frozenset({EXTERNAL_IPS_GATE, WATCH_LIST_GATE})

UNSPECIFIED = ("0.0.0.0", "::")  # noqa: S104 # compared with addresses, not bound to them
"""In `bindAddress`: the node's address is the address that its Node object names."""

IFNAMSIZ = 16
"""Linux: the room for an interface's name, including its closing zero byte."""

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
_LONGEST_S = Decimal(2**63 - 1) * _UNIT_S["ns"]
"""Go counts nanoseconds in 64 bits: 292 years."""

_SOCKET = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<bare>[^\[\]:]+)):(?P<port>\d{1,5})", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", re.ASCII)


class Seconds(float):
    """A length of time, never negative. The file writes it as Go does, such as `1h5m`."""

    __slots__ = ()
    EXAMPLE: ClassVar[str] = "500ms, 30s or 1h5m"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse Go's notation. A bare number has no unit and is refused, except `0`."""
        if not _DURATION.fullmatch(text):
            raise ValueError(f"{text!r} is not a duration of 0 or more; write {cls.EXAMPLE}")
        length_s = sum(Decimal(amount) * _UNIT_S[unit] for amount, unit in _AMOUNT.findall(text))
        if length_s > _LONGEST_S:
            raise ValueError(f"{text!r} is longer than 292 years, the longest duration")
        return cls(length_s)


class ClusterCidrs(tuple[Network, ...]):
    """The pods' networks: none, one, or one of each family. The file writes `10.0.0.0/8,fd00::/48`."""

    __slots__ = ()
    EXAMPLE: ClassVar[str] = "10.0.0.0/8 or 10.0.0.0/8,fd00::/48"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Split at the comma. Blanks around each CIDR are dropped, and empty text means none."""
        if not text.strip():
            return cls()
        try:
            networks = [parse_network(part) for part in text.split(",")]
        except ValueError as wrong:
            raise ValueError(f"{text!r} is not a list of CIDRs: {wrong}; write {cls.EXAMPLE}") from wrong
        if len({family_of(network) for network in networks}) != len(networks):
            raise ValueError(
                f"{text!r} is neither one CIDR nor an IPv4 CIDR and an IPv6 CIDR; write {cls.EXAMPLE}"
            )
        return cls(networks)


class NodePortAddress(str):
    """A CIDR in canonical text, or one of `NODE_PORT_WORDS`."""

    __slots__ = ()
    EXAMPLE: ClassVar[str] = f"CIDRs such as 10.0.0.0/8, or the words {', '.join(NODE_PORT_WORDS)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        word = text.strip()
        try:
            return cls(word if word in NODE_PORT_WORDS else parse_network(text))
        except ValueError as wrong:
            raise ValueError(f"{wrong}; write {cls.EXAMPLE}") from wrong

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks of the CIDR or word. `primary` has none, because only the node knows its primary address."""
        return NODE_PORT_WORDS.get(self, (Network(self),))


class BindAddress(str):
    """An address in canonical text."""

    __slots__ = ()
    EXAMPLE: ClassVar[str] = "0.0.0.0, :: or an address of the node"

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            return cls(parse_address(text))
        except ValueError as wrong:
            raise ValueError(f"{wrong}; write {cls.EXAMPLE}") from wrong

    @property
    def family(self) -> Family:
        return family_of(Address(self))


class ServerAddress(str):
    """The address of a server: `address:port`, an IPv6 address in brackets; empty for no server."""

    __slots__ = ()
    PORT: ClassVar[int]
    """The port of an address that is given without a port."""

    EXAMPLE: ClassVar[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `address:port` or an address alone. A host name is refused, because nothing is looked up."""
        if not text:
            return cls()
        try:
            return cls.at(parse_address(text.removeprefix("[").removesuffix("]")), cls.PORT)
        except ValueError:
            socket = _SOCKET.fullmatch(text)
        if not socket or not 1 <= int(socket["port"]) <= 65535:  # noqa: PLR2004 # 16 bits
            raise ValueError(f"{text!r} is not an address with a port from 1 to 65535; write {cls.EXAMPLE}")
        try:
            return cls.at(parse_address(socket["bracketed"] or socket["bare"]), int(socket["port"]))
        except ValueError as wrong:
            raise ValueError(f"{wrong}; write {cls.EXAMPLE}") from wrong

    @classmethod
    def at(cls, address: Address, port: int) -> Self:
        return cls(f"[{address}]:{port}" if family_of(address) is Family.IPV6 else f"{address}:{port}")

    @property
    def host(self) -> Address:
        return Address(self.rpartition(":")[0].removeprefix("[").removesuffix("]"))

    @property
    def port(self) -> int:
        return int(self.rpartition(":")[2])


class HealthzAddress(ServerAddress):
    __slots__ = ()
    PORT = 10256
    EXAMPLE = f"0.0.0.0:{PORT} or [::]:{PORT}"


class MetricsAddress(ServerAddress):
    __slots__ = ()
    PORT = 10249
    EXAMPLE = f"127.0.0.1:{PORT} or [::1]:{PORT}"


def check_interface(text: str, *, room: int) -> None:
    """Raise ValueError unless the text is an interface's name, or its beginning, that a rule can use.

    `room` is the longest allowed length. Linux allows nearly every byte in a name. Letters, digits, `_`, `.`, `-` and
    an inner `+` are allowed here: no real interface needs more, and none of them has a meaning for iptables-restore.
    """
    if not _INTERFACE.fullmatch(text) or text.endswith("+") or len(text) > room:
        raise ValueError(
            f"{text!r} does not name an interface; write 1 to {room} letters, digits, or characters of _.- "
            "(a + at the end, for any rest, is added where it is needed)"
        )
