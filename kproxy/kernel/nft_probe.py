"""Whether this kernel and this nft take what the rules of nftables mode are made of."""

from typing import NamedTuple

from kproxy.errors import EnvironmentLacking, ProgramFailed
from kproxy.kernel.nft import NftTable
from kproxy.values import Family

_IP = {Family.IPV4: "ip", Family.IPV6: "ip6"}


class _Part(NamedTuple):
    """An expression that rules need, what has it, and the commands that use it."""

    name: str
    options: str
    nft: str
    commands: tuple[str, ...]


def _parts(ip: str) -> tuple[_Part, ...]:
    version = {"ip": "IPV4", "ip6": "IPV6"}[ip]
    asked = f"{ip} daddr . meta l4proto . th dport"
    numbered = f"{asked} . numgen random mod 2"
    return (
        _Part("tables", f"NF_TABLES, NF_TABLES_{version}", "0.9.4", ()),
        _Part(
            "maps with concatenated keys",
            "NF_TABLES",
            "0.9.4",
            (
                f"add map {ip} PROBE verdicts {{ typeof {asked} : verdict; }}",
                f"add rule {ip} PROBE filtering {asked} vmap @verdicts",
            ),
        ),
        _Part(
            "numgen in a key, and dnat to an address and port from a map",
            "NFT_NUMGEN, NFT_NAT",
            "0.9.4",
            (
                f"add map {ip} PROBE endpoints {{ typeof {numbered} : {ip} daddr . th dport; }}",
                f"add rule {ip} PROBE rewriting dnat {ip} to {numbered} map @endpoints",
            ),
        ),
        _Part(
            "sets that rules fill, with timeouts",
            "NF_TABLES, NFT_NUMGEN",
            "0.9.4",
            (
                f"add set {ip} PROBE clients {{ typeof {ip} saddr . numgen inc mod 2; flags dynamic,timeout; }}",
                f"add rule {ip} PROBE rewriting update @clients {{ {ip} saddr . numgen inc mod 1 offset 7 timeout 9s }}",
            ),
        ),
        _Part(
            "masquerade fully-random",
            "NFT_MASQ",
            "0.6",
            (f"add rule {ip} PROBE leaving masquerade fully-random",),
        ),
        _Part("ct", "NFT_CT", "0.5", (f"add rule {ip} PROBE filtering ct state new ct status dnat accept",)),
        _Part(
            "fib",
            f"NFT_FIB_{version}",
            "0.7",
            (f"add rule {ip} PROBE filtering fib saddr type local accept",),
        ),
        _Part("reject", f"NFT_REJECT_{version}", "0.3", (f"add rule {ip} PROBE filtering reject",)),
    )


def require_expressions(table: NftTable) -> None:
    """EnvironmentLacking names every expression that is missing, and what has it. Nothing is changed."""
    ip = _IP[table.family]
    frame = (
        f"add table {ip} PROBE",
        f"add chain {ip} PROBE filtering {{ type filter hook forward priority filter; }}",
        f"add chain {ip} PROBE rewriting {{ type nat hook prerouting priority dstnat; }}",
        f"add chain {ip} PROBE leaving {{ type nat hook postrouting priority srcnat; }}",
    )

    def complaint(commands: tuple[str, ...]) -> str:
        try:
            table.check(
                "".join(f"{command}\n" for command in (*frame, *commands)).replace("PROBE", "kproxy-probe")
            )
        except ProgramFailed as refused:
            return next(iter(refused.stderr.splitlines()), str(refused))
        return ""

    parts = _parts(ip)
    if not complaint(tuple(command for part in parts for command in part.commands)):
        return
    lacking = [(part, said) for part in parts if (said := complaint(part.commands))]
    raise EnvironmentLacking(
        f"nftables mode cannot run here ({table.family}): "
        + "; ".join(
            f"{part.name}: needs the kernel options {part.options} and nft {part.nft} or newer ({said})"
            for part, said in lacking
        )
        + "; use --proxy-mode iptables, or a kernel and nft that have them"
    )
