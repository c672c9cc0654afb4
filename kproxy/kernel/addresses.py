"""The addresses on this network namespace's interfaces."""

import msgspec

from kproxy.kernel import process
from kproxy.values import Address, parse_address


class _AddressInfo(msgspec.Struct):
    local: str = ""


class _Link(msgspec.Struct):
    addr_info: list[_AddressInfo] = []


_LINKS = msgspec.json.Decoder(list[_Link])


def local_addresses() -> tuple[Address, ...]:
    """Every address of both families, loopback included, in the kernel's order (as iproute2 lists them)."""
    links = _LINKS.decode(process.run(["ip", "-json", "address", "show"]))
    return tuple(parse_address(info.local) for link in links for info in link.addr_info if info.local)
