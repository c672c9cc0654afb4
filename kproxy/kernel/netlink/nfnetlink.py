"""Messages to the kernel's netfilter subsystems over netlink (linux/netfilter/nfnetlink.h), as bytes.

A library that decodes every attribute takes 7 s and much memory for the names of 110,000 chains. Reading only the bytes
that are needed takes 0.3 s (docs/decisions/0006).
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, Self, TypeVar

from kproxy.errors import KernelRefused
from kproxy.values import Family

_Read = TypeVar("_Read")

_NETLINK_NETFILTER = 12
NFPROTO_UNSPEC = 0
NFPROTO = {Family.IPV4: 2, Family.IPV6: 10}

_REQUEST, _ACK, _DUMP = 0x001, 0x004, 0x300
EXCLUSIVE, CREATE = 0x200, 0x400
_ERROR, _DONE = 2, 3
_BATCH_BEGIN, _BATCH_END = 16, 17
_DUMP_INTERRUPTED = 0x010
_MESSAGE_HEADER = struct.Struct("=IHHII")
_FAMILY_HEADER = struct.Struct("=BBH")
_ATTRIBUTE_HEADER = struct.Struct("=HH")
_TYPE_BITS, _NESTED = 0x3FFF, 0x8000
_LARGEST_READ = 1 << 17
_TRIES = 20
"""Reads of a dump that changes of others interrupt, before the read fails."""
_USUAL_ROOM = 100_000
_SO_SNDBUFFORCE = 32
_PAGE = 4096
_KEPT_FOR_THE_KERNEL = 32
"""The bytes of a socket's buffer that it cannot send (net/netlink/af_netlink.c, netlink_sendmsg)."""

FIRST_ATTRIBUTE = _MESSAGE_HEADER.size + _FAMILY_HEADER.size
"""The place where the attributes of a message begin; the bytes before it differ from one answer to the next."""


class Interrupted(OSError):
    """The tables changed during a dump, whose answer may be incomplete; ask again."""


def refusal(asked: str, refused: OSError) -> KernelRefused:
    """The error to raise if the kernel refused a request; `asked` names the request, such as `the list of chains`."""
    return KernelRefused(asked, refused.errno or 0, refused.strerror or str(refused))


@contextmanager
def asking(asked: str) -> Iterator[None]:
    """Turn an OSError of the kernel's answer into the KernelRefused that names what was asked."""
    try:
        yield
    except OSError as refused:
        raise refusal(asked, refused) from refused


def patiently(read: Callable[[], _Read]) -> _Read:
    """Read, and read again while others change any table; Interrupted if they do so each time."""
    for _ in range(_TRIES - 1):
        with suppress(Interrupted):
            return read()
    return read()


def attribute(kind: int, value: bytes) -> bytes:
    padding = b"\0" * (-len(value) % 4)
    return _ATTRIBUTE_HEADER.pack(_ATTRIBUTE_HEADER.size + len(value), kind) + value + padding


