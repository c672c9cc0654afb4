"""Packets as bytes: IPv4 (RFC 791), IPv6 (RFC 8200), TCP, UDP, SCTP INIT (RFC 9260), and what ICMP says of them.

Every probe carries a 32-bit tag where neither NAT nor the kernel changes it: TCP's sequence number, SCTP's
initiate tag, UDP's payload. By it a probe is known again, also inside an ICMP error and in a reset's
acknowledgement.
"""

import struct
from enum import Enum
from functools import cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

from kproxy.values import Address, Family, Protocol, family_of

PROTOCOL_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
ICMP, ICMPV6 = 1, 58

_PROTOCOLS = {number: protocol for protocol, number in PROTOCOL_NUMBERS.items()}
_DESTINATION_UNREACHABLE = {ICMP: 3, ICMPV6: 1}
_PORT_UNREACHABLE = {ICMP: 3, ICMPV6: 4}
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_PORTS = struct.Struct("!HH")
_TCP = struct.Struct("!HHIIBBHHH")
_UDP = struct.Struct("!HHHH")
_UDP_PAYLOAD = struct.Struct("!8sBI")
_SCTP_INIT = struct.Struct("!HHIIBBHIIHHI")
_MARK = b"kproxy\x00w"
_DONT_FRAGMENT = 0x4000
_HOPS = 64
_WINDOW = 65535
_INIT_CHUNK, _INIT_CHUNK_SIZE, _STREAMS = 1, 20, 1
_CASTAGNOLI = 0x82F63B78


class Step(Enum):
    """Where in a conversation a packet stands; the values are TCP's flags, and a byte of UDP's payload."""

    OPENING = 0x02
    ANSWER = 0x12
    FURTHER = 0x10
    REPLY = 0x18


_TCP_RESET = 0x04
_STEPS = {step.value: step for step in Step}


class Segment(NamedTuple):
    """A packet of a conversation, as it is on a link; the tag is that of the conversation."""

    protocol: Protocol
    source: Address
    source_port: int
    destination: Address
    port: int
    tag: int
    step: Step = Step.OPENING


class How(Enum):
    """In which words a sender is refused."""

    PORT_UNREACHABLE = "port unreachable"
    UNREACHABLE = "unreachable for another reason"
    RESET = "reset"


class Refusal(NamedTuple):
    """A refusal that a sender gets instead of an answer; `tag` is the tag of the refused packet."""

    tag: int
    how: How


def encode(segment: Segment) -> bytes:
    """The packet from its IP header on, with right checksums. SCTP only opens: an INIT."""
    source, destination = _packed(segment.source), _packed(segment.destination)
    number = PROTOCOL_NUMBERS[segment.protocol]
    body = _BODIES[segment.protocol](segment, source + destination)
    if len(source) == 4:
        fields = (0x45, 0, 20 + len(body), 0, _DONT_FRAGMENT, _HOPS, number)
        checksum = _checksum(_IPV4.pack(*fields, 0, source, destination))
        return _IPV4.pack(*fields, checksum, source, destination) + body
    return _IPV6.pack(6 << 28, len(body), number, _HOPS, source, destination) + body


def decode(data: bytes) -> Segment | Refusal | None:
    """A packet from its IP header on; None for what is no part of our conversations."""
    if data[0] >> 4 == 4:
        *_, number, _, source, destination = _IPV4.unpack_from(data)
        return decode_body(number, _text(source), _text(destination), data[(data[0] & 15) * 4 :])
    _, _, number, _, source, destination = _IPV6.unpack_from(data)
    return decode_body(number, _text(source), _text(destination), data[40:])


def decode_body(number: int, source: Address, destination: Address, body: bytes) -> Segment | Refusal | None:
    """Decode the bytes after an IP header with these fields."""
    if number in _DESTINATION_UNREACHABLE:
        return _decode_icmp(number, body)
    protocol = _PROTOCOLS.get(number)
    if protocol is None:
        return None
    if protocol is Protocol.TCP and len(body) >= 14 and body[13] & _TCP_RESET:
        (acknowledged,) = struct.unpack_from("!I", body, 8)
        return Refusal(_before(acknowledged), How.RESET)
    found = _step_and_tag(protocol, body)
    if found is None:
        return None
    source_port, port = _PORTS.unpack_from(body)
    return Segment(protocol, source, source_port, destination, port, found[1], found[0])


