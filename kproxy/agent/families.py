"""The address families that an agent programs on this node."""

import logging
from pathlib import Path

from kproxy.errors import EnvironmentLacking
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.kernel.programs.nft import NftTable
from kproxy.kernel.programs.nft_probe import require_expressions
from kproxy.values import Family

_log = logging.getLogger(__name__)


def usable_families(variant: Variant | None) -> list[Family]:
    """The families that this kernel has and this host has programs for; `variant` is None in nftables mode.

    A family that cannot be used is logged with its reason. EnvironmentLacking if there is none.
    """
    refusals = {family: _refusal(variant, family) for family in Family}
    for family, refusal in refusals.items():
        if refusal:
            _log.warning("%s: no rules are programmed: %s", family, refusal)
    usable = [family for family, refusal in refusals.items() if not refusal]
    if not usable:
        raise EnvironmentLacking(f"no address family can be programmed: {refusals[Family.IPV4]}")
    return usable


def _refusal(variant: Variant | None, family: Family) -> str:
    """Why the family cannot be used; empty if it can."""
    if family is Family.IPV6 and not Path("/proc/net/if_inet6").exists():
        return "this kernel was started without IPv6"
    if variant:
        return Iptables(variant, family).refusal()
    try:
        require_expressions(NftTable(family))
    except EnvironmentLacking as lacking:
        return str(lacking)
    return ""
