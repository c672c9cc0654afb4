"""KubeProxyConfiguration: the allowed fields of a file, their meaning, and the values that are refused."""

from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

from kproxy.configuration import Configuration, Mode, decode_configuration
from kproxy.configuration.flags import decode_flags
from kproxy.configuration.schema import Conntrack, IptablesOptions
from kproxy.errors import InputError, InvalidField
from kproxy.model.settings import DetectLocalMode
from recordings import CLUSTERS

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


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("client_connection.qps", 5.0),
        ("client_connection.burst", 10),
        ("client_connection.kubeconfig", ""),
        ("bind_address", "0.0.0.0"),
        ("healthz_bind_address", "0.0.0.0:10256"),
        ("metrics_bind_address", "127.0.0.1:10249"),
        ("bind_address_hard_fail", False),
        ("enable_profiling", False),
        ("hostname_override", ""),
        ("mode", "iptables"),
        ("iptables.masquerade_bit", 14),
        ("iptables.masquerade_all", False),
        ("iptables.localhost_node_ports", True),
        ("iptables.sync_period_s", 30.0),
        ("iptables.min_sync_period_s", 1.0),
        ("nftables.masquerade_bit", 14),
        ("nftables.masquerade_all", False),
        ("nftables.sync_period_s", 30.0),
        ("nftables.min_sync_period_s", 1.0),
        ("detect_local_mode", "ClusterCIDR"),
        ("detect_local.bridge_interface", ""),
        ("detect_local.interface_name_prefix", ""),
        ("cluster_cidrs", ()),
        ("node_port_addresses", ()),
        ("conntrack.max_per_core", 32768),
        ("conntrack.min", 131072),
        ("conntrack.tcp_established_timeout_s", 86400.0),
        ("conntrack.tcp_close_wait_timeout_s", 3600.0),
        ("conntrack.tcp_be_liberal", False),
        ("conntrack.udp_timeout_s", 0.0),
        ("conntrack.udp_stream_timeout_s", 0.0),
        ("oom_score_adj", -999),
        ("config_sync_period_s", 900.0),
        ("feature_gates", {}),
        ("logging.format", "text"),
        ("logging.verbosity", 0),
    ],
)
def test_field_that_is_absent_has_the_default_of_kube_proxy(field: str, expected: object) -> None:
    assert expected == attrgetter(field)(decoded())
    assert expected == attrgetter(field)(Configuration())


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


@pytest.mark.parametrize(
    "fields",
    [
        {"logging": {"format": ""}},
        {"mode": "", "detectLocalMode": ""},
        {"clientConnection": {"qps": 0.0, "burst": 0}},
        {"bindAddress": "", "healthzBindAddress": "", "metricsBindAddress": ""},
    ],
)
def test_zero_without_a_meaning_of_its_own_is_the_default(fields: dict[str, Any]) -> None:
    assert Configuration() == decoded(**fields)


def test_zero_with_a_meaning_is_kept() -> None:
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
def test_cluster_cidr_has_at_most_one_network_of_each_family(text: str, expected: tuple[str, ...]) -> None:
    assert expected == decoded(clusterCIDR=text).cluster_cidrs


def test_node_port_addresses_are_canonical_cidrs_or_the_word_primary() -> None:
    assert ("10.0.0.0/24", "fd00::/64") == decoded(
        nodePortAddresses=["10.0.0.7/24", "FD00::1/64"]
    ).node_port_addresses
    assert ("primary",) == decoded(nodePortAddresses=["primary"]).node_port_addresses
    assert ("primary", "localhost", "10.0.0.0/8", "all") == decoded(
        nodePortAddresses=["primary", " localhost", "10.0.0.0/8", "all"]
    ).node_port_addresses


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


def test_unknown_fields_in_a_list_and_beside_a_null_are_named_too() -> None:
    _, warnings = decode_configuration(
        HEADER | {"IPTables": None, 7: "x", "logging": {"vmodule": [{"pattern": "a"}]}}
    )
    assert [
        "unknown field IPTables is ignored; did you mean iptables?",
        "unknown field 7 is ignored",
    ] == warnings[:2]
    assert warnings[2].startswith("unknown field logging.vmodule[0].pattern is ignored")


@pytest.mark.parametrize("zero", ["0", "0s", "0m", "0h0m0s", "+0s", None])
@pytest.mark.parametrize("section", ["iptables", "nftables"])
def test_time_of_zero_in_a_file_is_the_default_in_each_notation(section: str, zero: str | None) -> None:
    configuration = decoded(
        **{"mode": section, section: {"syncPeriod": zero, "minSyncPeriod": zero}, "configSyncPeriod": zero}
    )
    assert Configuration(mode=Mode(section)) == configuration


