"""The UDP flows of conntrack, read with the kernel's own filters, and removed one by one.

Attributes are not decoded; bytes are read at known places. This way 200,000 flows take half a second.
"""

import errno
import ipaddress
import re
import struct
from collections.abc import Collection, Iterator
from typing import NamedTuple, Self

from kproxy.kernel.netlink.nfnetlink import NFPROTO, Netlink, asking, attribute, attributes, refusal
from kproxy.model.udp import Frontend, Target
from kproxy.values import Address, Family

_SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2  # IPCTNL_MSG_CT_*
_TUPLE_ORIGINAL, _TUPLE_REPLY, _ID, _FILTER = 1, 2, 12, 25  # CTA_*
_TUPLE_IP, _TUPLE_PROTO = 1, 2  # CTA_TUPLE_*
_PROTO_NUMBER, _PROTO_DESTINATION_PORT = 1, 3  # CTA_PROTO_*
_DESTINATION = {Family.IPV4: 2, Family.IPV6: 4}  # CTA_IP_V4_DST, CTA_IP_V6_DST
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2  # CTA_FILTER_*_FLAGS
_BY_DESTINATION, _BY_PROTOCOL, _BY_DESTINATION_PORT = 1 << 1, 1 << 3, 1 << 5  # CTA_FILTER_F_*
_NESTED = 0x8000  # NLA_F_NESTED
_UDP = 17
_ADDRESS_BYTES = {Family.IPV4: 4, Family.IPV6: 16}
_FIRST = 20  # after the headers of netlink and of nfnetlink
_HEAD, _PORT, _FLAGS = struct.Struct("=HH"), struct.Struct(">H"), struct.Struct("=I")
_FEW = 8
"""The largest number of frontends for which the kernel is asked one by one; for more, it lists all UDP flows once."""


class Flow(NamedTuple):
    """One flow: where the client sends to, and who answers. `identity` names the flow to the kernel."""

    destination: Target
    source: Target
    identity: bytes


class UdpFlows:
    """One family's UDP flows in this thread's network namespace; for one thread at a time, as a context manager.

    KernelRefused if the kernel refuses, with EINTR if its table changed meanwhile. Flows in a conntrack zone of
    their own belong to others, and are left out.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._layout = _Layout(_ADDRESS_BYTES[family])
        self._removing = Netlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._removing.close()

    def to(self, frontends: Collection[Frontend]) -> Iterator[Flow]:
        """The flows to any of these; a node port stands for every address."""
        ports = {_PORT.pack(frontend.port) for frontend in frontends if frontend.address is None}
        exact = {
            (_packed(frontend.address), _PORT.pack(frontend.port))
            for frontend in frontends
            if frontend.address
        }
        layout = self._layout

        def may_hold(messages: bytes) -> bool:
            found = layout.destinations(messages)
            return not exact.isdisjoint(found) or (bool(ports) and any(port in ports for _, port in found))

        for query in self._queries(frontends):
            with asking("the list of UDP flows"), Netlink() as netlink:
                for message in netlink.dump(_GET, NFPROTO[self._family], query, may_hold):
                    port = message[layout.port]
                    wanted = port in ports or (message[layout.address], port) in exact
                    if wanted and layout.fits(message):
                        yield layout.flow(message)

    def remove(self, flow: Flow) -> bool:
        """Delete the flow; whether it was still there."""
        try:
            self._removing.tell(_DELETE, NFPROTO[self._family], flow.identity)
        except OSError as refused:
            if refused.errno == errno.ENOENT:
                return False
            raise refusal("the deletion of a UDP flow", refused) from refused
        return True

    def _queries(self, frontends: Collection[Frontend]) -> list[bytes]:
        """The filters to send to the kernel. Before Linux 5.8 it ignores them, and lists every flow."""
        if len(frontends) > _FEW:
            return [self._query(None, None)]
        return [self._query(frontend.address, frontend.port) for frontend in frontends]

    def _query(self, address: Address | None, port: int | None) -> bytes:
        flags, looked_for, protocol = _BY_PROTOCOL, b"", attribute(_PROTO_NUMBER, bytes([_UDP]))
        if port is not None:
            flags |= _BY_DESTINATION_PORT
            protocol += attribute(_PROTO_DESTINATION_PORT, _PORT.pack(port))
        if address is not None and self._family is Family.IPV4:  # Linux 6.18 has IPv6 the wrong way round
            flags |= _BY_DESTINATION
            looked_for = _nested(_TUPLE_IP, attribute(_DESTINATION[self._family], _packed(address)))
        return _nested(_TUPLE_ORIGINAL, looked_for + _nested(_TUPLE_PROTO, protocol)) + _nested(
            _FILTER,
            attribute(_FILTER_ORIGINAL, _FLAGS.pack(flags)) + attribute(_FILTER_REPLY, _FLAGS.pack(0)),
        )


class _Layout:
    """The places of a flow's parts in the kernel's message about it; addresses have `size` bytes.

    CTA_TUPLE_ORIG comes first and CTA_TUPLE_REPLY next, each with both addresses, the protocol and both ports.
    """

    def __init__(self, size: int) -> None:
        length = 44 + 2 * size
        reply = _FIRST + length
        self._heads = (
            (slice(_FIRST, _FIRST + 4), _HEAD.pack(length, _TUPLE_ORIGINAL | _NESTED)),
            (slice(reply, reply + 4), _HEAD.pack(length, _TUPLE_REPLY | _NESTED)),
        )
        self._protocol = _FIRST + 24 + 2 * size
        self.address = slice(_FIRST + 16 + size, _FIRST + 16 + 2 * size)
        self.port = slice(_FIRST + 40 + 2 * size, _FIRST + 42 + 2 * size)
        self._reply_address = slice(reply + 12, reply + 12 + size)
        self._reply_port = slice(reply + 32 + 2 * size, reply + 34 + 2 * size)
        self._original = slice(_FIRST, reply)
        head = re.escape(_HEAD.pack(length, _TUPLE_ORIGINAL | _NESTED))
        self.destinations = re.compile(head + b".{%d}(.{%d}).{24}(..)" % (12 + size, size), re.DOTALL).findall
        """Finds the destinations of all flows in the bytes of one read, faster than message by message."""

    def fits(self, message: bytes) -> bool:
        return message[self._protocol] == _UDP and all(message[place] == head for place, head in self._heads)

    def flow(self, message: bytes) -> Flow:
        ids = (attribute(_ID, message[begin:end]) for kind, begin, end in attributes(message) if kind == _ID)
        return Flow(
            _target(message[self.address], message[self.port]),
            _target(message[self._reply_address], message[self._reply_port]),
            message[self._original] + next(ids, b""),
        )


def _nested(kind: int, value: bytes) -> bytes:
    return attribute(kind | _NESTED, value)


def _packed(address: Address | None) -> bytes:
    return ipaddress.ip_address(address).packed if address else b""


def _target(address: bytes, port: bytes) -> Target:
    return Target(Address(str(ipaddress.ip_address(address))), _PORT.unpack(port)[0])
