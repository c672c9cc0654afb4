"""The node: a network namespace, its links, addresses, routes and settings, and its conntrack table."""

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from kproxy import process
from kproxy.errors import ProgramFailed
from kproxy.kernel.netlink.nfnetlink import NFPROTO, NFPROTO_UNSPEC, Netlink, attribute
from kproxy.model.packet import Host
from kproxy.values import Family, family_of, parse_address
from namespaces import fresh_namespace, inside
from wire.headers import PROTOCOL_NUMBERS, Segment
from wire.tun import Tun

_NAMES = "kproxy-test-*"
"""How `fresh_namespace` calls them; the third word is the process that owns one."""

_SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/accept_local": "1",  # a link may claim the node's own addresses
    "net/ipv4/conf/all/route_localnet": "1",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/addr_gen_mode": "1",  # the node has the addresses that it was given, and no others
    "net/ipv4/icmp_ratemask": "0",  # every refusal is heard, however many there are
    "net/ipv6/icmp/ratemask": "0",
}
_QUEUE = "4096"

_NEW, _DELETE = 1 << 8, 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_*
_NESTED = 0x8000
_ORIGINAL, _MARK, _MARK_MASK = 1 | _NESTED, 8, 21  # CTA_*
_KEPT = struct.pack("!I", 1)
_VERSIONS = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


class Link(NamedTuple):
    """One of the node's links: its own addresses on it, and the networks that are reached by it, as CIDRs."""

    name: str
    networks: Sequence[str] = ()
    addresses: Sequence[str] = ()


OUTSIDE = Link("eth0", ("0.0.0.0/0", "::/0"), ("10.199.0.2/24", "fd00:199::2/64"))
LOCAL_PODS = Link("cni0", ("10.128.1.0/24", "fd00:10:128:1::/64"))
OTHER_NODES = Link("flannel.1", ("10.128.0.0/9", "fd00:10:128::/48"))


def host_of(links: Sequence[Link]) -> Host:
    """The node as rules see it."""
    return Host(frozenset(parse_address(each.partition("/")[0]) for link in links for each in link.addresses))


@contextmanager
def node(links: Sequence[Link]) -> Iterator[tuple[str, list[Tun]]]:
    """The namespace's name and the other ends of its links.

    Both are gone afterwards. The links of a process that was killed die with it; its namespace goes here.
    """
    _remove_leftovers()
    with ExitStack() as stack:
        name = stack.enter_context(fresh_namespace())
        with inside(name):
            for setting, value in _SETTINGS.items():
                (Path("/proc/sys") / setting).write_text(value)
            tuns = [stack.enter_context(Tun(link.name)) for link in links]
            for link in links:
                _set_up(link)
        yield name, tuns


def _set_up(link: Link) -> None:
    _ip("link", "set", link.name, "txqueuelen", _QUEUE, "up")
    for address in link.addresses:
        _ip("address", "add", address, "dev", link.name)
    for network in link.networks:
        _ip("route", "add", network, "dev", link.name)


def _ip(*arguments: str) -> None:
    process.run(["ip", *arguments])


def _remove_leftovers() -> None:
    for path in Path("/run/netns").glob(_NAMES):
        owner = path.name.split("-")[2]
        if owner != str(os.getpid()) and not Path("/proc", owner).exists():
            with suppress(ProgramFailed):  # another process may be at it as well
                _ip("netns", "del", path.name)


class Connections:
    """The conntrack table of this thread's network namespace; it keeps the connections that it is asked to keep."""

    def __init__(self) -> None:
        self._netlink = Netlink()

    def keep(self, opening: Segment) -> None:
        """Let the connection that this packet opened outlive `forget`."""
        family = NFPROTO[family_of(opening.source)]
        self._netlink.tell(_NEW, family, _tuple(opening) + attribute(_MARK, _KEPT))

    def forget(self, *, kept: bool = False) -> None:
        """Delete each entry, of all families. The connections to keep stay, unless `kept` says that they go too."""
        others = attribute(_MARK, bytes(4)) + attribute(_MARK_MASK, _KEPT)
        self._netlink.tell(_DELETE, NFPROTO_UNSPEC, b"" if kept else others)

    def close(self) -> None:
        self._netlink.close()


def _tuple(opening: Segment) -> bytes:
    version = family_of(opening.source)
    packed = [socket.inet_pton(_VERSIONS[version], each) for each in (opening.source, opening.destination)]
    first = 1 if version is Family.IPV4 else 3  # CTA_IP_V4_SRC, CTA_IP_V6_SRC
    addresses = attribute(first, packed[0]) + attribute(first + 1, packed[1])
    ports = [struct.pack("!H", port) for port in (opening.source_port, opening.port)]
    protocol = bytes([PROTOCOL_NUMBERS[opening.protocol]])
    numbers = attribute(1, protocol) + attribute(2, ports[0]) + attribute(3, ports[1])  # CTA_PROTO_*
    return attribute(_ORIGINAL, attribute(1 | _NESTED, addresses) + attribute(2 | _NESTED, numbers))
