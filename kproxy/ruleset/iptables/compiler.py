"""From plans to chains, for iptables and ip6tables: the values that the templates print."""

from typing import NamedTuple

from kproxy.errors import InputError
from kproxy.model.endpoints import Backend
from kproxy.model.node import NodeView
from kproxy.model.plan import ServicePortPlan, Unserved
from kproxy.model.settings import Settings
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.inputs import Render
from kproxy.ruleset.iptables import names
from kproxy.ruleset.iptables.chains import TABLES, parse_chains
from kproxy.ruleset.iptables.ownership import PREFIX, may_be_ours
from kproxy.ruleset.iptables.policy_chains import BackendChain, PolicyChain, policy_chains
from kproxy.ruleset.iptables.tree import TreeChain
from kproxy.ruleset.layout import Layout
from kproxy.values import Family, ServicePortName

_NODE, _DISPATCH, _SERVICE_PORT = "iptables/node.j2", "iptables/dispatch.j2", "iptables/service-port.j2"


def node_chains(node: NodeView, settings: Settings, render: Render) -> dict[Chain, str]:
    """The chains that every node has, and the jumps from the built-in chains."""
    dispatch = node.node_ports
    return _chains(
        render,
        _NODE,
        {
            "mark": f"{1 << settings.masquerade_bit:#x}",
            "host": node.family.host_prefix,
            "blocks_martians": dispatch.on_localhost,
            "drops_invalid": not settings.conntrack_tcp_be_liberal,
            "counts_invalid": settings.accounting,
            "node_ports_everywhere": dispatch.every_local_address,
            "except_network": dispatch.except_network,
            "node_port_addresses": dispatch.addresses,
        },
    )


def dispatch_chain(chain: TreeChain, render: Render) -> str:
    """The rules of one chain of a dispatch tree."""
    return render(_DISPATCH, {"chain": chain.name, "jumps": chain.jumps, "rules": chain.rules})


def service_port_chains(
    plan: ServicePortPlan,
    node: NodeView,
    settings: Settings,
    layout: Layout,
    render: Render,
    *,
    comments: bool,
) -> dict[Chain, str]:
    """The rules of one service port: whole chains of its own, and lines in the dispatch chains."""
    own = _OwnChains.of(plan.name)
    chains = _chains(
        render,
        _SERVICE_PORT,
        {
            "comments": comments,
            **_destinations(plan, node.family),
            **_refusals(plan, node.family),
            **_entered_chains(plan, own),
            **_backends(plan, own, layout, node.family),
            **_client_addresses(plan, node, settings),
        },
    )
    foreign = [chain for chain in chains if not may_be_ours(chain)]
    if foreign:
        raise InputError(
            f"template {_SERVICE_PORT}: chain {foreign[0].name!r} is not for Services: a chain that is written loses "
            f"all its other rules, and only chains named {PREFIX}... are kproxy's to write"
        )
    return chains


def _destinations(plan: ServicePortPlan, family: Family) -> dict[str, object]:
    """The addresses, protocol and ports of the service port."""
    return {
        "name": plan.name,
        "protocol": plan.name.protocol.lower(),
        "port": plan.port,
        "host": family.host_prefix,
        "cluster_ip": plan.cluster_ip,
        "external_ips": plan.external_ips,
        "vips": plan.load_balancer_vips,
        "node_port": plan.node_port,
        "health_check_node_port": plan.health_check_node_port,
        "is_externally_accessible": plan.is_externally_accessible,
    }


def _refusals(plan: ServicePortPlan, family: Family) -> dict[str, object]:
    """The values that decide which packets are rejected or dropped, and which clients the source ranges let in."""
    return {
        "has_backends": plan.has_backends,
        "internal_unserved": plan.internal_unserved,
        "internal_refusal": _refusal(plan.internal_unserved, family),
        "external_unserved": plan.external_unserved,
        "external_refusal": _refusal(plan.external_unserved, family),
        "is_firewalled": plan.is_firewalled,
        "source_ranges": plan.source_ranges,
        "allow_node_to_vip": plan.allow_node_to_vip,
    }


