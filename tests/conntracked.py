"""Flows put into conntrack as if they had been seen, without a packet."""

import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from kproxy.kernel.netlink.nfnetlink import NFPROTO, attribute
from kproxy.values import Address, family_of

UDP, TCP = 17, 6
_NETLINK_NETFILTER = 12
_REQUEST = 0x001
_NEW = 1 << 8
_CREATE = 0x400 | 0x200  # NLM_F_CREATE, NLM_F_EXCL
_NESTED = 0x8000


class Seen(NamedTuple):
    """A flow as `client:port` sends it to `to:port`, answered by `by:port`."""

    client: tuple[str, int]
    to: tuple[str, int]
    by: tuple[str, int]
    protocol: int = UDP


def put_flows(flows: Iterable[Seen]) -> None:
    """Into the network namespace of this thread, a hundred a message."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        waiting = iter(flows)
        while batch := b"".join(map(_message, islice(waiting, 100))):
            netlink.send(batch)
        netlink.setblocking(False)
        with suppress(BlockingIOError):
            raise AssertionError(f"a flow was refused: {netlink.recv(100)!r}")


def _message(flow: Seen) -> bytes:
    body = struct.pack("=BBH", _family(flow), 0, 0) + _attributes(flow)
    return struct.pack("=IHHII", 16 + len(body), _NEW, _REQUEST | _CREATE, 1, 0) + body


def _family(flow: Seen) -> int:
    return NFPROTO[family_of(Address(flow.to[0]))]


def _attributes(flow: Seen) -> bytes:
    return b"".join(
        (
            _tuple(1, flow.client, flow.to, flow.protocol),
            _tuple(2, flow.by, flow.client, flow.protocol),
            attribute(7, struct.pack(">I", 300)),  # CTA_TIMEOUT
            attribute(4 | _NESTED, attribute(1 | _NESTED, attribute(1, b"\3")))
            if flow.protocol == TCP
            else b"",
        )
    )


def _tuple(kind: int, source: tuple[str, int], destination: tuple[str, int], protocol: int) -> bytes:
    first, family = (3, socket.AF_INET6) if ":" in source[0] else (1, socket.AF_INET)
    addresses = attribute(first, socket.inet_pton(family, source[0]))
    addresses += attribute(first + 1, socket.inet_pton(family, destination[0]))
    ports = attribute(1, bytes([protocol])) + attribute(2, struct.pack(">H", source[1]))
    ports += attribute(3, struct.pack(">H", destination[1]))
    return attribute(kind | _NESTED, attribute(1 | _NESTED, addresses) + attribute(2 | _NESTED, ports))
