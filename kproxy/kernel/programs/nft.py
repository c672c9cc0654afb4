"""The table of nftables mode in the kernel: written by `nft` and netlink, read by netlink. No other table is read."""

import errno
import logging
import os
import struct
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from functools import cached_property, partial
from itertools import chain, islice
from typing import TypeVar
from weakref import finalize

from kproxy import process
from kproxy.errors import KernelRefused, ProgramFailed
from kproxy.kernel.netlink.chains import RuleReader, chain_names, delete_table, generation_by
from kproxy.kernel.netlink.elements import (
    SUBSYSTEM,
    RawElement,
    elements_in,
    messages,
    named,
    removal,
)
from kproxy.kernel.netlink.nfnetlink import (
    NFPROTO,
    Interrupted,
    Netlink,
    attributes,
    patiently,
    refusal,
    send_room,
    text_attribute,
    too_long,
)
from kproxy.kernel.programs.nft_failures import explained
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.nftables.table import TABLE, Block
from kproxy.transaction.nftables.elements import ElementCommand, apart
from kproxy.transaction.nftables.run import Run
from kproxy.values import Family

_log = logging.getLogger(__name__)

_Read = TypeVar("_Read")

_LONGEST_S = 600.0
"""Seconds after which an `nft` counts as hanging, and is ended; a table of 10,000 x 10 takes some seconds."""

_TRIES = 20
"""Tries to remove clients while other clients come and go."""

_ON_ITS_WAY_S = 0.02
"""Seconds. A packet takes so long through the rules only on a node with too little processor time."""

_MOST_MESSAGES = 100
"""Messages of some 500 clients each. The more the kernel has sent, the longer it takes for the next: 17 s for a
million clients."""
_GET_TABLE, _GET_SET, _GET_ELEMENTS = SUBSYSTEM << 8 | 1, SUBSYSTEM << 8 | 10, SUBSYSTEM << 8 | 13
_TABLE_NAME, _TABLE_FLAGS, _DORMANT = 1, 2, 0x1  # NFTA_TABLE_*, NFT_TABLE_F_*
_SET_TABLE, _SET_NAME, _SET_FLAGS = 1, 2, 3  # NFTA_SET_*
_ANONYMOUS, _MAP = 0x1, 0x8  # NFT_SET_*


