"""KubeProxyConfiguration `kubeproxy.config.k8s.io/v1alpha1`: its fields, and kube-proxy 1.36's defaults."""

from enum import StrEnum

from msgspec import Struct, field

from kproxy.configuration.units import ClusterCidrs, NodePortAddress, Seconds
from kproxy.model.settings import DetectLocalMode
from kproxy.values import Address

API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KIND = "KubeProxyConfiguration"

HEALTHZ_PORT = 10256
METRICS_PORT = 10249

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
"""Fields that kube-proxy knows and that change nothing here: of other modes, platforms and loggers."""

ZERO_MEANS_DEFAULT = frozenset(
    {
        "bindAddress",
        "clientConnection.burst",
        "clientConnection.qps",
        "configSyncPeriod",
        "detectLocalMode",
        "healthzBindAddress",
        "iptables.minSyncPeriod",
        "iptables.syncPeriod",
        "logging.format",
        "metricsBindAddress",
        "mode",
        "nftables.minSyncPeriod",
        "nftables.syncPeriod",
    }
)
"""Fields whose zero value stands for the default: kubeadm writes many of them as 0s or as empty text."""


class Mode(StrEnum):
    """What programs the kernel."""

    IPTABLES = "iptables"
    NFTABLES = "nftables"


class ClientConnection(Struct, frozen=True, kw_only=True, rename="camel"):
    """How to reach the API server. `kubeconfig` is a path; a negative `qps` means no limit."""

    kubeconfig: str = ""
    accept_content_types: str = ""
    content_type: str = ""
    qps: float = 5.0
    burst: int = 10


class RuleOptions(Struct, frozen=True, kw_only=True, rename="camel"):
    """Of one mode. Rules are written no more often than every `min_sync_period_s`, and all at `sync_period_s`."""

    masquerade_bit: int = 14
    masquerade_all: bool = False
    sync_period_s: Seconds = field(default=Seconds(30), name="syncPeriod")
    min_sync_period_s: Seconds = field(default=Seconds(1), name="minSyncPeriod")


class IptablesOptions(RuleOptions, frozen=True, kw_only=True, rename="camel"):
    """Of iptables mode, which alone can answer on node ports of 127.0.0.1."""

    localhost_node_ports: bool = True


class DetectLocal(Struct, frozen=True, kw_only=True, rename="camel"):
    """The interface, or the start of the names of the interfaces, that traffic of this node's pods comes from."""

    bridge_interface: str = ""
    interface_name_prefix: str = ""


class Conntrack(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the kernel's connection tracking is set to; 0, or a time of 0, leaves it as it is."""

    max_per_core: int = 32768
    min: int = 131072
    tcp_established_timeout_s: Seconds = field(default=Seconds(24 * 3600), name="tcpEstablishedTimeout")
    tcp_close_wait_timeout_s: Seconds = field(default=Seconds(3600), name="tcpCloseWaitTimeout")
    tcp_be_liberal: bool = False
    udp_timeout_s: Seconds = field(default=Seconds(0), name="udpTimeout")
    udp_stream_timeout_s: Seconds = field(default=Seconds(0), name="udpStreamTimeout")


class ModuleVerbosity(Struct, frozen=True, kw_only=True, rename="camel"):
    file_pattern: str
    verbosity: int


class Logging(Struct, frozen=True, kw_only=True, rename="camel"):
    format: str = "text"
    verbosity: int = 0
    vmodule: tuple[ModuleVerbosity, ...] = ()


class Configuration(Struct, frozen=True, kw_only=True, rename="camel"):
    """All of it, validated; without arguments all of kube-proxy's defaults.

    `healthz_bind_address` and `metrics_bind_address` are `address:port`, an IPv6 address in brackets.
    An empty `node_port_addresses` stands for the mode's default: every address, or `primary` with nftables.
    `msgspec.structs.replace` makes a changed copy and checks nothing.
    """

    client_connection: ClientConnection = ClientConnection()
    bind_address: Address = Address("0.0.0.0")  # noqa: S104 # kube-proxy's default
    healthz_bind_address: str = f"0.0.0.0:{HEALTHZ_PORT}"
    metrics_bind_address: str = f"127.0.0.1:{METRICS_PORT}"
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
