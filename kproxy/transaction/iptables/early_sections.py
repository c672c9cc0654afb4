"""Committing new chains while the rest is still computed."""

from collections.abc import Callable, Iterable, Iterator

from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import DISPATCH, Ruleset
from kproxy.transaction.iptables.order import children_first, in_sections, jumps_in
from kproxy.transaction.iptables.transaction import Section


def early_sections(
    parts: Iterable[Ruleset], held: dict[Chain, str | None], size: Callable[[int], int | None]
) -> Iterator[Section]:
    """Those chains of the parts that `held` lacks and that nothing leads to before the dispatch chains do, which are left out.

    Each is entered in `held` once its section was asked for, the next being due. `size` tells how many chains to commit
    at once where so many are held; what is left over in the end is less than that. No part may jump to chains of later ones.
    """
    waiting: dict[Chain, str] = {}
    for part in parts:
        waiting |= {chain: rules for chain, rules in part.items() if _goes_ahead(chain) and chain not in held}
        at_once = size(len(held))
        if at_once is None or len(waiting) < at_once:
            continue
        jumps = jumps_in(waiting)
        for chains in in_sections(children_first(jumps), jumps, 2 * at_once):
            section = Section("nat", {chain: waiting.pop(chain) for chain in chains})
            yield section
            held.update(section.written)


def _goes_ahead(chain: Chain) -> bool:
    return chain.table == "nat" and chain not in DISPATCH
