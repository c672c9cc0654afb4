"""The node on which the oracle stands: its addresses, its zone, its pods, and where its node ports answer.

Sources: "Virtual IPs and Service Proxies" in the Kubernetes documentation; the reference of KubeProxyConfiguration for
`detectLocalMode`, `clusterCIDR`, `nodePortAddresses` and `iptables.localhostNodePorts`.
"""

from dataclasses import dataclass

from kproxy.model.packet import Host, Packet
from kproxy.model.settings import DetectLocalMode, Settings
from kproxy.state.objects import Node
from kproxy.state.store import Store
from kproxy.values import Address, Family, Network, contains, family_of, is_loopback

_LOCALHOST = Address("127.0.0.1")


@dataclass(frozen=True, slots=True)
class Here:
    """This node in one family, in its cluster."""

    store: Store
    settings: Settings
    name: str
    host: Host
    family: Family

    @property
    def node(self) -> Node | None:
        return self.store.node(self.name)

    @property
    def primary_address(self) -> Address | None:
        named = self.node.addresses if self.node else ()
        addresses = (self.settings.node_address, *named) if self.settings.node_address else named
        return next((address for address in addresses if family_of(address) is self.family), None)

    @property
    def zone(self) -> str:
        return self.node.zone if self.node else ""

    @property
    def tells_pods(self) -> bool:
        """Whether the configuration gives a way to tell traffic of this node's pods (`detectLocalMode`)."""
        match self.settings.detect_local_mode:
            case DetectLocalMode.BRIDGE_INTERFACE | DetectLocalMode.INTERFACE_NAME_PREFIX:
                return True
            case _:
                return self._pod_network is not None

    def is_from_pod(self, packet: Packet) -> bool:
        match self.settings.detect_local_mode:
            case DetectLocalMode.BRIDGE_INTERFACE:
                return packet.interface == self.settings.bridge_interface
            case DetectLocalMode.INTERFACE_NAME_PREFIX:
                return packet.interface.startswith(self.settings.interface_name_prefix)
            case _:
                return self._pod_network is not None and contains(self._pod_network, packet.source)

    def answers_node_ports(self, address: Address) -> bool:
        """Whether node ports answer on this address (`nodePortAddresses`, `localhostNodePorts`)."""
        settings = self.settings
        if settings.node_port_primary and address == self.primary_address:
            return True
        if is_loopback(address) and not self._may_answer_on_localhost:
            return False
        networks = [each for each in settings.node_port_networks if family_of(each) is self.family]
        named = networks or settings.node_port_primary
        if not named or any(network.endswith("/0") for network in networks):
            return self.host.owns(address)
        on_interfaces = {*self.host.addresses, _LOCALHOST}
        return address in on_interfaces and any(contains(network, address) for network in networks)

    def is_martian(self, packet: Packet) -> bool:
        """Whether a packet from another address goes to 127.0.0.0/8 while node ports answer there (CVE-2020-8558)."""
        return (
            packet.destination.startswith("127.")
            and not packet.source.startswith("127.")
            and self.answers_node_ports(_LOCALHOST)
        )

    @property
    def _may_answer_on_localhost(self) -> bool:
        return self.family is Family.IPV4 and self.settings.localhost_node_ports

    @property
    def _pod_network(self) -> Network | None:
        if self.settings.detect_local_mode is DetectLocalMode.CLUSTER_CIDR:
            networks = self.settings.cluster_cidrs
        else:
            networks = self.node.pod_cidrs if self.node else ()
        return next((network for network in networks if family_of(network) is self.family), None)
