"""Elements of sets and maps from their text, as nft prints it."""

from kproxy.ruleset.nftables.table import DROP, NOWHERE, Element, Key, Target, Verdict
from kproxy.values import Address

_PROTOCOLS = ("tcp", "udp", "sctp")


def an_element(holder: str, key: str, value: str = "") -> Element:
    return Element(holder, a_key(key), a_value(value))


def a_key(text: str) -> Key:
    """One or two addresses, a protocol with a port, a number: each may be left out."""
    parts = text.split(" . ")
    addresses = [Address(part) for part in parts if not part.isdecimal() and part not in _PROTOCOLS]
    protocols = [part for part in parts if part in _PROTOCOLS]
    port, *numbers = [int(part) for part in parts if part.isdecimal()] or [0]
    source, address = ([NOWHERE] * 2 + addresses)[-2:]
    return Key(source, address, "".join(protocols), port, numbers[0] if numbers else None)


def a_value(text: str) -> Verdict | Target | None:
    if not text:
        return None
    if text == "drop":
        return DROP
    verb, _, chain = text.partition("goto ")
    if not verb:
        return Verdict(chain)
    address, _, port = text.partition(" . ")
    return Target(Address(address), int(port))
