"""The leftovers of kube-proxy's mode ipvs that are no rules: its interface, and virtual servers."""

import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from kproxy import process
from kproxy.errors import KproxyError

INTERFACE = "kube-ipvs0"
"""The name that kube-proxy gives to the dummy interface that holds all cluster IPs."""

_SERVERS = Path("/proc/net/ip_vs")
_PROTOCOLS = ("TCP ", "UDP ", "SCTP ", "FWM ")


class _LinkInfo(msgspec.Struct):
    info_kind: str = ""


class _AddressInfo(msgspec.Struct):
    prefixlen: int = 0
    scope: str = ""


class _Link(msgspec.Struct):
    linkinfo: _LinkInfo = msgspec.field(default_factory=_LinkInfo)
    addr_info: list[_AddressInfo] = []

    @property
    def is_of_kube_proxy(self) -> bool:
        """Whether it is a dummy, or holds only single addresses: an interface to a network has a network's address."""
        held = [each for each in self.addr_info if each.scope != "link"]
        return self.linkinfo.info_kind == "dummy" or (
            bool(held) and all(each.prefixlen in (32, 128) for each in held)
        )


_LINKS = msgspec.json.Decoder(list[_Link])


def has_interface() -> bool:
    try:
        socket.if_nametoindex(INTERFACE)
    except OSError:
        return False
    return True


def find_interface() -> bool:
    """Whether kube-proxy's interface is there.

    KproxyError if an interface of that name is not made as kube-proxy makes it, or if the kernel gives no answer.
    """
    return has_interface() and _done_unless_gone(_require_of_kube_proxy)


def delete_interface() -> bool:
    """Delete it with all its addresses, on which processes of the node would answer; whether it was there.

    KproxyError if it cannot be deleted. Call `find_interface` first.
    """
    return _done_unless_gone(lambda: process.run(["ip", "link", "delete", "dev", INTERFACE]))


def _done_unless_gone(action: Callable[[], object]) -> bool:
    """Whether the action succeeded; False if it failed because somebody else has deleted the interface meanwhile."""
    try:
        action()
    except KproxyError:
        if has_interface():
            raise
        return False
    return True


def _require_of_kube_proxy() -> None:
    listed = process.run(["ip", "-json", "-details", "address", "show", "dev", INTERFACE])
    try:
        (link,) = (each for each in _LINKS.decode(listed) if each != _Link())
    except (msgspec.DecodeError, ValueError) as wrong:
        raise KproxyError(f"ip does not list {INTERFACE} as iproute2 does: {wrong}") from wrong
    if not link.is_of_kube_proxy:
        raise KproxyError(f"{INTERFACE} is not an interface as kube-proxy makes it, so it stays")


def count_servers() -> int:
    """The number of virtual servers of IPVS; 0 if the kernel has no IPVS."""
    try:
        lines = _SERVERS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return sum(line.startswith(_PROTOCOLS) for line in lines)
