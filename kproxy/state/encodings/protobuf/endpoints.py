"""A faster reader for an Endpoint as an API server writes it. There are more Endpoints than any other messages.

The table describes how an Endpoint is read. Endpoints of one node differ only in addresses and targetRefs, so the
faster reader reads all other fields once and makes their fact once. Any other Endpoint is read by the table.
"""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from kproxy.errors import InvalidField
from kproxy.state.encodings.protobuf.reading import BYTES, ReaderCache
from kproxy.state.encodings.protobuf.types import Type
from kproxy.state.endpoint_facts import endpoint_fact
from kproxy.state.objects import Endpoint
from kproxy.values import Family, is_canonical_ipv4

if TYPE_CHECKING:
    from kproxy.state import wire

_ADDRESSES, _CONDITIONS, _TARGET_REF, _NODE_NAME = (number << 3 | BYTES for number in (1, 2, 4, 6))
_TWO_BYTES = 0x80
"""Lengths from this number on have more than one byte."""

_LONGEST_CONDITIONS = 2 + 6
"""Bytes of three conditions, each with a tag and a value of one byte."""

_ANY_ADDRESS = "0.0.0.0"  # noqa: S104 # only a placeholder for a fact whose address is replaced


def shortcut(endpoint: Type) -> Type:
    """The type of an Endpoint with the faster reader; `endpoint` is the type by the table."""
    whole = endpoint.read

    def like(content: bytes) -> Endpoint | None:
        """The fact of an Endpoint without its address and targetRef; None if it has another address."""
        shape: wire.Endpoint = whole(content)
        if shape.addresses is not None:
            return None
        shape.addresses = [_ANY_ADDRESS]
        return endpoint_fact(Family.IPV4, shape)

    facts = ReaderCache(like)

    def read(content: bytes) -> Any:
        """Read one IPv4 address, conditions, perhaps a targetRef, and a node with the rest; otherwise by the table."""
        try:
            size = content[1]
            begin = size + 2
            at = begin + content[begin + 1] + 2
            if content[0] != _ADDRESSES or content[begin] != _CONDITIONS or at - begin > _LONGEST_CONDITIONS:
                return whole(content)
            said = content[begin:at]
            if content[at] == _TARGET_REF:
                size = content[at + 1]
                at += size + 2
                if size >= _TWO_BYTES:
                    at += 1 + (content[at - size] - 1 << 7)
            fact = facts[said + content[at:]] if content[at] == _NODE_NAME else None
            address: Any = str(content[2:begin], "utf-8")
            if fact is not None and is_canonical_ipv4(address):
                return replace(fact, address=address)
        except (IndexError, UnicodeDecodeError, InvalidField):
            pass
        return whole(content)

    return Type(endpoint.wanted, endpoint.wire_type, read)
