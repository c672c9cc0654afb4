"""The kernel's rules, read and compared: ours with what they should be, the others' with what they were."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Self

from kproxy import process
from kproxy.kernel.netlink.accounting import ensure_counters
from kproxy.kernel.node import addresses
from kproxy.kernel.programs.iptables import Variant
from kproxy.model.node import view_node
from kproxy.model.settings import Settings
from kproxy.render.templates import rule_templates
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.iptables.chains import Ruleset, parse_chains
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.ruleset.layout import Layout
from kproxy.values import Address, Family
from statemachine.cluster import NODE, Cluster
from statemachine.flags import Flags
from statemachine.unreadable import (
    FOREIGN_MARK,
    NATIVE_CHAIN,
    as_restored,
    is_readable,
    read_chains,
    removals,
    shortened,
)

FOREIGN_CHAINS = ("CNI-HOSTPORT-DNAT", "KUBE-KUBELET-CANARY", "cali-nat-OUTPUT")
KUBELET_TOO = Chain("filter", "KUBE-FIREWALL")
"""Where we want no rule here, what stands may be the kubelet's and stays."""

_OF_OTHERS = (*FOREIGN_CHAINS, NATIVE_CHAIN)

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
_EMPTY = "".join(
    f"*{table}\n{''.join(f':{chain} ACCEPT [0:0]{chr(10)}' for at, chain in BUILT_IN_OF if at == table)}COMMIT\n"
    for table in TABLES
)


def program(variant: Variant, family: Family) -> str:
    return f"{'iptables' if family is Family.IPV4 else 'ip6tables'}-{variant}"


def restoring(table: str, *lines: str) -> str:
    """The rules as text for `iptables-restore`."""
    return f"*{table}\n{''.join(f'{line}{chr(10)}' for line in lines)}COMMIT\n"


def desired_rules(
    cluster: Cluster, settings: Settings, layout: Layout, addresses: tuple[Address, ...], family: Family
) -> dict[Chain, str]:
    """The rules that a node programs if it knows only this state, with the jumps from built-in chains."""
    desired = DesiredRuleset(rule_templates())
    store = cluster.store
    view = view_node(NODE, store.node(NODE), addresses, settings, family)
    desired.update(store, store.services, Circumstances(view, settings, layout))
    empty = {Chain(*place): "" for place in BUILT_IN_OF}
    return {**empty, **desired.jumps, **desired.chains}


@dataclass(frozen=True, slots=True)
class Rules:
    """One family's filter and nat tables at a moment, in full, but for chains that iptables cannot read."""

    chains: Mapping[Chain, str]
    unreadable: frozenset[Chain] = frozenset()

    @classmethod
    def read(cls, variant: Variant, family: Family) -> Self:
        chains: dict[Chain, str] = {}
        unreadable: frozenset[Chain] = frozenset()
        for table in TABLES:
            saved = process.run([f"{program(variant, family)}-save", "-t", table])
            if is_readable(saved):
                chains |= parse_chains(as_restored(saved))
            else:
                listed, odd = read_chains(program(variant, family), family, table)
                chains |= listed
                unreadable |= odd
        return cls(chains, unreadable)

    @property
    def ours(self) -> dict[Chain, str]:
        """Everything but foreign rules and chains."""
        return {
            chain: _only(rules, foreign=False) if chain.is_built_in else rules
            for chain, rules in self.chains.items()
            if chain.name not in _OF_OTHERS
        }

    @property
    def foreign(self) -> dict[Chain, str]:
        """Foreign chains, and built-in ones with the foreign rules alone."""
        return {
            chain: _only(rules, foreign=True) if chain.is_built_in else rules
            for chain, rules in self.chains.items()
            if chain.is_built_in or chain.name in _OF_OTHERS
        }

    @property
    def built_in(self) -> dict[Chain, str]:
        """The built-in chains, in which our jumps stand among foreign rules."""
        return {chain: rules for chain, rules in self.chains.items() if chain.is_built_in}


class Iptables:
    """Both families' rules of one variant, whose programs heed this lock."""

    def __init__(self, variant: Variant, lock: Path) -> None:
        self._backend = variant
        self._lock = lock
        self._addresses = addresses.local_addresses()
        self._known: dict[Family, Rules] = {}

    def clear(self) -> None:
        for family in Family:
            self._restore(family, _EMPTY)
        ensure_counters()

    def flush(self) -> None:
        if self._backend is Variant.NFT:
            process.run(["nft", "flush ruleset"])
            return
        for family in Family:
            self._restore(family, _EMPTY)

    def write(self, family: Family, text: str) -> None:
        self._restore(family, text, "--noflush")

    def write_natively(self, text: str) -> None:
        """In nft's words."""
        process.run(["nft", "-f", "-"], stdin=text)

    def remove_native_rules(self) -> None:
        if self._backend is Variant.NFT:
            for family in Family:
                self.write_natively("".join(removals(family, TABLES)))

    def remember(self) -> None:
        self._known = self._read()

    def what_is_wrong(self, cluster: Cluster, flags: Flags, *, keeps_jumps: bool) -> str:
        settings = flags.settings()
        for family, rules in self._read().items():
            known = self._known[family]
            wanted = desired_rules(cluster, settings, flags.layout, self._addresses, family)
            ours = rules.ours
            # a chain that is on its way out is there and not wanted, which the comparison tells
            wanted |= {chain: shortened(wanted[chain]) for chain in rules.unreadable & wanted.keys()}
            if not wanted[KUBELET_TOO] and KUBELET_TOO in ours:
                del wanted[KUBELET_TOO], ours[KUBELET_TOO]
            wrong = (
                difference(in_any_order(wanted), in_any_order(ours))
                or difference(known.foreign, rules.foreign)
                or (keeps_jumps and difference(known.built_in, rules.built_in))
            )
            if wrong:
                return f"{family}: {wrong}"
        return ""

    def _read(self) -> dict[Family, Rules]:
        return {family: Rules.read(self._backend, family) for family in Family}

    def _restore(self, family: Family, text: str, *options: str) -> None:
        restore = [f"{program(self._backend, family)}-restore", "-w", "10", *options]
        process.run(["env", f"XTABLES_LOCKFILE={self._lock}", *restore], stdin=text)


def in_any_order(rules: Ruleset) -> dict[Chain, str]:
    """These rules with sorted jumps from built-in chains: a jump that is put back stands first, wherever it was."""
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
