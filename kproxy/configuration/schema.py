"""KubeProxyConfiguration `kubeproxy.config.k8s.io/v1alpha1`: its fields, and kube-proxy 1.36's defaults."""

from enum import StrEnum

from msgspec import Struct, field

from kproxy.configuration.units import (
    BindAddress,
    ClusterCidrs,
    HealthzAddress,
    MetricsAddress,
    NodePortAddress,
    Seconds,
)
from kproxy.model.settings import DetectLocalMode
from kproxy.values import Address

API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KIND = "KubeProxyConfiguration"
PROTOBUF = "application/vnd.kubernetes.protobuf"

IGNORED = frozenset(
    {
        "apiVersion",
        "ipvs",
        "kind",
        "logging.flushFrequency",
        "logging.options",
        "portRange",
        "showHiddenMetricsForVersion",
        "windowsRunAsService",
        "winkernel",
    }
)
"""Fields of kube-proxy that have no effect here: of other modes, platforms and loggers."""

ZERO_MEANS_DEFAULT = frozenset(
    {"clientConnection.burst", "clientConnection.qps", "detectLocalMode", "logging.format", "mode"}
)
"""Fields whose zero value, 0 or empty text, means the default in files and in flags."""

ZERO_IN_FILE_MEANS_DEFAULT = ZERO_MEANS_DEFAULT | {
    "bindAddress",
    "clientConnection.contentType",
    "configSyncPeriod",
    "healthzBindAddress",
    "iptables.minSyncPeriod",
    "iptables.syncPeriod",
    "metricsBindAddress",
    "nftables.minSyncPeriod",
    "nftables.syncPeriod",
}
"""Fields whose zero value means the default in a file, where kube-proxy cannot tell zero from absent.

kubeadm writes 0s there. Flags have their defaults before they are read, so `--iptables-min-sync-period=0` means 0.
"""


PROTOBUF = "application/vnd.kubernetes.protobuf"


class Mode(StrEnum):
    """The program interface for the kernel's rules."""

    IPTABLES = "iptables"
    NFTABLES = "nftables"


class ClientConnection(Struct, frozen=True, kw_only=True, rename="camel"):
    """How to reach the API server. `kubeconfig` is a path; a negative `qps` means no limit.

    `accept_content_types` is a header Accept, and overrides `content_type`, which is a media type.
    """

    kubeconfig: str = ""
    accept_content_types: str = ""
    content_type: str = PROTOBUF
    qps: float = 5.0
    burst: int = 10


class RuleOptions(Struct, frozen=True, kw_only=True, rename="camel"):
    """Options of one mode.

    Rules are written at most once per `min_sync_period_s`, and all are checked every `sync_period_s`.
    """

    masquerade_bit: int = 14
    masquerade_all: bool = False
    sync_period_s: Seconds = field(default=Seconds(30), name="syncPeriod")
    min_sync_period_s: Seconds = field(default=Seconds(1), name="minSyncPeriod")


class IptablesOptions(RuleOptions, frozen=True, kw_only=True, rename="camel"):
    """Options of iptables mode. Only this mode can answer on node ports of 127.0.0.1."""

    localhost_node_ports: bool = True


class DetectLocal(Struct, frozen=True, kw_only=True, rename="camel"):
    """The interface of this node's pods, or the beginning of the names of their interfaces."""

    bridge_interface: str = ""
    interface_name_prefix: str = ""


class Conntrack(Struct, frozen=True, kw_only=True, rename="camel"):
    """The settings for the kernel's connection tracking. 0 leaves a setting unchanged."""

    max_per_core: int = 32768
    min: int = 131072
    tcp_established_timeout_s: Seconds = field(default=Seconds(24 * 3600), name="tcpEstablishedTimeout")
    tcp_close_wait_timeout_s: Seconds = field(default=Seconds(3600), name="tcpCloseWaitTimeout")
    tcp_be_liberal: bool = False
    udp_timeout_s: Seconds = field(default=Seconds(0), name="udpTimeout")
    udp_stream_timeout_s: Seconds = field(default=Seconds(0), name="udpStreamTimeout")


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class ModuleVerbosity(Struct, frozen=True, kw_only=True, rename="camel"):
    file_pattern: str = ""
    verbosity: int = 0


class Logging(Struct, frozen=True, kw_only=True, rename="camel"):
    format: LogFormat = LogFormat.TEXT
    verbosity: int = 0
    vmodule: tuple[ModuleVerbosity, ...] = ()


class Configuration(Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole configuration, validated; without arguments all of kube-proxy's defaults.

    `healthz_bind_address` and `metrics_bind_address` are empty if flags turn that server off. An empty
    `node_port_addresses` stands for the mode's default: every address, or `primary` with nftables.
    `msgspec.structs.replace` makes a changed copy and checks nothing.
    """

    client_connection: ClientConnection = ClientConnection()
    bind_address: BindAddress = BindAddress("0.0.0.0")  # noqa: S104 # kube-proxy's default
    healthz_bind_address: HealthzAddress = HealthzAddress.at(Address("0.0.0.0"), HealthzAddress.PORT)  # noqa: S104
    metrics_bind_address: MetricsAddress = MetricsAddress.at(Address("127.0.0.1"), MetricsAddress.PORT)
    bind_address_hard_fail: bool = False
    enable_profiling: bool = False
    hostname_override: str = ""
    mode: Mode = Mode.IPTABLES
    iptables: IptablesOptions = IptablesOptions()
    nftables: RuleOptions = RuleOptions()
    detect_local_mode: DetectLocalMode = DetectLocalMode.CLUSTER_CIDR
    detect_local: DetectLocal = DetectLocal()
    cluster_cidrs: ClusterCidrs = field(default=ClusterCidrs(), name="clusterCIDR")
    node_port_addresses: tuple[NodePortAddress, ...] = ()
    conntrack: Conntrack = Conntrack()
    oom_score_adj: int = -999
    config_sync_period_s: Seconds = field(default=Seconds(15 * 60), name="configSyncPeriod")
    feature_gates: dict[str, bool] = {}
    logging: Logging = Logging()

    @property
    def rule_options(self) -> RuleOptions:
        """The options of the configured mode."""
        return self.nftables if self.mode is Mode.NFTABLES else self.iptables
