"""The part of the configuration that rules depend on. Settings decide nothing themselves."""

from dataclasses import dataclass
from enum import StrEnum

from kproxy.values import Address, Network


class DetectLocalMode(StrEnum):
    """How traffic from this node's pods is recognised."""

    CLUSTER_CIDR = "ClusterCIDR"
    NODE_CIDR = "NodeCIDR"
    BRIDGE_INTERFACE = "BridgeInterface"
    INTERFACE_NAME_PREFIX = "InterfaceNamePrefix"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Each default is kube-proxy's.

    Node ports answer in `node_port_networks`, and with `node_port_primary` on the node's primary address; with
    neither, on all local addresses. Without `external_ips`, Services are not served on their external IPs. `accounting`
    adds the nfacct matches, whose counters must exist in the kernel before a rule may name them. `node_address` is the
    node's primary address in its family, whatever the Node object says. `is_nftables` is whether the mode is nftables,
    where a few decisions differ.
    """

    is_nftables: bool = False
    masquerade_bit: int = 14
    masquerade_all: bool = False
    localhost_node_ports: bool = True
    node_port_networks: tuple[Network, ...] = ()
    node_port_primary: bool = False
    external_ips: bool = True
    detect_local_mode: DetectLocalMode = DetectLocalMode.CLUSTER_CIDR
    cluster_cidrs: tuple[Network, ...] = ()
    bridge_interface: str = ""
    interface_name_prefix: str = ""
    conntrack_tcp_be_liberal: bool = False
    accounting: bool = False
    node_address: Address | None = None
