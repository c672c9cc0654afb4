"""The first step of an agent: check this node and this process, and set up the kernel apart from the rules."""

from typing import NamedTuple

from kproxy.agent.options import Options
from kproxy.agent.system import open_localhost, set_oom_score, set_up_conntrack
from kproxy.configuration import Configuration, Mode
from kproxy.configuration.rules import rule_settings
from kproxy.kernel.netlink.accounting import ensure_counters
from kproxy.kernel.node import descriptors, sysctl
from kproxy.kernel.node.privilege import require_net_admin
from kproxy.kernel.programs.iptables import Variant
from kproxy.kernel.programs.nft_version import require_versions
from kproxy.kernel.programs.variant import find_variant
from kproxy.model.settings import Settings


class PreparedNode(NamedTuple):
    """The facts of this node that rules depend on. `variant` is None in nftables mode."""

    variant: Variant | None
    settings: Settings


def prepare(options: Options) -> PreparedNode:
    """Check the node, and set up its kernel; EnvironmentLacking if a program or a privilege is missing."""
    require_net_admin()
    descriptors.raise_limit()
    configuration = options.configuration
    variant = None
    if configuration.mode is Mode.NFTABLES:
        require_versions()
    else:
        variant = options.variant or find_variant()
    set_oom_score(configuration.oom_score_adj)
    set_up_conntrack(configuration.conntrack)
    settings = _settings(configuration)
    open_localhost(settings)
    return PreparedNode(variant, settings)


def _settings(configuration: Configuration) -> Settings:
    """The settings of the rules: those of the configuration, and those that this kernel decides."""
    return rule_settings(
        configuration,
        accounting=configuration.mode is Mode.IPTABLES and ensure_counters(),
        conntrack_tcp_be_liberal=sysctl.read(sysctl.CONNTRACK_TCP_BE_LIBERAL) == "1",
    )