def _step_and_tag(protocol: Protocol, body: bytes) -> tuple[Step, int] | None:
    if protocol is Protocol.TCP and len(body) >= _TCP.size:
        _, _, sequence, acknowledged, _, flags, *_ = _TCP.unpack_from(body)
        begun = {
            Step.OPENING: sequence,
            Step.ANSWER: _before(acknowledged),
            Step.FURTHER: _before(sequence),
            Step.REPLY: _before(acknowledged),
        }
        return (_STEPS[flags], begun[_STEPS[flags]]) if flags in _STEPS else None
    if protocol is Protocol.UDP and len(body) >= _UDP.size + _UDP_PAYLOAD.size:
        mark, step, tag = _UDP_PAYLOAD.unpack_from(body, _UDP.size)
        return (_STEPS[step], tag) if mark == _MARK else None
    if protocol is Protocol.SCTP and len(body) >= _SCTP_INIT.size and body[12] == _INIT_CHUNK:
        return Step.OPENING, _SCTP_INIT.unpack_from(body)[7]
    return None


def _decode_icmp(number: int, body: bytes) -> Refusal | None:
    if len(body) < 8 + 40 or body[0] != _DESTINATION_UNREACHABLE[number]:
        return None
    refused = decode(body[8:])
    if not isinstance(refused, Segment):
        return None
    how = How.PORT_UNREACHABLE if body[1] == _PORT_UNREACHABLE[number] else How.UNREACHABLE
    return Refusal(refused.tag, how)


def _tcp(segment: Segment, addresses: bytes) -> bytes:
    sequence, acknowledged = {
        Step.OPENING: (segment.tag, 0),
        Step.ANSWER: (0, _after(segment.tag)),
        Step.FURTHER: (_after(segment.tag), 1),
        Step.REPLY: (1, _after(segment.tag)),
    }[segment.step]
    fields = (
        segment.source_port,
        segment.port,
        sequence,
        acknowledged,
        _TCP.size // 4 << 4,
        segment.step.value,
        _WINDOW,
    )
    checksum = _checksum(_pseudo_header(addresses, 6, _TCP.size) + _TCP.pack(*fields, 0, 0))
    return _TCP.pack(*fields, checksum, 0)


def _udp(segment: Segment, addresses: bytes) -> bytes:
    payload = _UDP_PAYLOAD.pack(_MARK, segment.step.value, segment.tag)
    size = _UDP.size + len(payload)
    whole = _UDP.pack(segment.source_port, segment.port, size, 0) + payload
    checksum = _checksum(_pseudo_header(addresses, 17, size) + whole)
    return _UDP.pack(segment.source_port, segment.port, size, checksum) + payload


def _sctp(segment: Segment, _addresses: bytes) -> bytes:
    assert segment.step is Step.OPENING, "this harness opens SCTP associations and goes no further"
    ports = (segment.source_port, segment.port)
    chunk = (_INIT_CHUNK, 0, _INIT_CHUNK_SIZE, segment.tag, _WINDOW, _STREAMS, _STREAMS, 1)
    checksum = _crc32c(_SCTP_INIT.pack(*ports, 0, 0, *chunk))
    return _SCTP_INIT.pack(*ports, 0, checksum, *chunk)


_BODIES = {Protocol.TCP: _tcp, Protocol.UDP: _udp, Protocol.SCTP: _sctp}


def _pseudo_header(addresses: bytes, number: int, size: int) -> bytes:
    return addresses + struct.pack("!II", size, number)


def _checksum(data: bytes) -> int:
    """RFC 1071. 65536 is 1 modulo 65535, so the sum of 16-bit words is the whole as one number; zero stays 65535."""
    padded = data + bytes(len(data) % 2)
    return 0xFFFF - int.from_bytes(padded, "big") % 0xFFFF


def _crc32c(data: bytes) -> int:
    """SCTP's checksum, its bytes in the order in which RFC 9260, appendix A puts them."""
    table = _crc32c_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return int.from_bytes((crc ^ 0xFFFFFFFF).to_bytes(4, "little"), "big")


@cache
def _crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_CASTAGNOLI if crc & 1 else 0)
        table.append(crc)
    return table


def _before(number: int) -> int:
    return (number - 1) % 2**32


def _after(number: int) -> int:
    return (number + 1) % 2**32


def _packed(address: Address) -> bytes:
    return inet_pton(AF_INET if family_of(address) is Family.IPV4 else AF_INET6, address)


def _text(packed: bytes) -> Address:
    return Address(inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed))
