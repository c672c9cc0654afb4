"""The kernel's rules, read and compared: ours with what they should be, the others' with what they were."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from typing import Self

from kproxy.kernel import process
from kproxy.kernel.iptables import Backend
from kproxy.model.node import view_node
from kproxy.model.settings import Settings
from kproxy.render.templates import rule_templates
from kproxy.ruleset.chains import Chain, Ruleset, parse_chains
from kproxy.ruleset.desired import Circumstances, DesiredRuleset
from kproxy.ruleset.tree import Layout
from kproxy.values import Address, Family
from statemachine.cluster import NODE, Cluster

FOREIGN_CHAINS = ("CNI-HOSTPORT-DNAT", "KUBE-KUBELET-CANARY", "cali-nat-OUTPUT")
FOREIGN_MARK = "somebody-else"
"""A word in the comment of every foreign rule, by which it is told from ours in a built-in chain."""

KUBELET_TOO = Chain("filter", "KUBE-FIREWALL")
"""Where we want no rule here, what stands may be the kubelet's and stays."""

TABLES = ("filter", "nat")
BUILT_IN_OF = (
    ("filter", "INPUT"),
    ("filter", "FORWARD"),
    ("filter", "OUTPUT"),
    ("nat", "PREROUTING"),
    ("nat", "INPUT"),
    ("nat", "OUTPUT"),
    ("nat", "POSTROUTING"),
)


def program(backend: Backend, family: Family) -> str:
    return f"{'iptables' if family is Family.IPV4 else 'ip6tables'}-{backend}"


def desired_rules(
    cluster: Cluster, settings: Settings, layout: Layout, addresses: tuple[Address, ...], family: Family
) -> dict[Chain, str]:
    """What a node that knows only this state programs, with the jumps from built-in chains."""
    desired = DesiredRuleset(rule_templates())
    store = cluster.store
    view = view_node(NODE, store.node(NODE), addresses, settings, family)
    desired.update(store, store.services, Circumstances(view, settings, layout))
    empty = {Chain(*place): "" for place in BUILT_IN_OF}
    return {**empty, **desired.jumps, **desired.chains}


@dataclass(frozen=True, slots=True)
class Rules:
    """One family's filter and nat tables at a moment, in full."""

    chains: Mapping[Chain, str]

    @classmethod
    def read(cls, backend: Backend, family: Family) -> Self:
        saved = "".join(process.run([f"{program(backend, family)}-save", "-t", table]) for table in TABLES)
        return cls(parse_chains(saved.replace("--nfacct-name  ", "--nfacct-name ")))

    @property
    def ours(self) -> dict[Chain, str]:
        """Everything but foreign rules and chains."""
        return {
            chain: _only(rules, foreign=False) if chain.is_built_in else rules
            for chain, rules in self.chains.items()
            if chain.name not in FOREIGN_CHAINS
        }

    @property
    def foreign(self) -> dict[Chain, str]:
        """Foreign chains, and built-in ones with the foreign rules alone."""
        return {
            chain: _only(rules, foreign=True) if chain.is_built_in else rules
            for chain, rules in self.chains.items()
            if chain.is_built_in or chain.name in FOREIGN_CHAINS
        }

    @property
    def built_in(self) -> dict[Chain, str]:
        """The built-in chains, in which our jumps stand among foreign rules."""
        return {chain: rules for chain, rules in self.chains.items() if chain.is_built_in}


def in_any_order(rules: Ruleset) -> dict[Chain, str]:
    """The same with sorted jumps from built-in chains: one that is put back stands first, wherever it was."""
    return {
        chain: _joined(sorted(text.splitlines())) if chain.is_built_in else text
        for chain, text in rules.items()
    }


def difference(expected: Ruleset, found: Ruleset) -> str:
    """Empty if they are the same, whatever the order of chains; an empty built-in chain is as good as none."""
    return "\n".join(unified_diff(_lines(expected), _lines(found), "expected", "found", lineterm="", n=0))


def _lines(rules: Ruleset) -> list[str]:
    return [
        f"{chain.table}: {line}"
        for chain in sorted(rules)
        for line in (*(() if chain.is_built_in else [f":{chain.name}"]), *rules[chain].splitlines())
    ]


def _only(rules: str, *, foreign: bool) -> str:
    return _joined(line for line in rules.splitlines() if (FOREIGN_MARK in line) is foreign)


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