def test_times_of_the_mode_that_does_not_run_are_not_compared() -> None:
    assert Mode.NFTABLES == decoded(mode="nftables", iptables={"minSyncPeriod": "1h"}).mode
    assert Mode.IPTABLES == decoded(mode="iptables", nftables={"minSyncPeriod": "1h"}).mode


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_configuration_of_a_recorded_cluster_decodes_without_a_warning(cluster: Path) -> None:
    text = yaml.safe_load((cluster / "config.yaml").read_text())
    configuration, warnings = decode_configuration(text)
    assert [] == warnings
    assert "node-1" == configuration.hostname_override
    assert text["clusterCIDR"] == ",".join(configuration.cluster_cidrs)
    assert text.get("nodePortAddresses", []) == list(configuration.node_port_addresses)


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"mode": "ipvs"}, "mode", "iptables or nftables"),
        ({"mode": "kernelspace"}, "mode", "Linux"),
        ({"mode": "userspace"}, "mode", "'userspace' is not one of iptables, nftables"),
        ({"mode": 3}, "mode", "3"),
        ({"iptables": {"masqueradeBit": 32}}, "iptables.masqueradeBit", "32 is not from 0 to 31"),
        ({"iptables": {"masqueradeBit": -1}}, "iptables.masqueradeBit", "-1"),
        ({"iptables": {"masqueradeBit": "14"}}, "iptables.masqueradeBit", "'14' is not a whole number"),
        ({"iptables": {"masqueradeBit": True}}, "iptables.masqueradeBit", "True is not a whole number"),
        ({"iptables": {"masqueradeBit": 1 << 20_000}}, "iptables.masqueradeBit", "a number of 20001 bits"),
        ({"iptables": {"masqueradeAll": "yes"}}, "iptables.masqueradeAll", "'yes' is not true or false"),
        ({"iptables": []}, "iptables", "a list is not a mapping"),
        ({"iptables": {"syncPeriod": 30}}, "iptables.syncPeriod", "30 is not text; write 500ms, 30s or 1h5m"),
        ({"iptables": {"syncPeriod": 0}}, "iptables.syncPeriod", "0 is not text"),
        ({"iptables": {"syncPeriod": "30"}}, "iptables.syncPeriod", "30s"),
        ({"iptables": {"syncPeriod": "-1s"}}, "iptables.syncPeriod", "'-1s'"),
        ({"iptables": {"syncPeriod": "500ms"}}, "iptables.minSyncPeriod", "1s is longer than syncPeriod"),
        ({"iptables": {"minSyncPeriod": "31s"}}, "iptables.minSyncPeriod", "31s is longer"),
        ({"mode": "nftables", "nftables": {"masqueradeBit": 40}}, "nftables.masqueradeBit", "40"),
        ({"nodePortAddresses": ["10.0.0.0/8", "here"]}, "nodePortAddresses[1]", "primary"),
        ({"nodePortAddresses": "primary"}, "nodePortAddresses", "'primary' is not a list"),
        ({"nodePortAddresses": [None]}, "nodePortAddresses[0]", "null is not text"),
        ({"clusterCIDR": "10.0.0.0"}, "clusterCIDR", "10.0.0.0/32"),
        ({"clusterCIDR": "10.0.0.0/33"}, "clusterCIDR", "write 10.0.0.0/8"),
        ({"clusterCIDR": ","}, "clusterCIDR", "write 10.0.0.0/8"),
        ({"clusterCIDR": "10.0.0.0/8,11.0.0.0/8"}, "clusterCIDR", "IPv4 CIDR and an IPv6"),
        ({"clusterCIDR": "10.0.0.0/8,fd00::/8,fd01::/8"}, "clusterCIDR", "IPv4 CIDR and an IPv6"),
        ({"clusterCIDR": "010.0.0.0/8"}, "clusterCIDR", "010.0.0.0"),
        ({"clusterCIDR": ["10.0.0.0/8"]}, "clusterCIDR", "not text"),
        ({"detectLocalMode": "Pods"}, "detectLocalMode", "NodeCIDR"),
        ({"detectLocalMode": "BridgeInterface"}, "detectLocal.bridgeInterface", "''"),
        ({"detectLocalMode": "InterfaceNamePrefix"}, "detectLocal.interfaceNamePrefix", "''"),
        ({"bindAddress": "localhost"}, "bindAddress", "'localhost'"),
        ({"healthzBindAddress": "10.0.0.1:0"}, "healthzBindAddress", "1 to 65535"),
        ({"healthzBindAddress": "10.0.0.1:65536"}, "healthzBindAddress", "1 to 65535"),
        ({"healthzBindAddress": "fd00::1:10256:80000"}, "healthzBindAddress", "[::]:10256"),
        ({"metricsBindAddress": ":10249"}, "metricsBindAddress", "write 127.0.0.1:10249 or [::1]:10249"),
        ({"metricsBindAddress": "here:80"}, "metricsBindAddress", "write 127.0.0.1:10249"),
        ({"metricsBindAddress": "[[::]]:80"}, "metricsBindAddress", "'[[::]]:80'"),
        ({"metricsBindAddress": 10249}, "metricsBindAddress", "10249 is not text; write 127.0.0.1:10249"),
        ({"oomScoreAdj": 1001}, "oomScoreAdj", "-1000 to 1000"),
        ({"conntrack": {"maxPerCore": -1}}, "conntrack.maxPerCore", "-1"),
        ({"conntrack": {"min": 2**31}}, "conntrack.min", "2147483647"),
        ({"clientConnection": {"burst": -1}}, "clientConnection.burst", "-1"),
        ({"featureGates": {"SomeGate": "on"}}, "featureGates.SomeGate", "'on' is not true or false"),
        ({"clientConnection": {"qps": float("nan")}}, "clientConnection.qps", "nan"),
        ({"clientConnection": {"qps": "5"}}, "clientConnection.qps", "'5' is not a number"),
        ({"hostnameOverride": 7}, "hostnameOverride", "7 is not text"),
        ({"logging": {"format": "xml"}}, "logging.format", "'xml' is not one of text, json"),
        ({"logging": {"verbosity": -1}}, "logging.verbosity", "-1 is not from 0"),
        ({"logging": {"vmodule": [{"verbosity": "3"}]}}, "logging.vmodule[0].verbosity", "'3'"),
        ({"conntrack": {"udpTimeout": "-1s"}}, "conntrack.udpTimeout", "0 or more"),
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


