"""A connection's first packet as it meets the node, and what becomes of it."""

from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from kproxy.values import Address, Family, Protocol, family_of


class Packet(NamedTuple):
    """The first packet of a connection.

    It comes in by `interface`, or from a process on the node if that is empty; then `source` is the
    address the process is bound to or that routing chose.
    """

    protocol: Protocol
    source: Address
    destination: Address
    port: int
    interface: str = ""
    source_port: int = 49152

    @property
    def family(self) -> Family:
        return family_of(self.destination)

    @property
    def is_from_a_process(self) -> bool:
        return not self.interface


class Verdict(StrEnum):
    """`NOT_OURS`: the packet goes on as it came. `REJECTED`: the sender is told, by ICMP or a reset."""

    SENT = "sent"
    REJECTED = "rejected"
    DROPPED = "dropped"
    NOT_OURS = "not ours"


class Fate(NamedTuple):
    """One thing that can become of a packet; only `SENT` has a destination and may be masqueraded."""

    verdict: Verdict
    destination: Address | None = None
    port: int = 0
    masqueraded: bool = False


Fates = dict[Fate, Fraction]
"""Everything that can become of a packet, each with its probability; these add up to 1."""


class Host(NamedTuple):
    """What the kernel knows of the node besides the rules: the addresses on its interfaces.

    All of 127.0.0.0/8 and ::1 are the host's own without being listed.
    """

    addresses: frozenset[Address]

    def owns(self, address: Address) -> bool:
        return address in self.addresses or address.startswith("127.") or address == "::1"
