"""Packets that processes on the node send, and packets that are delivered to them."""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from kproxy.values import Address, Family, family_of
from wire.headers import ICMP, ICMPV6, PROTOCOL_NUMBERS, Refusal, Segment, decode, decode_body

_SO_RCVBUFFORCE = 33
_ROOM = 16 << 20
_LARGEST = 65536
_PACKET_INFO = struct.Struct("16sI")


class Processes:
    """The node's own ends of conversations, in this thread's network namespace.

    What they send passes OUTPUT. What they hear has passed INPUT: raw sockets get a copy of each packet
    that is delivered to the node, whether or not a process listens.
    """

    def __init__(self) -> None:
        self._senders = {family: _sender(family) for family in Family}
        numbers = PROTOCOL_NUMBERS.values()
        self._ears = [_ear(socket.AF_INET, number) for number in (ICMP, *numbers)]
        self._ears_v6 = [_ear(socket.AF_INET6, number) for number in (ICMPV6, *numbers)]
        for ear in self._ears_v6:
            ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)

    def send(self, packet: bytes, destination: Address) -> None:
        """Send a packet with its IP header; the kernel tells a sender whose packet OUTPUT drops, which is no error."""
        with suppress(PermissionError):
            self._senders[family_of(destination)].sendto(packet, (destination, 0))

    def hear_all(self) -> Iterator[Segment | Refusal]:
        """The packets that were delivered to the node since the last call, ICMP first."""
        for ear in self._ears:
            with suppress(BlockingIOError):
                while True:
                    if heard := decode(ear.recv(_LARGEST)):
                        yield heard
        for ear in self._ears_v6:
            with suppress(BlockingIOError):
                while True:
                    if heard := _hear_v6(ear):
                        yield heard

    def close(self) -> None:
        for each in (*self._senders.values(), *self._ears, *self._ears_v6):
            each.close()


def _sender(family: Family) -> socket.socket:
    version = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    made = socket.socket(version, socket.SOCK_RAW, socket.IPPROTO_RAW)  # which implies IP_HDRINCL
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    return made


def _ear(version: socket.AddressFamily, number: int) -> socket.socket:
    made = socket.socket(version, socket.SOCK_RAW | socket.SOCK_NONBLOCK, number)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
    return made


def _hear_v6(ear: socket.socket) -> Segment | Refusal | None:
    """A raw IPv6 socket gives no header: the destination comes beside the packet."""
    body, ancillary, _, sender = ear.recvmsg(_LARGEST, 128)
    ((_, _, packet_info),) = ancillary
    destination, _ = _PACKET_INFO.unpack(packet_info)
    return decode_body(
        ear.proto,
        Address(sender[0].partition("%")[0]),
        Address(socket.inet_ntop(socket.AF_INET6, destination)),
        body,
    )
