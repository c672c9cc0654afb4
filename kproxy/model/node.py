"""This node as the rules of one family see it: its addresses, its zone, and which traffic is local."""

from dataclasses import dataclass

from kproxy.model.settings import DetectLocalMode, Settings
from kproxy.state.objects import Node
from kproxy.values import Address, Family, Network, contains, family_of, is_loopback

_LOOPBACK = {Family.IPV4: Network("127.0.0.0/8"), Family.IPV6: Network("::1/128")}
_IPV4_LOOPBACK_START = Address("127.0.0.0")


@dataclass(frozen=True, slots=True)
class LocalDetector:
    """The match for traffic from this node's pods: by source network or by incoming interface.

    Neither is set if the configuration gives no way to recognise such traffic.
    """

    source: Network | None = None
    interface: str = ""


@dataclass(frozen=True, slots=True)
class NodePortDispatch:
    """The destinations on which node ports answer.

    With `every_local_address` these are all addresses of the node outside `except_network`; otherwise only
    `addresses`. `on_localhost` is whether IPv4 node ports answer on 127.0.0.1.
    """

    every_local_address: bool
    except_network: Network | None
    addresses: tuple[Address, ...]
    on_localhost: bool


@dataclass(frozen=True, slots=True)
class NodeView:
    """This node in one family. `address` is its primary address, None if it has none.

    `serves_external_ips` is whether Services are served on their external IPs.
    """

    name: str
    family: Family
    zone: str
    address: Address | None
    local: LocalDetector
    node_ports: NodePortDispatch
    serves_external_ips: bool = True


def view_node(
    name: str, node: Node | None, local_addresses: tuple[Address, ...], settings: Settings, family: Family
) -> NodeView:
    """This node in one family; `local_addresses` are the addresses of its interfaces, loopback among them."""
    known = (*filter(None, [settings.node_address]), *(node.addresses if node else ()))
    primary = next((address for address in known if family_of(address) is family), None)
    return NodeView(
        name=name,
        family=family,
        zone=node.zone if node else "",
        address=primary,
        local=local_detector(settings, node, family),
        node_ports=node_port_dispatch(settings, primary, local_addresses, family),
        serves_external_ips=settings.external_ips,
    )


def local_detector(settings: Settings, node: Node | None, family: Family) -> LocalDetector:
    """The match for traffic of this node's pods in this family, by `detectLocalMode`.

    The two CIDR modes give no match if no CIDR of the family is known.
    """
    match settings.detect_local_mode:
        case DetectLocalMode.CLUSTER_CIDR:
            return LocalDetector(source=_first_of(settings.cluster_cidrs, family))
        case DetectLocalMode.NODE_CIDR:
            return LocalDetector(source=_first_of(node.pod_cidrs if node else (), family))
        case DetectLocalMode.BRIDGE_INTERFACE:
            return LocalDetector(interface=settings.bridge_interface)
        case DetectLocalMode.INTERFACE_NAME_PREFIX:
            return LocalDetector(interface=settings.interface_name_prefix + "+")


def node_port_dispatch(
    settings: Settings, primary: Address | None, local_addresses: tuple[Address, ...], family: Family
) -> NodePortDispatch:
    """The addresses on which node ports answer, by `nodePortAddresses` and `localhostNodePorts`.

    IPv6 node ports never answer on ::1: the kernel has no route_localnet for IPv6. With `primary`
    a family without an address has no node ports; kube-proxy 1.36 would open all of them.
    """
    networks = tuple(network for network in settings.node_port_networks if family_of(network) is family)
    is_open = not networks and not settings.node_port_primary
    if is_open or any(network.endswith("/0") for network in networks):
        on_localhost = family is Family.IPV4 and settings.localhost_node_ports
        return NodePortDispatch(True, None if on_localhost else _LOOPBACK[family], (), on_localhost)
    on_localhost = settings.localhost_node_ports and any(
        contains(network, _IPV4_LOOPBACK_START) or is_loopback(_base(network)) for network in networks
    )
    chosen = [
        address
        for address in local_addresses
        if any(contains(network, address) for network in networks)
        and (not is_loopback(address) or (on_localhost and family is Family.IPV4))
    ]
    if settings.node_port_primary and primary and primary not in chosen:
        chosen.insert(0, primary)
    return NodePortDispatch(False, None, tuple(chosen), on_localhost and family is Family.IPV4)


def _first_of(networks: tuple[Network, ...], family: Family) -> Network | None:
    return next((network for network in networks if family_of(network) is family), None)


def _base(network: Network) -> Address:
    return Address(network.partition("/")[0])
