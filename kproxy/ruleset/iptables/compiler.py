"""Plans to chains, for iptables and ip6tables: what goes into the templates."""

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
from kproxy.ruleset.iptables.picks import BackendRules, policy_rules
from kproxy.ruleset.iptables.tree import TreeChain
from kproxy.ruleset.layout import Layout
from kproxy.values import Family


def node_chains(node: NodeView, settings: Settings, render: Render) -> dict[Chain, str]:
    """The chains that every node has, and the jumps from the built-in chains."""
    dispatch = node.node_ports
    return _chains(
        render,
        "iptables/node.j2",
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
    return render("iptables/dispatch.j2", {"chain": chain.name, "jumps": chain.jumps, "rules": chain.rules})


def service_port_chains(
    plan: ServicePortPlan,
    node: NodeView,
    settings: Settings,
    layout: Layout,
    render: Render,
    *,
    comments: bool,
) -> dict[Chain, str]:
    """What one service port adds: whole chains of its own, and lines in the dispatch chains."""
    suffix = names.service_port_hash(plan.name)
    cluster_chain, local_chain = names.CLUSTER_POLICY + suffix, names.LOCAL_POLICY + suffix
    external_chain, firewall_chain = names.EXTERNAL + suffix, names.FIREWALL + suffix
    rules_of = {backend: _backend_rules(plan, backend) for backend in plan.usable.reachable}
    has_affinity = plan.affinity_timeout_s is not None
    policies = [
        policy
        for chain, backends in ((cluster_chain, plan.usable.cluster), (local_chain, plan.usable.local))
        if backends
        for policy in policy_rules(
            chain, [rules_of[backend] for backend in backends], layout.picks, has_affinity=has_affinity
        )
    ]
    chains = _chains(
        render,
        "iptables/service-port.j2",
        {
            "name": plan.name,
            "protocol": plan.name.protocol.lower(),
            "port": plan.port,
            "host": node.family.host_prefix,
            "host_mask": _HOST_MASK[node.family],
            "cluster_ip": plan.cluster_ip,
            "external_ips": plan.external_ips,
            "vips": plan.load_balancer_vips,
            "node_port": plan.node_port,
            "health_check_node_port": plan.health_check_node_port,
            "source_ranges": plan.source_ranges,
            "allow_node_to_vip": plan.allow_node_to_vip,
            "affinity_timeout_s": plan.affinity_timeout_s,
            "has_affinity": has_affinity,
            "has_backends": plan.has_backends,
            "is_externally_accessible": plan.is_externally_accessible,
            "is_firewalled": plan.is_firewalled,
            "keeps_client_address": plan.external_policy_local,
            "internal_unserved": plan.internal_unserved,
            "internal_refusal": _refusal(plan.internal_unserved, node.family),
            "external_unserved": plan.external_unserved,
            "external_refusal": _refusal(plan.external_unserved, node.family),
            "internal_chain": local_chain if plan.internal_policy_local else cluster_chain,
            "external_policy_chain": local_chain if plan.external_policy_local else cluster_chain,
            "cluster_chain": cluster_chain,
            "external_chain": external_chain,
            "firewall_chain": firewall_chain,
            "vip_chain": firewall_chain if plan.is_firewalled else external_chain,
            "policies": policies,
            "reachable": tuple(rules_of.values()),
            "comments": comments,
            "masquerades_all": settings.masquerade_all,
            "detects_by_source": node.local.source is not None,
            "local_source": node.local.source,
            "detects_by_interface": bool(node.local.interface),
            "local_interface": node.local.interface,
            "counts_localhost_node_ports": settings.accounting and node.node_ports.on_localhost,
        },
    )
    foreign = [chain for chain in chains if not may_be_ours(chain)]
    if foreign:
        raise InputError(
            f"template iptables/service-port.j2: chain {foreign[0].name!r} is not for Services: "
            f"a chain that is written loses all other rules, and only chains named {PREFIX}... are kproxy's to write"
        )
    return chains


def _chains(render: Render, template: str, values: dict[str, object]) -> dict[Chain, str]:
    text = render(template, values)
    try:
        chains = parse_chains(text)
    except InputError as wrong:
        raise InputError(f"template {template}: {wrong}") from wrong
    for chain in chains:
        if chain.table not in TABLES:
            raise InputError(
                f"template {template}: chain {chain.name!r} is in table {chain.table!r}; {' and '.join(TABLES)} are ours"
            )
    return chains


_HOST_MASK = {Family.IPV4: "255.255.255.255", Family.IPV6: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
_PORT_UNREACHABLE = {Family.IPV4: "icmp-port-unreachable", Family.IPV6: "icmp6-port-unreachable"}


def _backend_rules(plan: ServicePortPlan, backend: Backend) -> BackendRules:
    chain = names.BACKEND + names.backend_hash(plan.name, backend.target)
    return BackendRules(chain, backend.address, backend.target)


def _refusal(unserved: Unserved | None, family: Family) -> str:
    if unserved is None:
        return ""
    return f"REJECT --reject-with {_PORT_UNREACHABLE[family]}" if unserved.is_refused else "DROP"
