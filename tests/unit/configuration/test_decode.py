"""KubeProxyConfiguration: what a file may say, what it stands for, and what is refused."""

from typing import Any

import pytest

from kproxy.configuration import Configuration, Mode, decode_configuration
from kproxy.configuration.schema import Conntrack, IptablesOptions
from kproxy.errors import InputError, InvalidField
from kproxy.model.settings import DetectLocalMode

HEADER = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}

OF_KUBEADM: dict[str, Any] = {
    "bindAddress": "0.0.0.0",
    "bindAddressHardFail": False,
    "clientConnection": {
        "acceptContentTypes": "",
        "burst": 0,
        "contentType": "",
        "kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf",
        "qps": 0,
    },
    "clusterCIDR": "10.244.0.0/16",
    "configSyncPeriod": "0s",
    "conntrack": {
        "maxPerCore": None,
        "min": None,
        "tcpBeLiberal": False,
        "tcpCloseWaitTimeout": None,
        "tcpEstablishedTimeout": None,
        "udpStreamTimeout": "0s",
        "udpTimeout": "0s",
    },
    "detectLocal": {"bridgeInterface": "", "interfaceNamePrefix": ""},
    "detectLocalMode": "",
    "enableProfiling": False,
    "healthzBindAddress": "",
    "hostnameOverride": "",
    "iptables": {
        "localhostNodePorts": None,
        "masqueradeAll": False,
        "masqueradeBit": None,
        "minSyncPeriod": "0s",
        "syncPeriod": "0s",
    },
    "ipvs": {
        "excludeCIDRs": None,
        "minSyncPeriod": "0s",
        "scheduler": "",
        "strictARP": False,
        "syncPeriod": "0s",
    },
    "logging": {
        "flushFrequency": 0,
        "options": {"json": {"infoBufferSize": "0"}, "text": {"infoBufferSize": "0"}},
        "verbosity": 0,
    },
    "metricsBindAddress": "",
    "mode": "",
    "nftables": {"masqueradeAll": False, "masqueradeBit": None, "minSyncPeriod": "0s", "syncPeriod": "0s"},
    "nodePortAddresses": None,
    "oomScoreAdj": None,
    "portRange": "",
    "showHiddenMetricsForVersion": "",
    "winkernel": {"enableDSR": False, "forwardHealthCheckVip": False, "networkName": "", "sourceVip": ""},
}


def decoded(**fields: object) -> Configuration:
    configuration, warnings = decode_configuration(HEADER | fields)
    assert [] == warnings
    return configuration


def test_header_alone_stands_for_all_defaults() -> None:
    assert Configuration() == decoded()


def test_every_field_that_kubeadm_writes_is_known_and_its_zeros_stand_for_the_defaults() -> None:
    configuration = decoded(**OF_KUBEADM)
    assert Configuration().iptables == configuration.iptables
    assert Configuration().conntrack == configuration.conntrack
    assert (5.0, 10) == (configuration.client_connection.qps, configuration.client_connection.burst)
    assert ("0.0.0.0:10256", "127.0.0.1:10249") == (
        configuration.healthz_bind_address,
        configuration.metrics_bind_address,
    )
    assert (Mode.IPTABLES, DetectLocalMode.CLUSTER_CIDR) == (
        configuration.mode,
        configuration.detect_local_mode,
    )
    assert (-999, 900.0) == (configuration.oom_score_adj, configuration.config_sync_period_s)
    assert ("10.244.0.0/16",) == configuration.cluster_cidrs


def test_zero_where_it_says_something_is_kept() -> None:
    configuration = decoded(
        conntrack={"maxPerCore": 0, "tcpEstablishedTimeout": "0s"},
        iptables={"masqueradeBit": 0},
        oomScoreAdj=0,
    )
    assert (0, 0.0) == (
        configuration.conntrack.max_per_core,
        configuration.conntrack.tcp_established_timeout_s,
    )
    assert (0, 0) == (configuration.iptables.masquerade_bit, configuration.oom_score_adj)


