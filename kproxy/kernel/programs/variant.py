"""The variant of iptables that the other programs of this host use."""

import re
from contextlib import suppress
from itertools import chain as chain_up
from typing import TYPE_CHECKING

from kproxy import process
from kproxy.errors import KproxyError
from kproxy.kernel.netlink.chains import chains
from kproxy.kernel.netlink.jumps import count_iptables_rules
from kproxy.kernel.programs.iptables import Variant
from kproxy.ruleset.iptables.ownership import SERVICES, tells_the_variant
from kproxy.values import Family

if TYPE_CHECKING:
    from kproxy.ruleset.chain import Chain

_PROGRAMS = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
_NFT_TABLES = ("filter", "nat", "mangle", "raw", "security")
_VERSION = re.compile(r"iptables v\d\S*( \(nf_tables\))?")


def find_variant() -> Variant:
    """The variant that this host's other programs use, so that all rules meet in one place.

    The search is that of iptables-wrappers: by the kubelet's hint chains in mangle; without them, by rules of a
    service proxy, then by the greater number of rules, and nft if the numbers are equal. If nobody has any rule, it is
    the variant of the program `iptables`.
    """
    nft = _NftRules()
    if nft.has_hint():
        return Variant.NFT
    legacy = _LegacyRules()
    if legacy.has_hint():
        return Variant.LEGACY
    if nft.has_services():
        return Variant.NFT
    by_legacy, by_nft = legacy.count(), nft.count()
    if by_legacy or by_nft:
        return Variant.LEGACY if by_legacy > by_nft else Variant.NFT
    return _variant_of_program()


class _NftRules:
    """The chains and rules of iptables-nft, by netlink: rules of others may stop iptables-nft-save."""

    def __init__(self) -> None:
        self._chains: dict[Family, list[Chain]] = {}
        for family, name in _PROGRAMS.items():
            if process.find(f"{name}-nft"):
                with suppress(KproxyError):  # a kernel without nf_tables, or without this family, holds none
                    self._chains[family] = chains(family)

    def has_hint(self) -> bool:
        found = chain_up.from_iterable(self._chains.values())
        return any(chain.table == "mangle" and tells_the_variant(chain.name) for chain in found)

    def has_services(self) -> bool:
        return any(SERVICES in found for found in self._chains.values())

    def count(self) -> int:
        return sum(count_iptables_rules(family, table) for family in self._chains for table in _NFT_TABLES)


class _LegacyRules:
    """The output of iptables-legacy-save for the tables that exist: asking for a table by its name would create it."""

    def __init__(self) -> None:
        self._lines = [line for name in _PROGRAMS.values() for line in _saved(f"{name}-legacy-save")]

    def has_hint(self) -> bool:
        return any(
            line.startswith(":") and tells_the_variant(line[1:].partition(" ")[0]) for line in self._lines
        )

    def count(self) -> int:
        return sum(line.startswith("-A") for line in self._lines)


def _saved(program: str) -> list[str]:
    try:
        return process.run([program]).splitlines()
    except KproxyError:
        return []  # a host without one family or variant has no rules there


def _variant_of_program() -> Variant:
    """The variant of the program `iptables`. A program that does not name its variant is older than 1.8, and legacy."""
    try:
        version = _VERSION.search(process.run(["iptables", "--version"]))
    except KproxyError:
        return Variant.NFT
    is_legacy = version is not None and not version[1] and process.find("iptables-legacy") is not None
    return Variant.LEGACY if is_legacy else Variant.NFT
