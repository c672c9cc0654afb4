"""The settings for the rules, from the configuration and from flags."""

from typing import Any

import pytest

from kproxy.configuration import Configuration, decode_configuration
from kproxy.configuration.flags import FLAGS_BESIDE_CONFIG, decode_flags, flags_to_data
from kproxy.configuration.rules import rule_settings
from kproxy.configuration.schema import IptablesOptions, Mode, RuleOptions
from kproxy.errors import InvalidField
from kproxy.model.settings import DetectLocalMode, Settings
from kproxy.values import Address, Network


def settings_of(flags: dict[str, Any]) -> Settings:
    return rule_settings(decode_flags(flags), accounting=False, conntrack_tcp_be_liberal=False)


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
            {"nodeport-addresses": ["primary", "localhost", "10.0.0.0/8"]},
            Settings(
                node_port_primary=True,
                node_port_networks=tuple(map(Network, ("127.0.0.0/8", "::1/128", "10.0.0.0/8"))),
            ),
        ),
        (
            {"nodeport-addresses": ["all"]},
            Settings(node_port_networks=(Network("0.0.0.0/0"), Network("::/0"))),
        ),
        (
            {"detect-local-mode": "BridgeInterface", "pod-bridge-interface": "cni0"},
            Settings(detect_local_mode=DetectLocalMode.BRIDGE_INTERFACE, bridge_interface="cni0"),
        ),
        (
            {"detect-local-mode": "InterfaceNamePrefix", "pod-interface-name-prefix": "cali"},
            Settings(detect_local_mode=DetectLocalMode.INTERFACE_NAME_PREFIX, interface_name_prefix="cali"),
        ),
        ({"conntrack-tcp-be-liberal": True}, Settings(conntrack_tcp_be_liberal=True)),
        ({"feature-gates": {"AllowServiceExternalIPs": False}}, Settings(external_ips=False)),
        ({"feature-gates": {"AllowServiceExternalIPs": True, "Some": False}}, Settings()),
        ({"bind-address": "10.0.0.7"}, Settings(node_address=Address("10.0.0.7"))),
        ({"bind-address": "::"}, Settings()),
        (
            {"proxy-mode": "nftables"},
            Settings(is_nftables=True, node_port_primary=True, localhost_node_ports=False),
        ),
        (
            {"proxy-mode": "nftables", "nodeport-addresses": ["10.0.0.0/8"], "masquerade-all": True},
            Settings(
                is_nftables=True,
                node_port_networks=(Network("10.0.0.0/8"),),
                localhost_node_ports=False,
                masquerade_all=True,
            ),
        ),
    ],
)
def test_settings_follow_the_flags_and_their_mode(flags: dict[str, Any], expected: Settings) -> None:
    assert expected == settings_of(flags)


def test_settings_have_the_facts_of_the_kernel() -> None:
    configuration, _ = decode_configuration(flags_to_data({}))
    settings = rule_settings(configuration, accounting=True, conntrack_tcp_be_liberal=True)
    assert Settings(accounting=True, conntrack_tcp_be_liberal=True) == settings


def test_nftables_section_is_used_in_its_mode() -> None:
    configuration = Configuration(
        mode=Mode.NFTABLES,
        iptables=IptablesOptions(masquerade_bit=3),
        nftables=RuleOptions(masquerade_bit=20, masquerade_all=True),
    )
    settings = rule_settings(configuration, accounting=False, conntrack_tcp_be_liberal=False)
    assert (20, True) == (settings.masquerade_bit, settings.masquerade_all)


def test_time_flags_concern_the_running_mode() -> None:
    flags = {"iptables-sync-period": "2s", "iptables-min-sync-period": "1ms"}
    iptables, nftables = decode_flags(flags), decode_flags(flags | {"proxy-mode": "nftables"})
    assert (2.0, 0.001) == (iptables.iptables.sync_period_s, iptables.iptables.min_sync_period_s)
    assert (2.0, 0.001) == (nftables.nftables.sync_period_s, nftables.nftables.min_sync_period_s)
    assert Configuration().iptables == nftables.iptables


def test_zero_by_flag_is_zero_and_an_empty_address_is_no_server() -> None:
    configuration = decode_flags(
        {
            "iptables-min-sync-period": "0s",
            "healthz-bind-address": "",
            "proxy-mode": "",
            "detect-local-mode": "",
        }
    )
    assert 0.0 == configuration.iptables.min_sync_period_s
    assert ("", "127.0.0.1:10249") == (configuration.healthz_bind_address, configuration.metrics_bind_address)
    assert (Mode.IPTABLES, DetectLocalMode.CLUSTER_CIDR) == (
        configuration.mode,
        configuration.detect_local_mode,
    )


@pytest.mark.parametrize(
    ("flags", "flag", "says"),
    [
        ({"iptables-masquerade-bit": 32}, "--iptables-masquerade-bit", "32 is not from 0 to 31"),
        ({"iptables-sync-period": "0s"}, "--iptables-sync-period", "more than 0s"),
        ({"config-sync-period": "0s"}, "--config-sync-period", "more than 0s"),
        ({"nodeport-addresses": ["here"]}, "--nodeport-addresses", "'here'"),
        ({"feature-gates": {"SomeGate": "on"}}, "--feature-gates", "'on'"),
        ({"proxy-mode": "ipvs"}, "--proxy-mode", "iptables or nftables"),
        ({"proxy-mode": "nftables", "iptables-sync-period": "x"}, "--iptables-sync-period", "'x'"),
        ({"detect-local-mode": "BridgeInterface"}, "--pod-bridge-interface", "''"),
        ({"bind-address": ""}, "--bind-address", "write 0.0.0.0"),
    ],
)
def test_wrong_flag_is_refused_by_its_name(flags: dict[str, Any], flag: str, says: str) -> None:
    with pytest.raises(InvalidField) as refused:
        decode_flags(flags)
    assert flag == refused.value.field
    assert says in refused.value.reason


def test_flags_that_override_a_file_change_no_rule() -> None:
    assert {"hostname-override", "master", "v", "cleanup"} <= FLAGS_BESIDE_CONFIG
    assert not {"cluster-cidr", "kubeconfig", "proxy-mode", "feature-gates"} & FLAGS_BESIDE_CONFIG


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
