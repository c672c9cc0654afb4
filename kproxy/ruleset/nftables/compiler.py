"""The values for the templates of nftables mode, and the blocks that the templates make of them."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from kproxy.errors import InputError
from kproxy.model.endpoints import Backend
from kproxy.model.node import NodeView
from kproxy.model.plan import ServicePortPlan
from kproxy.model.settings import Settings
from kproxy.ruleset.inputs import Render
from kproxy.ruleset.nftables.frontends import EXTERNAL, INTERNAL, Picks, Way, own_chain
from kproxy.ruleset.nftables.roles import OF_NODE, Roles, of_picks, with_roles
from kproxy.ruleset.nftables.table import FAMILY_WORD, Block, Body, Role, parse_blocks
from kproxy.values import Network

_ALL_BITS = 0xFFFFFFFF


class _Remembering(NamedTuple):
    """An endpoint that clients stay with: its chain, and the number by which the set of clients knows it."""

    chain: str
    number: int
    target: str


class _Policy(NamedTuple):
    chain: str
    endpoints: tuple[_Remembering, ...]


@dataclass(frozen=True, slots=True)
class BlockWriter:
    """Renders blocks for one node in one family."""

    node: NodeView
    settings: Settings
    render: Render

    def node_blocks(self, service_networks: tuple[Network, ...]) -> dict[Block, Body]:
        """The sets, maps and chains that every node has."""
        bit = 1 << self.settings.masquerade_bit
        return self._blocks(
            "node",
            OF_NODE,
            mark=f"{bit:#x}",
            all_but_mark=f"{_ALL_BITS ^ bit:#x}",
            node_ports_everywhere=self.node.node_ports.every_local_address,
            except_network=self.node.node_ports.except_network,
            service_networks=service_networks,
        )

    def picks_blocks(self, picks: Picks) -> dict[Block, Body]:
        """The map of endpoints and the chain that picks one."""
        port = "meta l4proto . th dport"
        asked = port if picks.is_node_port else f"{self._ip} daddr . {port}"
        return self._blocks(
            "picks", of_picks(picks), map=picks.map, chain=picks.chain, count=picks.size, asked=asked
        )

    def way_blocks(self, way: Way) -> dict[Block, Body]:
        local = way.local_picks
        return self._way(
            way.chain,
            way.picks.chain,
            local.chain if local else "",
            is_internal=way.kind == INTERNAL,
            keeps_client_address=way.local_size is not None,
        )

    def own_blocks(self, plan: ServicePortPlan) -> dict[Block, Body]:
        """The chains of its own that a service port has; most have none."""
        has_affinity = plan.affinity_timeout_s is not None and plan.has_backends
        if not (has_affinity or plan.is_restricted):
            return {}
        numbered = {each: _remembering(plan, each) for each in plan.usable.reachable} if has_affinity else {}
        every, local = own_chain("pick", plan), own_chain("pick-local", plan)
        policies = [
            _Policy(chain, tuple(numbered[backend] for backend in backends))
            for chain, backends in ((every, plan.usable.cluster), (local, plan.usable.local))
            if has_affinity and backends
        ]
        blocks = self._blocks(
            "service-port",
            _roles_of_own(plan, numbered.values()),
            is_restricted=plan.is_restricted,
            firewall_chain=own_chain("firewall", plan),
            source_ranges=plan.source_ranges,
            allow_node_to_vip=plan.allow_node_to_vip,
            vips=plan.load_balancer_vips,
            policies=policies,
            affinity=own_chain("affinity", plan),
            remembering=tuple(numbered.values()),
            affinity_timeout_s=plan.affinity_timeout_s,
            protocol=plan.name.protocol.lower(),
        )
        if has_affinity and not plan.internal_unserved:
            pick = local if plan.internal_policy_local else every
            blocks |= self._way(own_chain(INTERNAL, plan), pick, is_internal=True)
        if has_affinity and plan.is_externally_accessible:
            blocks |= self._way(
                own_chain(EXTERNAL, plan),
                every,
                local if plan.usable.local else "",
                keeps_client_address=plan.external_policy_local,
            )
        return blocks

    def _way(
        self,
        chain: str,
        pick: str,
        local_pick: str = "",
        *,
        is_internal: bool = False,
        keeps_client_address: bool = False,
    ) -> dict[Block, Body]:
        is_from_pod, is_not = self._detection()
        masquerades_all = self.settings.masquerade_all if is_internal else not keeps_client_address
        return self._blocks(
            "way",
            {Block("chain", chain): Role.POLICY},
            chain=chain,
            pick=pick,
            local_pick=local_pick,
            mark=f"{1 << self.settings.masquerade_bit:#x}",
            masquerades_all=masquerades_all,
            masquerades_from_elsewhere=is_internal and bool(is_not),
            keeps_client_address=keeps_client_address,
            detects_pods=bool(is_from_pod),
            from_pods=is_from_pod,
            not_from_pods=is_not,
        )

    def _detection(self) -> tuple[str, str]:
        """The match for what comes from this node's pods and for what does not; empty where nothing can tell."""
        local = self.node.local
        if local.source is not None:
            return f"{self._ip} saddr {local.source}", f"{self._ip} saddr != {local.source}"
        if local.interface:
            name = (
                local.interface.removesuffix("+") + "*" if local.interface.endswith("+") else local.interface
            )
            return f'iifname "{name}"', f'iifname != "{name}"'
        return "", ""

    @property
    def _ip(self) -> str:
        return FAMILY_WORD[self.node.family]

    def _blocks(self, template: str, roles: Roles, **values: object) -> dict[Block, Body]:
        name = f"nftables/{template}.j2"
        text = self.render(name, {"ip": self._ip, **values})
        try:
            return with_roles(parse_blocks(text), roles)
        except InputError as wrong:
            raise InputError(f"template {name}: {wrong}") from wrong


def _roles_of_own(plan: ServicePortPlan, endpoints: Iterable[_Remembering]) -> Roles:
    return {
        Block("chain", own_chain("firewall", plan)): Role.GUARD,
        Block("set", own_chain("affinity", plan)): Role.CLIENTS,
        Block("chain", own_chain("pick", plan)): Role.PICKER,
        Block("chain", own_chain("pick-local", plan)): Role.PICKER,
        **{Block("chain", each.chain): Role.ENDPOINT for each in endpoints},
    }


def _remembering(plan: ServicePortPlan, backend: Backend) -> _Remembering:
    where = f"{backend.address.replace(':', '.')}/{backend.port}"
    chain = f"{own_chain('endpoint', plan)}/{where}"
    return _Remembering(chain, _number(chain), backend.target)


def _number(chain: str) -> int:
    digest = hashlib.blake2b(chain.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1  # nft 1.0.6 prints an offset with the highest bit as negative


def remembered(chains: Iterable[str]) -> dict[str, set[int]]:
    """As which numbers the endpoints of these chains stand in which sets of clients; other chains are none."""
    numbers: dict[str, set[int]] = {}
    for chain in chains:
        kind, _, rest = chain.partition("/")
        if kind == "endpoint":
            port, *_ = rest.rsplit("/", 2)
            numbers.setdefault(f"affinity/{port}", set()).add(_number(chain))
    return numbers
