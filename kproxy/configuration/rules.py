"""The settings for the rules, from the configuration."""

from kproxy.configuration.schema import Configuration, Mode
from kproxy.configuration.units import EXTERNAL_IPS_GATE, PRIMARY, UNSPECIFIED
from kproxy.model.settings import Settings
from kproxy.values import Address


def rule_settings(
    configuration: Configuration, *, accounting: bool, conntrack_tcp_be_liberal: bool
) -> Settings:
    """The settings of the configured mode. The two arguments say what this kernel has and how it is set.

    If either the kernel or the configuration is liberal, no rule drops packets that conntrack marks as invalid.
    """
    nftables = configuration.mode is Mode.NFTABLES
    options = configuration.rule_options
    chosen = configuration.node_port_addresses
    primary = PRIMARY in chosen or (nftables and not chosen)
    return Settings(
        is_nftables=nftables,
        masquerade_bit=options.masquerade_bit,
        masquerade_all=options.masquerade_all,
        localhost_node_ports=configuration.iptables.localhost_node_ports and not nftables,
        node_port_networks=tuple(network for each in chosen for network in each.networks),
        node_port_primary=primary,
        external_ips=configuration.feature_gates.get(EXTERNAL_IPS_GATE, True),
        detect_local_mode=configuration.detect_local_mode,
        cluster_cidrs=tuple(configuration.cluster_cidrs),
        bridge_interface=configuration.detect_local.bridge_interface,
        interface_name_prefix=configuration.detect_local.interface_name_prefix,
        conntrack_tcp_be_liberal=conntrack_tcp_be_liberal or configuration.conntrack.tcp_be_liberal,
        accounting=accounting,
        node_address=None
        if configuration.bind_address in UNSPECIFIED
        else Address(configuration.bind_address),
    )
