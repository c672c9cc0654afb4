"""The order in which chains can be written and deleted without a jump into the void."""

import re
from collections.abc import Iterable, Mapping, Sequence

from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables import names

_JUMP = re.compile(r" -j (KUBE-\S+)")


def jumps_in(chains: Mapping[Chain, str]) -> dict[Chain, list[str]]:
    """The names of the chains to which each chain's rules jump."""
    return {chain: _JUMP.findall(rules) for chain, rules in chains.items()}


def children_first(jumps: Mapping[Chain, Iterable[str]]) -> list[Chain]:
    """The chains, each after all those that it jumps to, and a Service's chains next to each other."""
    entered: set[Chain] = set()
    ordered: list[Chain] = []

    def visit(chain: Chain) -> None:
        if chain in entered or chain not in jumps:
            return
        entered.add(chain)
        for name in jumps[chain]:
            visit(Chain(chain.table, name))
        ordered.append(chain)

    for chain in jumps:
        if not chain.name.startswith(names.BACKEND):  # those come with the chain that picks them
            visit(chain)
    for chain in jumps:
        visit(chain)
    return ordered


def mentioned(chains: Iterable[Chain], jumps: Mapping[Chain, Iterable[str]]) -> set[str]:
    """The names of the chains and of those that they jump to."""
    return {name for chain in chains for name in (chain.name, *jumps[chain])}


def in_sections(
    ordered: Sequence[Chain], jumps: Mapping[Chain, Iterable[str]], size: int | None
) -> list[Sequence[Chain]]:
    """The chains in pieces that mention no more than `size` chains each, unless one alone does; None for one piece."""
    if size is None or len(ordered) == 1:
        return [ordered] if ordered else []
    pieces: list[Sequence[Chain]] = []
    begin, together = 0, set[str]()
    for at, chain in enumerate(ordered):
        more = mentioned([chain], jumps)
        if at > begin and len(together) + len(more - together) > size:
            pieces.append(ordered[begin:at])
            begin, together = at, set()
        together |= more
    return [*pieces, ordered[begin:]] if ordered else []


def parents_first(chains: Iterable[Chain]) -> list[Chain]:
    """The chains in an order that their names tell, whatever their rules."""
    return sorted(chains, key=lambda chain: (_rank(chain.name), chain))


def _rank(name: str) -> tuple[int, int]:
    """Low for the chains from which the others are reached; those in trees by the prefix that leads to them."""
    for rank, prefix in enumerate(names.PER_SERVICE, 2):
        if name.startswith(prefix):
            return rank, 0
    depth = names.depth_in_tree(name)
    return (0, 0) if depth is None else (1, depth)