@pytest.mark.parametrize("content_type", ["application/yaml", "application/cbor", "protobuf", "a/b\n"])
def test_content_type_that_cannot_be_read_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidField, match="is not one of application/json, application/vnd") as refused:
        decoded(clientConnection={"contentType": content_type})
    assert "clientConnection.contentType" == refused.value.field
    with pytest.raises(InvalidField) as refused:
        decoded(clientConnection={"acceptContentTypes": f"application/json,{content_type}"})
    assert "clientConnection.acceptContentTypes" == refused.value.field
    with pytest.raises(InvalidField) as refused:
        decode_flags({"kube-api-content-type": content_type})
    assert "--kube-api-content-type" == refused.value.field


def test_content_type_is_protobuf_unless_another_is_configured() -> None:
    protobuf = "application/vnd.kubernetes.protobuf"
    assert protobuf == decoded(clientConnection={"contentType": ""}).client_connection.content_type
    assert protobuf == decode_flags({}).client_connection.content_type
    assert "" == decode_flags({"kube-api-content-type": ""}).client_connection.content_type


@pytest.mark.parametrize(
    "name",
    ["cni0+", "a b", "a/b", 'a"b', "a'b", "a\nb", "-j", "!eth0", "..", "ä", "a" * 16, "x;y", "x\\y", ""],
)
@pytest.mark.parametrize(
    ("mode", "field"),
    [("BridgeInterface", "bridgeInterface"), ("InterfaceNamePrefix", "interfaceNamePrefix")],
)
def test_interface_name_that_no_rule_can_have_is_refused(mode: str, field: str, name: str) -> None:
    with pytest.raises(InvalidField) as refused:
        decoded(detectLocalMode=mode, detectLocal={field: name})
    assert f"detectLocal.{field}" == refused.value.field


def test_interface_name_of_the_longest_length_for_iptables_is_accepted() -> None:
    bridge = decoded(detectLocalMode="BridgeInterface", detectLocal={"bridgeInterface": "b" * 15})
    prefix = decoded(detectLocalMode="InterfaceNamePrefix", detectLocal={"interfaceNamePrefix": "p" * 14})
    assert ("b" * 15, "p" * 14) == (
        bridge.detect_local.bridge_interface,
        prefix.detect_local.interface_name_prefix,
    )
    with pytest.raises(InvalidField):  # with the + at its end, the name would have 16 characters
        decoded(detectLocalMode="InterfaceNamePrefix", detectLocal={"interfaceNamePrefix": "p" * 15})


def test_interface_names_that_the_mode_does_not_use_are_not_checked() -> None:
    assert "two words" == decoded(detectLocal={"bridgeInterface": "two words"}).detect_local.bridge_interface


@pytest.mark.parametrize("document", [None, [], "text", 3])
def test_document_that_is_not_a_mapping_is_refused(document: object) -> None:
    with pytest.raises(InputError, match="mapping"):
        decode_configuration(document)


@pytest.mark.parametrize(
    ("config_map", "told"),
    [
        (
            {
                "kind": "ConfigMap",
                "metadata": {"name": "kube-proxy"},
                "data": {
                    "kubeconfig.conf": "kind: Config",
                    "config.conf": "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n",
                },
            },
            (
                "this is a whole ConfigMap; the configuration is the text in its data, under 'config.conf': write that alone "
                "into a file, with kubectl -n kube-system get configmap kube-proxy -o jsonpath='{.data.config\\.conf}'"
            ),
        ),
        (
            {"kind": "ConfigMap", "data": {"a": "b"}},
            (
                "this is a ConfigMap, and no text in its data is a KubeProxyConfiguration; "
                "write the configuration itself into a file"
            ),
        ),
        (
            {"kind": "ConfigMap", "data": None},
            (
                "this is a ConfigMap, and no text in its data is a KubeProxyConfiguration; "
                "write the configuration itself into a file"
            ),
        ),
    ],
)
def test_whole_config_map_is_refused_with_the_command_for_its_configuration(
    config_map: object, told: str
) -> None:
    with pytest.raises(InputError) as refused:
        decode_configuration(config_map)
    assert told == str(refused.value)
