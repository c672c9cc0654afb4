"""The proxies of an agent: one for each family, in the mode that is configured."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from kproxy.agent.iptables_proxy import IptablesProxy
from kproxy.agent.mode_change import ModeChange
from kproxy.agent.nftables_proxy import NftablesProxy
from kproxy.cleanup.clean_up import end_iptables_mode, end_other_variant_and_nftables_mode
from kproxy.errors import EnvironmentLacking
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.kernel.programs.nft import NftTable
from kproxy.observed.iptables_kernel import KernelChains
from kproxy.observed.iptables_legacy import LegacyChains
from kproxy.observed.iptables_nft import NftChains
from kproxy.observed.nftables import Commits
from kproxy.observed.record import Record
from kproxy.ruleset.inputs import Render
from kproxy.values import Family

_log = logging.getLogger(__name__)


def nftables_proxies(families: Sequence[Family], render: Render) -> list[NftablesProxy]:
    """The proxies of nftables mode, which count their commits together."""
    ours = Commits()
    return [NftablesProxy(NftTable(family), render, ours) for family in families]


def iptables_proxies(
    variant: Variant, families: Sequence[Family], render: Render, record: Record | None
) -> list[IptablesProxy]:
    """The proxies of iptables mode; with iptables-nft they share a record, and iptables-legacy has none."""
    return [IptablesProxy(Iptables(variant, family), _rules(family, record), render) for family in families]


def without_other_modes(
    proxies: Sequence[IptablesProxy] | Sequence[NftablesProxy], variant: Variant | None
) -> list[ModeChange]:
    """These proxies.

    The first success of each also removes the rules that another mode or variant left in its family.
    """
    end_others = partial(end_other_variant_and_nftables_mode, variant) if variant else end_iptables_mode
    return [ModeChange(proxy, end_others) for proxy in proxies]


def open_record(directory: Path) -> Record:
    """The record in this directory, or in memory if the directory cannot hold it."""
    try:
        return Record(directory / "iptables-nft.sqlite")
    except EnvironmentLacking as lacking:
        _log.warning("%s; an agent that starts again reads all rules from the kernel", lacking)
        return Record(None)


def _rules(family: Family, record: Record | None) -> KernelChains:
    """The reader of a family's rules in the kernel."""
    return NftChains(family, record) if record else LegacyChains(family)
