"""The node: a network namespace, its links, addresses, routes and settings, and its conntrack table."""

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from kproxy.errors import ProgramFailed
from kproxy.kernel import process
from kproxy.model.packet import Host
from kproxy.values import parse_address
from namespaces import fresh_namespace, inside
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

_NETLINK_NETFILTER = 12
_CONNTRACK_DELETE = 1 << 8 | 2
_REQUEST_WITH_ANSWER = 1 | 4
_HEADER = struct.Struct("=IHHII")
_NETFILTER_HEADER = struct.Struct("=BBH")


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
    """The conntrack table of this thread's network namespace."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)

    def forget(self) -> None:
        """Delete every entry, of all families."""
        size = _HEADER.size + _NETFILTER_HEADER.size
        header = _HEADER.pack(size, _CONNTRACK_DELETE, _REQUEST_WITH_ANSWER, 0, 0)
        self._netlink.send(header + _NETFILTER_HEADER.pack(socket.AF_UNSPEC, 0, 0))
        (negated_errno,) = struct.unpack_from("=i", self._netlink.recv(4096), _HEADER.size)
        if negated_errno:
            raise OSError(-negated_errno, f"conntrack cannot be flushed: {os.strerror(-negated_errno)}")

    def close(self) -> None:
        self._netlink.close()