def test_fields_are_typed_and_in_seconds() -> None:
    configuration = decoded(
        iptables={
            "syncPeriod": "1h5m",
            "minSyncPeriod": "500ms",
            "masqueradeAll": True,
            "localhostNodePorts": False,
        },
        conntrack={"udpTimeout": "1m30s", "min": 7, "tcpBeLiberal": True},
        featureGates={"SomeGate": True},
        logging={"verbosity": 4, "vmodule": [{"filePattern": "sync*", "verbosity": 9}]},
    )
    expected = IptablesOptions(
        sync_period_s=3900.0,  # type: ignore[arg-type] # equal to a plain number
        min_sync_period_s=0.5,  # type: ignore[arg-type]
        masquerade_all=True,
        localhost_node_ports=False,
    )
    assert expected == configuration.iptables
    assert Conntrack(udp_timeout_s=90.0, min=7, tcp_be_liberal=True) == configuration.conntrack  # type: ignore[arg-type]
    assert {"SomeGate": True} == configuration.feature_gates
    assert [("sync*", 9)] == [(each.file_pattern, each.verbosity) for each in configuration.logging.vmodule]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("10.128.0.0/9", ("10.128.0.0/9",)),
        (" 10.128.0.1/9 , fd00::/48 ", ("10.128.0.0/9", "fd00::/48")),
        ("fd00::/48,10.128.0.0/9", ("fd00::/48", "10.128.0.0/9")),
    ],
)
def test_cluster_cidr_is_none_or_one_for_each_family(text: str, expected: tuple[str, ...]) -> None:
    assert expected == decoded(clusterCIDR=text).cluster_cidrs


def test_node_port_addresses_are_canonical_cidrs_or_the_word_primary() -> None:
    assert ("10.0.0.0/24", "fd00::/64") == decoded(
        nodePortAddresses=["10.0.0.7/24", "FD00::1/64"]
    ).node_port_addresses
    assert ("primary",) == decoded(nodePortAddresses=["primary"]).node_port_addresses


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"bindAddress": "::"}, ("[::]:10256", "[::1]:10249")),
        ({"bindAddress": "10.0.0.1"}, ("0.0.0.0:10256", "127.0.0.1:10249")),
        ({"healthzBindAddress": "10.0.0.1", "metricsBindAddress": "::"}, ("10.0.0.1:10256", "[::]:10249")),
        (
            {"healthzBindAddress": "[FD00::1]:80", "metricsBindAddress": "[::1]"},
            ("[fd00::1]:80", "[::1]:10249"),
        ),
    ],
)
def test_server_addresses_follow_the_family_and_get_a_port(
    fields: dict[str, Any], expected: tuple[str, str]
) -> None:
    configuration = decoded(**fields)
    assert expected == (configuration.healthz_bind_address, configuration.metrics_bind_address)


