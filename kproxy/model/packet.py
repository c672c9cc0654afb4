"""The first packet of a connection as it arrives at the node, and the fates that it may have."""

from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from kproxy.values import Address, Family, Protocol, family_of


class Packet(NamedTuple):
    """The first packet of a connection.

    It comes in by `interface`, or from a process on the node if `interface` is empty. `source` is then the
    address to which the process is bound, or which routing chose.
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
    """One way in which a packet can end; only `SENT` has a destination and may be masqueraded."""

    verdict: Verdict
    destination: Address | None = None
    port: int = 0
    masqueraded: bool = False


Fates = dict[Fate, Fraction]
"""All fates that a packet can have, each with its probability; the probabilities add up to 1."""


class Host(NamedTuple):
    """The node as the kernel sees it apart from the rules: the addresses of its interfaces.

    All of 127.0.0.0/8 and ::1 belong to the host without being listed.
    """

    addresses: frozenset[Address]

    def owns(self, address: Address) -> bool:
        return address in self.addresses or address.startswith("127.") or address == "::1"
