"""The reasons why `nft` may fail over tables of other programs: it reads the sets of all tables before it writes.

From 1.1.2 on nft notes in the user data of each set the expression of its keys, even if the set names a plain data
type. Up to 1.1.1 nft has no reader for that kind of expression, calls it all the same, and ends by SIGSEGV.
"""

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import suppress

from kproxy.errors import ProgramFailed
from kproxy.kernel.netlink.nfnetlink import NFPROTO_UNSPEC, Interrupted, Netlink, attributes, patiently
from kproxy.kernel.programs.nft_version import nft_version
from kproxy.ruleset.nftables.table import TABLE

SURVIVING_NFT = "1.1.2"
"""The first version that can read such user data."""

_CRASHES = frozenset({"SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV"})
"""Signals that a defect of the program raises. By others, such as SIGKILL, somebody ended it."""

_MOST_NAMED = 5
_GET_TABLE, _GET_SET = 10 << 8 | 1, 10 << 8 | 10  # NFNL_SUBSYS_NFTABLES, NFT_MSG_*
_TABLE_NAME, _TABLE_OWNER = 1, 7  # NFTA_TABLE_*
_SET_TABLE, _SET_USERDATA = 1, 13  # NFTA_SET_*
_FAMILY_NAMES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_KEY_EXPRESSION, _DATA_EXPRESSION = 3, 4  # NFTNL_UDATA_SET_*
_EXPRESSION_KIND, _EXPRESSION_DATA = 0, 1
_PLAIN_TYPE, _CONCATENATION = 4, 13  # nft's own numbers of kinds of expressions


def explained(failed: ProgramFailed) -> ProgramFailed:
    """The failure of `nft`, with the cause and the remedy if it crashed, or if another program owns our table."""
    if os.strerror(errno.EPERM) in failed.stderr and (owned := _owned()):
        first = failed.stderr.partition("\n")[0]
        said = f"{first}: {_listed(owned)} belongs to a program that runs (flag owner); end that program"
        return ProgramFailed(failed.program, failed.exit_code, said)
    if failed.signal not in _CRASHES:
        return failed
    said = " ".join(filter(None, (failed.stderr.strip(), _cause())))
    return ProgramFailed(failed.program, failed.exit_code, said, signal=failed.signal)


def _cause() -> str:
    found = nft_version()
    ours = f"nft {found}" if found else "this nft"
    newer, all_foreign = tables_of_newer_nft(), foreign_tables()
    if newer:
        cause = (
            f"it reads the tables of other programs too, and nft {SURVIVING_NFT} or newer wrote {_listed(newer)}, "
            f"over whose sets {ours} crashes"
        )
    elif all_foreign:
        cause = (
            f"it reads the tables of other programs too, here {_listed(all_foreign)}; "
            f"a newer nft may have written something there over which {ours} crashes"
        )
    else:
        cause = f"{ours} crashed, and no table of another program is there"
    return f"{cause}; give kproxy an nft of version {SURVIVING_NFT} or newer (its image brings one), or use --proxy-mode iptables"


def _listed(tables: list[str]) -> str:
    more = f" and {len(tables) - _MOST_NAMED} more" if len(tables) > _MOST_NAMED else ""
    noun = "table" if len(tables) == 1 else "tables"
    return f"{noun} {', '.join(tables[:_MOST_NAMED])}{more}"


def _owned() -> list[str]:
    """The tables named as ours that another program keeps for itself while it runs."""
    owned = {
        _named(message, _TABLE_NAME)
        for message in _dump(_GET_TABLE)
        if any(kind == _TABLE_OWNER for kind, _, _ in attributes(message))
    }
    return sorted(name for name in owned if name.endswith(f" {TABLE}"))


def foreign_tables() -> list[str]:
    """All tables except ours, such as `inet host`."""
    found = {_named(message, _TABLE_NAME) for message in _dump(_GET_TABLE)}
    return sorted(name for name in found if not name.endswith(f" {TABLE}"))


def tables_of_newer_nft() -> list[str]:
    """The tables with a set over which nft up to 1.1.1 crashes."""
    return sorted({_named(message, _SET_TABLE) for message in _dump(_GET_SET) if _crashes_old_nft(message)})


def _dump(kind: int) -> list[bytes]:
    """The messages; none if the kernel does not answer: they only explain a failure that is reported anyway."""

    def dump() -> list[bytes]:
        with Netlink() as netlink:
            return list(netlink.dump(kind, NFPROTO_UNSPEC))

    with suppress(OSError, Interrupted):
        return patiently(dump)
    return []


def _named(message: bytes, kind: int) -> str:
    (name,) = [message[begin : end - 1] for found, begin, end in attributes(message) if found == kind]
    return f"{_FAMILY_NAMES.get(message[16], message[16])} {name.decode(errors='backslashreplace')}"


def _crashes_old_nft(message: bytes) -> bool:
    return any(
        _holds_plain_type(described)
        for kind, begin, end in attributes(message)
        if kind == _SET_USERDATA
        for noted, described in _notes(message[begin:end])
        if noted in (_KEY_EXPRESSION, _DATA_EXPRESSION)
    )


def _holds_plain_type(described: bytes) -> bool:
    parts = dict(_notes(described))
    (kind,) = struct.unpack("=I", parts.get(_EXPRESSION_KIND, b"")[:4].ljust(4, b"\0"))
    inner = parts.get(_EXPRESSION_DATA, b"")
    return kind == _PLAIN_TYPE or (
        kind == _CONCATENATION and any(_holds_plain_type(part) for _, part in _notes(inner))
    )


def _notes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The notes in user data: each has a byte for its kind, one for its length, and its value."""
    at = 0
    while at + 2 <= len(data):
        kind, length = data[at], data[at + 1]
        yield kind, data[at + 2 : at + 2 + length]
        at += 2 + length
