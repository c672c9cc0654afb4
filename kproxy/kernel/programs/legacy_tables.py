"""The names of tables and chains of iptables-legacy, read without iptables (linux/netfilter_ipv4/ip_tables.h)."""

import ctypes
import os
import re
import socket
import struct
from pathlib import Path

from kproxy.values import Family

_GET_INFO, _GET_ENTRIES = 64, 65  # IPT_SO_*, IP6T_SO_*
_LEVEL = {Family.IPV4: socket.IPPROTO_IP, Family.IPV6: socket.IPPROTO_IPV6}
_DOMAIN = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_NAME = struct.Struct("32s")
_INFO = struct.Struct("=32s 11I I I")
_ENTRIES_HEAD = struct.Struct("=32s I 4x")
_CHAIN_HEAD = re.compile(rb"ERROR\0{24}.([^\0]{1,29})\0", re.DOTALL)
"""The target of an entry that begins a chain: 29 bytes for its own name, one for its revision, 30 for the chain's."""

_END = b"ERROR"
"""The name that the entry at the end of each table has there."""

_libc = ctypes.CDLL(None, use_errno=True)


def tables(family: Family) -> frozenset[str]:
    """The tables that exist; asking creates none."""
    listed = Path("/proc/net") / ("ip_tables_names" if family is Family.IPV4 else "ip6_tables_names")
    try:
        return frozenset(listed.read_text(encoding="ascii").split())
    except FileNotFoundError:
        return frozenset()


def size(family: Family, table: str) -> int:
    """The number of bytes that all rules of the table take in the kernel; 0 if there is no such table.

    OSError as `chain_names`.
    """
    if table not in tables(family):
        return 0
    with socket.socket(_DOMAIN[family], socket.SOCK_RAW, socket.IPPROTO_RAW) as asking:
        return _size(asking, family, table)


def _size(asking: socket.socket, family: Family, table: str) -> int:
    question = _NAME.pack(table.encode()).ljust(_INFO.size, b"\0")
    *_, found = _INFO.unpack(_ask(asking, family, _GET_INFO, question))
    return int(found)


def chain_names(family: Family, table: str) -> list[str]:
    """The names of the chains that are not built in; OSError if we may not ask, or if the table changes meanwhile."""
    if table not in tables(family):
        return []
    with socket.socket(_DOMAIN[family], socket.SOCK_RAW, socket.IPPROTO_RAW) as asking:
        room = _size(asking, family, table)
        head = _ENTRIES_HEAD.pack(table.encode(), room)
        entries = _ask(asking, family, _GET_ENTRIES, head + bytes(room))
    found = (match[1] for match in _CHAIN_HEAD.finditer(entries))
    return [name.decode(errors="backslashreplace") for name in found if name != _END]


def _ask(asking: socket.socket, family: Family, option: int, question: bytes) -> bytes:
    answer = ctypes.create_string_buffer(question, len(question))
    length = ctypes.c_uint(len(question))
    if _libc.getsockopt(asking.fileno(), _LEVEL[family], option, answer, ctypes.byref(length)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer.raw
