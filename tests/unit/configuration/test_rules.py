"""What of the configuration reaches the rules, and what flags say."""

from typing import Any

import pytest

from kproxy.configuration import decode_configuration
from kproxy.configuration.flags import flags_to_data
from kproxy.configuration.rules import rule_settings
from kproxy.model.settings import DetectLocalMode, Settings
from kproxy.values import Network


def settings_of(flags: dict[str, Any]) -> Settings:
    configuration, warnings = decode_configuration(flags_to_data(flags))
    assert [] == warnings
    return rule_settings(configuration, accounting=False, conntrack_tcp_be_liberal=False)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, Settings()),
        ({"masquerade-all": None, "manifests": "directory"}, Settings()),
        (
            {"cluster-cidr": "10.0.0.0/8,fd00::/48", "masquerade-all": True, "iptables-masquerade-bit": 20},
            Settings(
                cluster_cidrs=(Network("10.0.0.0/8"), Network("fd00::/48")),
                masquerade_all=True,
                masquerade_bit=20,
            ),
        ),
        (
            {"nodeport-addresses": ["10.0.0.0/8", "127.0.0.0/8"], "iptables-localhost-nodeports": False},
            Settings(
                node_port_networks=(Network("10.0.0.0/8"), Network("127.0.0.0/8")), localhost_node_ports=False
            ),
        ),
        ({"nodeport-addresses": ["primary"]}, Settings(node_port_primary=True)),
        (
            {"detect-local-mode": "BridgeInterface", "pod-bridge-interface": "cni0"},
            Settings(detect_local_mode=DetectLocalMode.BRIDGE_INTERFACE, bridge_interface="cni0"),
        ),
        (
            {"detect-local-mode": "InterfaceNamePrefix", "pod-interface-name-prefix": "cali"},
            Settings(detect_local_mode=DetectLocalMode.INTERFACE_NAME_PREFIX, interface_name_prefix="cali"),
        ),
        ({"proxy-mode": "nftables"}, Settings(node_port_primary=True, localhost_node_ports=False)),
        (
            {"proxy-mode": "nftables", "nodeport-addresses": ["10.0.0.0/8"], "masquerade-all": True},
            Settings(node_port_networks=(Network("10.0.0.0/8"),), localhost_node_ports=False),
        ),
    ],
)
def test_settings_follow_the_flags_and_their_mode(flags: dict[str, Any], expected: Settings) -> None:
    assert expected == settings_of(flags)


def test_what_the_kernel_has_reaches_the_settings() -> None:
    configuration, _ = decode_configuration(flags_to_data({}))
    settings = rule_settings(configuration, accounting=True, conntrack_tcp_be_liberal=True)
    assert Settings(accounting=True, conntrack_tcp_be_liberal=True) == settings


def test_every_flag_names_a_field_of_the_configuration() -> None:
    every = {
        "bind-address": "::",
        "bind-address-hard-fail": True,
        "config-sync-period": "1m",
        "conntrack-max-per-core": 1,
        "conntrack-min": 2,
        "conntrack-tcp-be-liberal": True,
        "conntrack-tcp-timeout-close-wait": "1s",
        "conntrack-tcp-timeout-established": "2s",
        "conntrack-udp-timeout": "3s",
        "conntrack-udp-timeout-stream": "4s",
        "feature-gates": {"SomeGate": True},
        "healthz-bind-address": "[::]:1",
        "hostname-override": "node-1",
        "iptables-min-sync-period": "1s",
        "iptables-sync-period": "2s",
        "kube-api-burst": 1,
        "kube-api-content-type": "application/json",
        "kube-api-qps": 2.0,
        "kubeconfig": "/kubeconfig",
        "logging-format": "json",
        "metrics-bind-address": "[::1]:2",
        "oom-score-adj": -5,
        "profiling": True,
        "v": 4,
    }
    configuration, warnings = decode_configuration(flags_to_data(every))
    assert [] == warnings
    assert ("node-1", 4, "/kubeconfig", -5) == (
        configuration.hostname_override,
        configuration.logging.verbosity,
        configuration.client_connection.kubeconfig,
        configuration.oom_score_adj,
    )
    assert (1.0, 2.0) == (configuration.iptables.min_sync_period_s, configuration.iptables.sync_period_s)
    assert (3.0, 4.0) == (configuration.conntrack.udp_timeout_s, configuration.conntrack.udp_stream_timeout_s)