class _OwnChains(NamedTuple):
    """The names of the chains that belong to one service port alone."""

    cluster: str
    local: str
    external: str
    firewall: str

    @classmethod
    def of(cls, name: ServicePortName) -> "_OwnChains":
        suffix = names.service_port_hash(name)
        return cls(
            cluster=names.CLUSTER_POLICY + suffix,
            local=names.LOCAL_POLICY + suffix,
            external=names.EXTERNAL + suffix,
            firewall=names.FIREWALL + suffix,
        )


def _entered_chains(plan: ServicePortPlan, own: _OwnChains) -> dict[str, object]:
    """The chains of the service port, and which of them each kind of traffic enters."""
    return {
        "cluster_chain": own.cluster,
        "external_chain": own.external,
        "firewall_chain": own.firewall,
        "internal_chain": own.local if plan.internal_policy_local else own.cluster,
        "external_policy_chain": own.local if plan.external_policy_local else own.cluster,
        "vip_chain": own.firewall if plan.is_firewalled else own.external,
    }


def _backends(plan: ServicePortPlan, own: _OwnChains, layout: Layout, family: Family) -> dict[str, object]:
    """The chain of each backend, and the chains that pick one of them."""
    chain_of = {backend: _backend_chain(plan, backend) for backend in plan.usable.reachable}
    has_affinity = plan.affinity_timeout_s is not None
    policies: list[PolicyChain] = []
    for chain, usable in ((own.cluster, plan.usable.cluster), (own.local, plan.usable.local)):
        if usable:
            backends = [chain_of[backend] for backend in usable]
            policies += policy_chains(chain, backends, layout.most_backends, has_affinity=has_affinity)
    return {
        "reachable": tuple(chain_of.values()),
        "policies": policies,
        "has_affinity": has_affinity,
        "affinity_timeout_s": plan.affinity_timeout_s,
        "host_mask": _HOST_MASK[family],
    }


def _backend_chain(plan: ServicePortPlan, backend: Backend) -> BackendChain:
    chain = names.BACKEND + names.backend_hash(plan.name, backend.target)
    return BackendChain(chain, backend.address, backend.target)


def _client_addresses(plan: ServicePortPlan, node: NodeView, settings: Settings) -> dict[str, object]:
    """The conditions under which backends see the address of the node in place of that of the client."""
    return {
        "keeps_client_address": plan.external_policy_local,
        "masquerades_all": settings.masquerade_all,
        "detects_by_source": node.local.source is not None,
        "local_source": node.local.source,
        "detects_by_interface": bool(node.local.interface),
        "local_interface": node.local.interface,
        "counts_localhost_node_ports": settings.accounting and node.node_ports.on_localhost,
    }


_PORT_UNREACHABLE = {Family.IPV4: "icmp-port-unreachable", Family.IPV6: "icmp6-port-unreachable"}
_HOST_MASK = {Family.IPV4: "255.255.255.255", Family.IPV6: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
"""The mask with which `recent` remembers a client: its whole address."""


def _refusal(unserved: Unserved | None, family: Family) -> str:
    """The target of the rule for traffic without a backend; empty where the traffic is served."""
    if unserved is None:
        return ""
    return f"REJECT --reject-with {_PORT_UNREACHABLE[family]}" if unserved.is_refused else "DROP"


def _chains(render: Render, template: str, values: dict[str, object]) -> dict[Chain, str]:
    text = render(template, values)
    try:
        chains = parse_chains(text)
    except InputError as wrong:
        raise InputError(f"template {template}: {wrong}") from wrong
    for chain in chains:
        if chain.table not in TABLES:
            raise InputError(
                f"template {template}: chain {chain.name!r} is in table {chain.table!r}; "
                f"{' and '.join(TABLES)} are ours"
            )
    return chains
