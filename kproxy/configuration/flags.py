"""kube-proxy's flags that stand for fields of the configuration."""

from collections.abc import Mapping

from kproxy.configuration.schema import API_VERSION, KIND

FLAGS_BESIDE_CONFIG = frozenset(
    {
        "cleanup",
        "config",
        "hostname-override",
        "init-only",
        "logging-format",
        "master",
        "v",
        "version",
        "vmodule",
        "write-config-to",
    }
)
"""The flags of kube-proxy that still count where a configuration file is given."""

_FIELD_OF = {
    "bind-address": "bindAddress",
    "bind-address-hard-fail": "bindAddressHardFail",
    "cluster-cidr": "clusterCIDR",
    "config-sync-period": "configSyncPeriod",
    "conntrack-max-per-core": "conntrack.maxPerCore",
    "conntrack-min": "conntrack.min",
    "conntrack-tcp-be-liberal": "conntrack.tcpBeLiberal",
    "conntrack-tcp-timeout-close-wait": "conntrack.tcpCloseWaitTimeout",
    "conntrack-tcp-timeout-established": "conntrack.tcpEstablishedTimeout",
    "conntrack-udp-timeout": "conntrack.udpTimeout",
    "conntrack-udp-timeout-stream": "conntrack.udpStreamTimeout",
    "detect-local-mode": "detectLocalMode",
    "feature-gates": "featureGates",
    "healthz-bind-address": "healthzBindAddress",
    "hostname-override": "hostnameOverride",
    "iptables-localhost-nodeports": "iptables.localhostNodePorts",
    "iptables-masquerade-bit": "iptables.masqueradeBit",
    "iptables-min-sync-period": "iptables.minSyncPeriod",
    "iptables-sync-period": "iptables.syncPeriod",
    "kube-api-burst": "clientConnection.burst",
    "kube-api-content-type": "clientConnection.contentType",
    "kube-api-qps": "clientConnection.qps",
    "kubeconfig": "clientConnection.kubeconfig",
    "logging-format": "logging.format",
    "masquerade-all": "iptables.masqueradeAll",
    "metrics-bind-address": "metricsBindAddress",
    "nodeport-addresses": "nodePortAddresses",
    "oom-score-adj": "oomScoreAdj",
    "pod-bridge-interface": "detectLocal.bridgeInterface",
    "pod-interface-name-prefix": "detectLocal.interfaceNamePrefix",
    "profiling": "enableProfiling",
    "proxy-mode": "mode",
    "v": "logging.verbosity",
}


def flags_to_data(flags: Mapping[str, object]) -> dict[str, object]:
    """What a configuration file would say for these flags, as `decode_configuration` takes it.

    Keys are the flags as kube-proxy names them, without dashes in front (`cluster-cidr`); values are of the
    field's type in the file. A flag that is None was not given, and one that stands for no field is passed over.
    """
    top: dict[str, object] = {"apiVersion": API_VERSION, "kind": KIND}
    sections: dict[str, dict[str, object]] = {}
    for flag, value in flags.items():
        if value is None or flag not in _FIELD_OF:
            continue
        section, _, field = _FIELD_OF[flag].rpartition(".")
        inside = sections.setdefault(section, {}) if section else top
        inside[field] = value
    return {**top, **sections}