def text_attribute(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def nest(kind: int, value: bytes) -> bytes:
    """An attribute whose value is attributes."""
    return attribute(kind | _NESTED, value)


def attributes(message: bytes) -> Iterator[tuple[int, int, int]]:
    """Each attribute's type, and where its value begins and ends in the message."""
    return attributes_within(message, FIRST_ATTRIBUTE, len(message))


def attributes_within(message: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The attributes that are the value of another attribute, between these two places; each as in `attributes`."""
    while at < end:
        length, kind = _ATTRIBUTE_HEADER.unpack_from(message, at)
        yield kind & _TYPE_BITS, at + _ATTRIBUTE_HEADER.size, at + length
        at += (length + 3) & ~3


def first_but(kinds: Collection[int], message: bytes, at: int) -> int:
    """The place of the first attribute that is of none of these types, from `at` on, where an attribute begins."""
    while at < len(message):
        length, kind = _ATTRIBUTE_HEADER.unpack_from(message, at)
        if kind & _TYPE_BITS not in kinds:
            break
        at += (length + 3) & ~3
    return at


class Message(NamedTuple):
    """One message of a batch."""

    kind: int
    family: int
    attributes: bytes
    flags: int = 0

    @property
    def body(self) -> bytes:
        return _FAMILY_HEADER.pack(self.family, 0, 0) + self.attributes


def send_room() -> int | None:
    """The number of bytes that a program which we start can send to netfilter at once; None if it can send any number.

    Only root in the initial user namespace can enlarge a socket; others have the net.core.wmem_default of each socket.
    """
    with Netlink() as netlink:
        return netlink.room_of_others()


def too_long(needed: int, room: int) -> str:
    """Words for a change of up to `needed` bytes that a socket of a program does not take."""
    held = room + _KEPT_FOR_THE_KERNEL
    enough = -(-(needed + _KEPT_FOR_THE_KERNEL) // _PAGE) * _PAGE
    return (
        f"net.core.wmem_default is {held}, up to {needed} bytes are sent at once, and only root in the initial user namespace "
        f"may exceed that setting; on the host: sysctl -w net.core.wmem_default={enough}"
    )


class Netlink:
    """One socket to netfilter in this thread's network namespace; for one thread at a time. OSError when refused."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def tell(self, kind: int, family: int, attributes: bytes, flags: int = 0) -> None:
        """Send one message and wait until the kernel has taken it."""
        self._send(kind, family, attributes, _REQUEST | _ACK | flags)
        for _ in self._answers():
            pass

    def ask(self, kind: int, family: int, attributes: bytes = b"") -> bytes:
        """Send one message; the message that answers it."""
        self._send(kind, family, attributes, _REQUEST | _ACK)
        (answer,) = self._answers()
        return answer

    def dump(
        self,
        kind: int,
        family: int,
        attributes: bytes = b"",
        may_hold: Callable[[bytes], bool] = lambda _: True,
    ) -> Iterator[bytes]:
        """Each message of a dump; Interrupted if what is dumped changed meanwhile.

        `may_hold` gets the bytes of each read, with some hundred messages, and says whether any of them is of interest.
        """
        self._send(kind, family, attributes, _REQUEST | _DUMP)
        yield from self._answers(may_hold)

    def commit(self, subsystem: int, messages: Iterable[Message]) -> None:
        """Let all messages take effect at once.

        OSError if the kernel refused one of them, and then none took effect, or if it gave no answer. After a success
        it answers the last message only, so that the socket can hold the answers, however many messages there are.
        """
        edge = _FAMILY_HEADER.pack(NFPROTO_UNSPEC, 0, socket.htons(subsystem))
        *others, last = messages
        batch = (
            self._message(_BATCH_BEGIN, edge, _REQUEST),
            *(self._message(each.kind, each.body, _REQUEST | each.flags) for each in others),
            self._message(last.kind, last.body, _REQUEST | _ACK | last.flags),
        )
        asked = self._sequence
        whole = b"".join((*batch, self._message(_BATCH_END, edge, _REQUEST)))
        self._make_room(len(whole))
        self._socket.send(whole)
        said = dict(self._verdicts())
        for refusal in filter(None, said.values()):
            raise OSError(refusal, os.strerror(refusal))
        if asked not in said:
            raise OSError(errno.EPROTO, "the kernel did not answer a batch")

    def _make_room(self, size: int) -> None:
        """Let the socket hold this many bytes: it sends no more at once.

        Only root in the initial user namespace may choose any number; for others the bound is net.core.wmem_max.
        """
        if size <= _USUAL_ROOM:
            return
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, size)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    @property
    def room(self) -> int:
        """The number of bytes that this socket can send at once now."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - _KEPT_FOR_THE_KERNEL

    def room_of_others(self) -> int | None:
        """The number of bytes that another socket like this one can send at once; None for any number."""
        usual = self.room
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, usual)
        except PermissionError:
            return usual
        return None

    def _verdicts(self) -> Iterator[tuple[int, int]]:
        """Each message that the kernel answered, and the error, or 0.

        The kernel works on a batch while it is sent, so all answers are there afterwards. If they are more than the
        socket can hold, the kernel sends nothing more until all answers are read.
        """
        while True:
            try:
                data = self._socket.recv(_LARGEST_READ, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as lost:
                if lost.errno != errno.ENOBUFS:
                    raise
                yield self._sequence, lost.errno
            else:
                _, kind, _, sequence, _ = _MESSAGE_HEADER.unpack_from(data)
                if kind == _ERROR:
                    yield sequence, _refusal(data, 0)

    def _send(self, kind: int, family: int, attributes: bytes, flags: int) -> None:
        self._socket.send(self._message(kind, Message(kind, family, attributes).body, flags))

    def _message(self, kind: int, body: bytes, flags: int) -> bytes:
        self._sequence += 1
        length = _MESSAGE_HEADER.size + len(body)
        return _MESSAGE_HEADER.pack(length, kind, flags, self._sequence, 0) + body

    def _answers(self, may_hold: Callable[[bytes], bool] = lambda _: True) -> Iterator[bytes]:
        interrupted = False
        while True:
            data = self._socket.recv(_LARGEST_READ)
            worth_a_look = may_hold(data)
            at = 0
            while at < len(data):
                length, kind, flags, sequence, _ = _MESSAGE_HEADER.unpack_from(data, at)
                if sequence == self._sequence:
                    interrupted = interrupted or bool(flags & _DUMP_INTERRUPTED)
                    if kind == _DONE and interrupted:  # only now may this socket ask for the next dump
                        raise Interrupted(errno.EINTR, "the tables changed while they were read")
                    if kind == _DONE:
                        return
                    if kind == _ERROR:
                        if refusal := _refusal(data, at):
                            raise OSError(refusal, os.strerror(refusal))
                        return
                    if worth_a_look:
                        yield data[at : at + length]
                at += (length + 3) & ~3


def _refusal(data: bytes, at: int) -> int:
    """The number of the error in an answer; 0 if it tells of a success."""
    (negative,) = struct.unpack_from("=i", data, at + _MESSAGE_HEADER.size)
    return -int(negative)