class NftTable:
    """One family's table in the network namespace of this process."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.commits = 0
        """How many transactions took effect."""
        self._needs_nft = False

    def apply(self, run: Run) -> None:
        """Let the run take effect as one transaction.

        ProgramFailed names the line that was refused; nothing is changed then.

        Commands go straight to the kernel. If it refuses them, `nft` gets the text, and applies it or gives the reason.
        If all sockets are too small for the commands, these take effect in several transactions.
        """
        if not run.commands or self._needs_nft:
            self._run_nft(run.text)
            return
        try:
            self.commit(run.commands)
        except (OSError, struct.error) as refused:
            if _is_too_long(refused) and send_room() is not None:
                self._commit_divided(apart(run.commands))
                return
            self._run_nft(run.text)
            if _is_too_long(refused):
                return
            self._needs_nft = True
            message = (
                "%s: the kernel refused a change that it took from nft; from now on nft makes all changes: %s"
            )
            _log.warning(message, self.family, refused)

    def commit(self, commands: Iterable[ElementCommand]) -> None:
        """Let the commands take effect as one transaction, without `nft`.

        OSError or struct.error if the kernel does not confirm it.
        """
        self._netlink.commit(SUBSYSTEM, messages(commands))
        self.commits += 1

    def _commit_divided(self, parts: Sequence[Sequence[ElementCommand]]) -> None:
        """Commit the parts in this order, as many at once as the socket takes.

        KernelRefused may follow some successes.
        """
        try:
            self.commit(chain.from_iterable(parts))
        except (OSError, struct.error) as refused:
            if not _is_too_long(refused) or len(parts) == 1:
                number = (refused.errno or 0) if isinstance(refused, OSError) else errno.EINVAL
                raise KernelRefused("a part of a change", number, str(refused)) from refused
            middle = len(parts) // 2
            self._commit_divided(parts[:middle])
            self._commit_divided(parts[middle:])

    @cached_property
    def _netlink(self) -> Netlink:
        """A socket that is open as long as this object: to close one takes time, see `let_packets_pass`."""
        netlink = Netlink()
        finalize(self, netlink.close)
        return netlink

    def let_packets_pass(self) -> None:
        """Wait until packets that met the table before the last transaction have left it.

        A packet takes so long only on a node with too little processor time. The kernel keeps removed things as long as
        a packet may ask for them. From Linux 5.12 on, no socket closes before that, and `nft` does not end before that.
        """
        time.sleep(_ON_ITS_WAY_S)
        Netlink().close()

    def _run_nft(self, text: str) -> None:
        _nft(["nft", "-f", "-"], text, _LONGEST_S)
        self.commits += 1

    def delete(self) -> None:
        """Delete the table, without `nft`; KproxyError if the kernel refuses."""
        self.commits += delete_table(self.family, TABLE)

    def check(self, text: str) -> None:
        """Let the kernel look at a text without acting on it; ProgramFailed if it would refuse it."""
        check(text, timeout_s=_LONGEST_S)

    def generation(self) -> int:
        """The commit count: every transaction of any program in this network namespace adds one."""
        return generation_by(self._netlink)

    def blocks(self) -> list[Block]:
        """The names of the chains, sets and maps of the table; none if it does not exist."""
        named = text_attribute(_SET_TABLE, TABLE)
        holders = [block for message in self._dump(_GET_SET, named) if (block := _holder(message))]
        return [*(Block("chain", name) for name in chain_names(self.family, TABLE)), *holders]

    def is_dormant(self) -> bool:
        """Whether the table exists, but no packet meets it."""

        def read() -> bytes:
            with Netlink() as netlink:
                return netlink.ask(_GET_TABLE, NFPROTO[self.family], text_attribute(_TABLE_NAME, TABLE))

        answer = _read_or(read, b"")
        flags = [answer[begin:end] for kind, begin, end in attributes(answer) if kind == _TABLE_FLAGS]
        return any(int.from_bytes(each) & _DORMANT for each in flags)

    def elements(self, holder: str) -> set[RawElement]:
        """The elements of a set or map; none if it does not exist."""
        found = self._dump(_GET_ELEMENTS, named(holder))
        return {element for message in found for element in elements_in(message)}

    def forget(self, clients: str, endpoints: Iterable[int]) -> bool:
        """Remove the clients that stay with these endpoints from a set of clients; whether there was any.

        If somebody floods the set, not all of them are found. KernelRefused if the kernel refuses.
        """
        numbers = tuple(each.to_bytes(4, sys.byteorder) for each in endpoints)

        def theirs() -> list[bytes]:
            with Netlink() as netlink:
                listed = netlink.dump(_GET_ELEMENTS, NFPROTO[self.family], named(clients))
                found = chain.from_iterable(map(elements_in, islice(listed, _MOST_MESSAGES)))
                return [key for key, _ in found if key.endswith(numbers)]

        complaint: OSError = Interrupted(errno.EINTR, os.strerror(errno.EINTR))
        for _ in range(_TRIES):
            keys: list[bytes] = _read_or(theirs, [])
            try:
                if keys:
                    self._netlink.commit(SUBSYSTEM, removal(self.family, clients, keys))
                return bool(keys)
            except OSError as refused:
                complaint = refused
                if refused.errno != errno.ENOENT:  # as for somebody whose time is over since
                    break
        raise refusal("to forget clients", complaint) from complaint

    def digests(self, chains: Collection[str]) -> dict[str, bytes]:
        """A digest of each chain, which changes with its rules and its hook; empty if the chain does not exist."""
        if not chains:
            return {}
        with closing(RuleReader(self.family)) as reader:
            return {name: self._digest(reader, name) for name in chains}

    def expressions(self, table: str, chains: Iterable[Block]) -> dict[Block, bytes]:
        """The expressions of the rules of each chain; empty if it does not exist."""
        with closing(RuleReader(self.family)) as reader:
            return {
                chain: _read_or(partial(reader.expressions, Chain(table, chain.name)), b"")
                for chain in chains
            }

    def _digest(self, reader: RuleReader, chain: str) -> bytes:
        asked = Chain(TABLE, chain)
        return _read_or(lambda: reader.place(asked) + reader.digest(asked), b"")

    def _dump(self, kind: int, asked: bytes) -> list[bytes]:
        def dump() -> list[bytes]:
            with Netlink() as netlink:
                return list(netlink.dump(kind, NFPROTO[self.family], asked))

        return _read_or(dump, [])


def check(text: str, *, timeout_s: float) -> None:
    """Let the kernel look at a text about any tables, without acting on it; ProgramFailed if it would refuse it."""
    _nft(["nft", "--check", "-f", "-"], text, timeout_s)


def _nft(command: Sequence[str], text: str, timeout_s: float) -> None:
    try:
        process.run(command, stdin=text, timeout_s=timeout_s)
    except ProgramFailed as failed:
        if os.strerror(errno.EMSGSIZE) in failed.stderr and (room := send_room()) is not None:
            raise DoesNotFit(failed, _size(text), room) from failed
        raise explained(failed) from failed


class DoesNotFit(ProgramFailed):
    """A change is more than a socket of `nft` takes at once, and we may not enlarge it; nothing is changed.

    No Service is at fault.
    """

    def __init__(self, failed: ProgramFailed, needed: int, room: int) -> None:
        super().__init__(
            failed.program, failed.exit_code, f"{failed.stderr.strip()}; {too_long(needed, room)}"
        )
        self.is_verdict = False


def _size(text: str) -> int:
    """How many bytes nft 1.0.6 sends at most for a text: an element is shorter there than a rule of the same length."""
    lines = text.splitlines()
    elements = [line for line in lines if line.startswith("\t") and line.endswith(",")]
    others = len(lines) - len(elements)
    characters = sum(map(len, elements))
    return 64 * len(elements) + 2 * characters + 256 * others + 8 * (len(text) - characters)


def _is_too_long(refused: Exception) -> bool:
    return isinstance(refused, OSError) and refused.errno == errno.EMSGSIZE


def _read_or(read: Callable[[], _Read], missing: _Read) -> _Read:
    """Read, again while others change any table; `missing` if the thing does not exist. KernelRefused otherwise."""
    try:
        return patiently(read)
    except OSError as refused:
        if refused.errno == errno.ENOENT:
            return missing
        raise refusal("the list of our table", refused) from refused


def _holder(message: bytes) -> Block | None:
    """The set or map that a message describes; None if it belongs to a rule."""
    found = {kind: message[begin:end] for kind, begin, end in attributes(message)}
    (flags,) = struct.unpack(">I", found.get(_SET_FLAGS, bytes(4)))
    if flags & _ANONYMOUS:
        return None
    return Block("map" if flags & _MAP else "set", found[_SET_NAME][:-1].decode())
