"""The chains that can be committed while the rest is still computed."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import DISPATCH, Ruleset
from kproxy.transaction.iptables.order import children_first, in_sections, jumps_in
from kproxy.transaction.iptables.transaction import Section

CHAINS_A_PIECE = 500
"""So many are written at once where all chains go into one COMMIT: to put many in order at once costs less."""


class EarlySections:
    """Takes the computed chains part by part, and says which sections are due.

    A section has chains that the kernel lacks (`held` are there) and that nothing leads to before the dispatch chains
    do; the dispatch chains are left out. `size` tells how many chains to commit at once where so many are held: fewer
    wait for the next part, and chains that still wait in the end are left over. No part may jump to chains of later
    ones.
    """

    def __init__(self, held: AbstractSet[Chain], size: Callable[[int], int | None]) -> None:
        self._held = held
        self._size = size
        self._waiting: dict[Chain, str] = {}
        self.written: dict[Chain, str] = {}
        """The rules of all chains in the sections that were due."""

    def due(self, part: Ruleset) -> list[Section]:
        """The sections that are to be committed now that this part is computed too."""
        for chain, rules in part.items():
            if _goes_ahead(chain) and chain not in self._held and chain not in self.written:
                self._waiting[chain] = rules
        at_once = self._size(len(self._held) + len(self.written))
        if at_once is None or len(self._waiting) < at_once:
            return []
        jumps = jumps_in(self._waiting)
        waiting, self._waiting = self._waiting, {}
        self.written |= waiting
        return [
            Section("nat", {chain: waiting[chain] for chain in chains})
            for chains in in_sections(children_first(jumps), jumps, 2 * at_once)
        ]


def _goes_ahead(chain: Chain) -> bool:
    return chain.table == "nat" and chain not in DISPATCH
