"""A scenario: a small cluster with its configuration, as manifests that a person can read and render."""

from dataclasses import dataclass, replace
from ipaddress import ip_network
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from kproxy.configuration import decode_configuration
from kproxy.configuration.rules import rule_settings
from kproxy.model.node import view_node
from kproxy.model.packet import Host, Packet
from kproxy.model.settings import Settings
from kproxy.render.templates import rule_templates
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.ruleset.layout import FLAT, Layout
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.state.decode import convert
from kproxy.state.events import Changed
from kproxy.state.objects import Kind, Object
from kproxy.state.store import Store
from kproxy.transaction.iptables.plan import clean_node
from kproxy.transaction.nftables.whole import whole_table
from kproxy.values import Address, Family, family_of

NODE = "node-1"
SMALL_TREE = Layout(root_rules=1, chain_rules=2, most_backends=2)
"""Makes trees of the smallest clusters."""

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.yaml"))
RENDER = rule_templates()

_LOCALHOST = Address("127.0.0.1")
_LOOPBACK = (_LOCALHOST, Address("::1"))
_POD_LINK, _OTHER_NODES_LINK, _OUTSIDE_LINK = "cni0", "flannel.1", "eth0"
_ORIGINS = {
    Family.IPV4: (
        (_POD_LINK, "10.128.1.77"),
        (_OTHER_NODES_LINK, "10.128.2.77"),
        (_OUTSIDE_LINK, "198.51.100.9"),
        (_OUTSIDE_LINK, "203.0.113.200"),
        ("", "10.199.0.2"),
    ),
    Family.IPV6: (
        (_POD_LINK, "fd00:10:128:1::77"),
        (_OTHER_NODES_LINK, "fd00:10:128:2::77"),
        (_OUTSIDE_LINK, "2001:db8:51::9"),
        (_OUTSIDE_LINK, "2001:db8:113::200"),
        ("", "fd00:199::2"),
    ),
}
"""A pod here, one elsewhere, two clients outside (the second often beyond the source ranges), and the node."""


@dataclass(frozen=True)
class Scenario:
    """`objects` and `configuration` as the API and the configuration file have them."""

    objects: tuple[dict[str, Any], ...]
    configuration: dict[str, Any]

    def __repr__(self) -> str:
        """As a file that `kproxy render -f` reads, and that can be kept as a regression."""
        return "\n" + yaml.safe_dump_all((self.configuration, *self.objects), sort_keys=False)

    @classmethod
    def load(cls, path: Path) -> "Scenario":
        configuration, *objects = yaml.safe_load_all(path.read_text())
        return cls(tuple(objects), configuration)

    def settings(self) -> Settings:
        configuration, _ = decode_configuration(self.configuration)
        return rule_settings(configuration, accounting=False, conntrack_tcp_be_liberal=False)

    def store(self) -> Store:
        return stored(self.objects)

    def in_nftables_mode(self) -> "Scenario":
        """The same cluster in the other mode, with what stands for iptables mode said for this one."""
        options = {
            name: value
            for name, value in self.configuration.get("iptables", {}).items()
            if name != "localhostNodePorts"
        }
        return replace(self, configuration={**self.configuration, "mode": "nftables", "nftables": options})

    def circumstances(self, host: Host, family: Family, layout: Layout = FLAT) -> Circumstances:
        settings = self.settings()
        local = (*_LOOPBACK, *sorted(host.addresses))
        store = self.store()
        view = view_node(NODE, store.node(NODE), local, settings, family)
        return Circumstances(view, settings, layout, store.service_networks(family))

    def rules(self, host: Host, family: Family, layout: Layout = FLAT) -> str:
        """What a clean node gets."""
        store = self.store()
        desired = DesiredRuleset(RENDER)
        desired.update(store, store.services, self.circumstances(host, family, layout))
        return clean_node(desired.chains, desired.jumps)

    def table(self, host: Host, family: Family) -> str:
        """What a clean node gets in nftables mode."""
        store = self.store()
        circumstances = self.circumstances(host, family)
        desired = DesiredTable(RENDER, circumstances)
        desired.update(store, store.services, circumstances)
        return str(whole_table(family, desired.blocks, desired.contents()))


def stored(objects: tuple[dict[str, Any], ...]) -> Store:
    store = Store()
    for thing in objects:
        store.apply(Changed(converted(thing)))
    return store


def converted(thing: dict[str, Any]) -> Object:
    return convert(Kind(thing["kind"]), thing)


def probes(store: Store, host: Host, family: Family) -> list[Packet]:
    """A packet from everywhere to everything that the Services name, and to near misses."""
    services = store.services.values()
    named = {
        (port.protocol, number)
        for service in services
        for port in service.ports
        for number in (port.port, port.node_port)
        if number
    }
    ports = sorted(named | {(protocol, number + 1) for protocol, number in named})
    addresses = {
        address
        for service in services
        for address in (*service.cluster_ips, *service.external_ips, *service.load_balancer_vips)
    }
    free = {Address(str(ip_network(network)[-2])) for network in store.service_networks(family)}
    everywhere = sorted({*addresses, *host.addresses, *free})
    destinations = [each for each in everywhere if family_of(each) is family]
    packets = [
        Packet(protocol, Address(source), destination, port, interface)
        for (interface, source), destination, (protocol, port) in product(
            _senders(store, family), destinations, ports
        )
    ]
    if family is Family.IPV4:
        packets += [
            Packet(protocol, Address(source), _LOCALHOST, port)
            for source, (protocol, port) in product(("127.0.0.1", "10.199.0.2"), ports)
        ]
    return packets


def _senders(store: Store, family: Family) -> list[tuple[str, str]]:
    """The places of `_ORIGINS`, each endpoint, and the node in the name of each load balancer."""
    here, elsewhere = _ORIGINS[family][0], _ORIGINS[family][1]
    endpoints = {
        (here[0] if _is_pod_here(endpoint.address) else elsewhere[0], str(endpoint.address))
        for service in store.services
        for piece in store.slices_of(service)
        if piece.family is family
        for endpoint in piece.endpoints
        if endpoint.address.startswith(("10.128.", "fd00:10:128:"))
    }
    vips = {
        ("", str(vip))
        for service in store.services.values()
        for vip in service.load_balancer_vips
        if family_of(vip) is family
    }
    return [*_ORIGINS[family], *sorted(endpoints), *sorted(vips)]


def _is_pod_here(address: Address) -> bool:
    return address.startswith(("10.128.1.", "fd00:10:128:1::"))
