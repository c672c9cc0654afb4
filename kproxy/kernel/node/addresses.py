"""The addresses of the interfaces in this network namespace."""

import msgspec

from kproxy import process
from kproxy.errors import KproxyError
from kproxy.values import Address, parse_address


class _AddressInfo(msgspec.Struct):
    local: str = ""


class _Link(msgspec.Struct):
    addr_info: list[_AddressInfo] = []


_LINKS = msgspec.json.Decoder(list[_Link])


def local_addresses() -> tuple[Address, ...]:
    """Every address of both families that a rule can match, in the kernel's order.

    The order is that of iproute2. Loopback addresses are included.
    """
    try:
        links = _LINKS.decode(process.run(["ip", "-json", "address", "show"]))
    except msgspec.DecodeError as wrong:
        raise KproxyError(f"ip does not list addresses as iproute2 does: {wrong}") from wrong
    read = (_usable(info.local) for link in links for info in link.addr_info)
    return tuple(address for address in read if address)


def _usable(text: str) -> Address | None:
    """The address; None for an IPv4-mapped address, and for a link without an address."""
    try:
        return parse_address(text)
    except ValueError:
        return None
