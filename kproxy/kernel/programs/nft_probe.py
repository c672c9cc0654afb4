"""Checks that this kernel and this nft have every expression that the rules of nftables mode need."""

from collections.abc import Sequence
from string import Template
from typing import NamedTuple

from kproxy.errors import EnvironmentLacking, ProgramFailed
from kproxy.kernel.programs.nft import NftTable, check
from kproxy.values import Family

_WORDS = {Family.IPV4: {"ip": "ip", "version": "IPV4"}, Family.IPV6: {"ip": "ip6", "version": "IPV6"}}


_LONGEST_S = 60.0
"""The few commands take milliseconds; an nft that needs longer than this hangs."""


class _Part(NamedTuple):
    """An expression that rules need, the kernel options and the version of nft that have it, and commands to try it."""

    name: str
    options: str
    nft: str
    commands: tuple[str, ...] = ()


_FRAME = (
    "add table $ip kproxy-probe",
    "add chain $ip kproxy-probe filtering { type filter hook forward priority filter; }",
    "add chain $ip kproxy-probe rewriting { type nat hook prerouting priority dstnat; }",
    "add chain $ip kproxy-probe leaving { type nat hook postrouting priority srcnat; }",
)
_ASKED = "$ip daddr . meta l4proto . th dport"
_PARTS = (
    _Part("tables", "NF_TABLES, NF_TABLES_$version, NFT_NAT", "0.9.4"),
    _Part(
        "maps with concatenated keys",
        "NF_TABLES",
        "0.9.4",
        (
            f"add map $ip kproxy-probe verdicts {{ typeof {_ASKED} : verdict; }}",
            f"add rule $ip kproxy-probe filtering {_ASKED} vmap @verdicts",
        ),
    ),
    _Part(
        "numgen in a key, and dnat to an address and port from a map",
        "NFT_NUMGEN, NFT_NAT",
        "0.9.4",
        (
            f"add map $ip kproxy-probe ends {{ typeof {_ASKED} . numgen random mod 2 : $ip daddr . th dport; }}",
            f"add rule $ip kproxy-probe rewriting dnat $ip to {_ASKED} . numgen random mod 2 map @ends",
        ),
    ),
    _Part(
        "sets that rules fill, with timeouts",
        "NF_TABLES, NFT_NUMGEN",
        "0.9.4",
        (
            "add set $ip kproxy-probe had { typeof $ip saddr . numgen inc mod 2; flags dynamic,timeout; }",
            "add rule $ip kproxy-probe rewriting update @had { $ip saddr . numgen inc mod 1 offset 7 timeout 9s }",
        ),
    ),
    _Part(
        "masquerade fully-random",
        "NFT_MASQ",
        "0.6",
        ("add rule $ip kproxy-probe leaving masquerade fully-random",),
    ),
    _Part("ct", "NFT_CT", "0.5", ("add rule $ip kproxy-probe filtering ct state new ct status dnat accept",)),
    _Part(
        "fib", "NFT_FIB_$version", "0.7", ("add rule $ip kproxy-probe filtering fib saddr type local accept",)
    ),
    _Part("reject", "NFT_REJECT_$version", "0.3", ("add rule $ip kproxy-probe filtering reject",)),
)


def require_expressions(table: NftTable) -> None:
    """EnvironmentLacking names every missing expression, with the kernel options and nft that have it."""
    if not _complaint(table, [command for part in _PARTS for command in part.commands]):
        return
    lacking = [(part, said) for part in _PARTS if (said := _complaint(table, part.commands))]
    told = "; ".join(
        f"{part.name}: needs the kernel options {part.options} and nft {part.nft} or newer ({said})"
        for part, said in lacking
    )
    told = Template(told).safe_substitute(_WORDS[table.family])
    raise EnvironmentLacking(
        f"nftables mode cannot run here ({table.family}): {told}; "
        "use --proxy-mode iptables, or a kernel and nft that have them"
    )


def _complaint(table: NftTable, commands: Sequence[str]) -> str:
    """The first line of nft's error over the commands; empty if it takes them.

    EnvironmentLacking if nft crashes or hangs, which says nothing about the commands.
    """
    text = Template("".join(f"{command}\n" for command in (*_FRAME, *commands)))
    try:
        check(text.substitute(_WORDS[table.family]), timeout_s=_LONGEST_S)
    except ProgramFailed as refused:
        if not refused.is_verdict:
            raise EnvironmentLacking(
                f"nftables mode cannot run here ({table.family}): {refused}"
            ) from refused
        return next(iter(refused.stderr.splitlines()), str(refused))
    return ""