def test_unknown_fields_are_each_named_and_the_rest_is_used() -> None:
    configuration, warnings = decode_configuration(
        HEADER | {"clusterCidr": "10.0.0.0/8", "iptables": {"masqueradeAll": True, "colour": 3}}
    )
    assert configuration.iptables.masquerade_all
    assert [
        "unknown field clusterCidr is ignored; did you mean clusterCIDR?",
        "unknown field iptables.colour is ignored",
    ] == warnings


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"mode": "ipvs"}, "mode", "iptables or nftables"),
        ({"mode": "kernelspace"}, "mode", "Linux"),
        ({"mode": "userspace"}, "mode", "iptables or nftables"),
        ({"mode": 3}, "mode", "3"),
        ({"iptables": {"masqueradeBit": 32}}, "iptables.masqueradeBit", "32 is not from 0 to 31"),
        ({"iptables": {"masqueradeBit": -1}}, "iptables.masqueradeBit", "-1"),
        ({"iptables": {"masqueradeBit": "14"}}, "iptables.masqueradeBit", "`int`"),
        ({"iptables": []}, "iptables", "`array`"),
        ({"iptables": {"syncPeriod": 30}}, "iptables.syncPeriod", "30"),
        ({"iptables": {"syncPeriod": "30"}}, "iptables.syncPeriod", "30s"),
        ({"iptables": {"syncPeriod": "-1s"}}, "iptables.syncPeriod", "'-1s'"),
        ({"iptables": {"syncPeriod": "500ms"}}, "iptables.minSyncPeriod", "1s is longer than syncPeriod"),
        ({"iptables": {"minSyncPeriod": "31s"}}, "iptables.minSyncPeriod", "31s is longer"),
        ({"mode": "nftables", "nftables": {"masqueradeBit": 40}}, "nftables.masqueradeBit", "40"),
        ({"nodePortAddresses": ["10.0.0.0/8", "here"]}, "nodePortAddresses[1]", "primary"),
        ({"nodePortAddresses": ["primary", "10.0.0.0/8"]}, "nodePortAddresses", "alone"),
        ({"nodePortAddresses": "primary"}, "nodePortAddresses", "`array`"),
        ({"clusterCIDR": "10.0.0.0"}, "clusterCIDR", "10.0.0.0/32"),
        ({"clusterCIDR": "10.0.0.0/8,11.0.0.0/8"}, "clusterCIDR", "IPv4 and an IPv6"),
        ({"clusterCIDR": "10.0.0.0/8,fd00::/8,fd01::/8"}, "clusterCIDR", "IPv4 and an IPv6"),
        ({"clusterCIDR": "010.0.0.0/8"}, "clusterCIDR", "010.0.0.0"),
        ({"clusterCIDR": ["10.0.0.0/8"]}, "clusterCIDR", "not text"),
        ({"detectLocalMode": "Pods"}, "detectLocalMode", "NodeCIDR"),
        ({"detectLocalMode": "BridgeInterface"}, "detectLocal.bridgeInterface", "''"),
        ({"detectLocalMode": "InterfaceNamePrefix"}, "detectLocal.interfaceNamePrefix", "''"),
        ({"bindAddress": "localhost"}, "bindAddress", "'localhost'"),
        ({"healthzBindAddress": "10.0.0.1:0"}, "healthzBindAddress", "1 to 65535"),
        ({"healthzBindAddress": "10.0.0.1:65536"}, "healthzBindAddress", "1 to 65535"),
        ({"healthzBindAddress": "fd00::1:10256:80000"}, "healthzBindAddress", "[::]:10256"),
        ({"metricsBindAddress": ":10249"}, "metricsBindAddress", "''"),
        ({"oomScoreAdj": 1001}, "oomScoreAdj", "-1000 to 1000"),
        ({"conntrack": {"maxPerCore": -1}}, "conntrack.maxPerCore", "-1"),
        ({"conntrack": {"min": 2**31}}, "conntrack.min", "2147483647"),
        ({"clientConnection": {"burst": -1}}, "clientConnection.burst", "-1"),
        ({"featureGates": {"SomeGate": "on"}}, "featureGates[...]", "`bool`"),
        ({"kind": "Service"}, "kind", "KubeProxyConfiguration"),
        ({"apiVersion": "v1"}, "apiVersion", "kubeproxy.config.k8s.io/v1alpha1"),
    ],
)
def test_wrong_value_is_refused_by_its_path_with_what_is_allowed(
    fields: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(InvalidField) as refused:
        decode_configuration(HEADER | fields)
    assert field == refused.value.field
    assert says in refused.value.reason


@pytest.mark.parametrize(
    "name",
    ["cni0+", "a b", "a/b", 'a"b', "a'b", "a\nb", "-j", "!eth0", "..", "ä", "a" * 16, "x;y", "x\\y", ""],
)
@pytest.mark.parametrize(
    ("mode", "field"),
    [("BridgeInterface", "bridgeInterface"), ("InterfaceNamePrefix", "interfaceNamePrefix")],
)
def test_interface_name_that_a_rule_cannot_carry_is_refused(mode: str, field: str, name: str) -> None:
    with pytest.raises(InvalidField) as refused:
        decoded(detectLocalMode=mode, detectLocal={field: name})
    assert f"detectLocal.{field}" == refused.value.field


def test_interface_names_may_be_as_long_as_iptables_takes_them() -> None:
    bridge = decoded(detectLocalMode="BridgeInterface", detectLocal={"bridgeInterface": "b" * 15})
    prefix = decoded(detectLocalMode="InterfaceNamePrefix", detectLocal={"interfaceNamePrefix": "p" * 14})
    assert ("b" * 15, "p" * 14) == (
        bridge.detect_local.bridge_interface,
        prefix.detect_local.interface_name_prefix,
    )
    with pytest.raises(InvalidField):  # with the + that follows it would have 16 characters
        decoded(detectLocalMode="InterfaceNamePrefix", detectLocal={"interfaceNamePrefix": "p" * 15})


def test_names_that_the_mode_does_not_use_are_no_error() -> None:
    assert "two words" == decoded(detectLocal={"bridgeInterface": "two words"}).detect_local.bridge_interface


@pytest.mark.parametrize("document", [None, [], "text", 3])
def test_document_that_is_no_mapping_is_refused(document: object) -> None:
    with pytest.raises(InputError, match="mapping"):
        decode_configuration(document)
