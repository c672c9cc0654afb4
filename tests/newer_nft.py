"""A set as nft 1.1.2 or newer leaves it in the kernel, over which nft 1.1.1 or older crashes."""

import struct
from pathlib import Path

import pytest

from kproxy import process
from kproxy.errors import ProgramFailed
from kproxy.kernel.netlink.nfnetlink import CREATE, Message, Netlink, attribute, text_attribute

_NFTABLES = 10
_NEW_TABLE, _DELETE_TABLE, _NEW_SET = (_NFTABLES << 8 | number for number in (0, 2, 9))
_INET = 1
_KEY_IS_OF_A_PLAIN_TYPE = bytes.fromhex("00040200000003080004040000000100")
"""The user data that nft 1.1.3 gives to `set s { type ipv4_addr; }`."""


def add_table_of_newer_nft(name: str = "host") -> None:
    """`table inet NAME { set s { type ipv4_addr; } }`, as nft 1.1.3 writes it."""
    described = (
        text_attribute(1, name),  # NFTA_SET_TABLE, _NAME, _FLAGS, _KEY_TYPE, _KEY_LEN, _ID, _USERDATA
        text_attribute(2, "s"),
        *(attribute(kind, struct.pack(">I", number)) for kind, number in ((3, 0), (4, 7), (5, 4), (10, 1))),
        attribute(13, _KEY_IS_OF_A_PLAIN_TYPE),
    )
    with Netlink() as netlink:
        netlink.commit(
            _NFTABLES,
            [
                Message(_NEW_TABLE, _INET, text_attribute(1, name), CREATE),
                Message(_NEW_SET, _INET, b"".join(described), CREATE),
            ],
        )


def remove_table_of_newer_nft(name: str = "host") -> None:
    with Netlink() as netlink:
        netlink.commit(_NFTABLES, [Message(_DELETE_TABLE, _INET, text_attribute(1, name))])


def let_nft_crash(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the nft of this machine survives that table, one on PATH that dies as an old one does."""
    try:
        process.run(["nft", "list", "ruleset"])
    except ProgramFailed:
        return
    program = directory / "nft"
    nft = process.find("nft")
    program.write_text(f'#!/bin/sh\ncase "$*" in --version) exec {nft} --version;; esac\nkill -SEGV $$\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")
