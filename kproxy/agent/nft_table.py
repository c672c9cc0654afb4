"""What the kernel holds of one family's nftables table: known by what was applied, looked at when others wrote too."""

import logging

from kproxy.kernel.nft import NftTable, RawElement, raw
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.ruleset.nftables.table import Block
from kproxy.transaction.nftables import KEPT, TableTransaction

_log = logging.getLogger(__name__)


class AppliedTable:
    """Whether the kernel still holds what was last applied: `in_place`.

    The kernel counts transactions, whoever makes them. As long as the count says that all were ours, nothing is
    read; else our table is, and only ours.
    """

    def __init__(self, kernel: NftTable) -> None:
        self.kernel = kernel
        self.in_place = False
        self._seen = -1
        self._digests: dict[str, bytes] = {}

    def apply(self, transaction: TableTransaction) -> None:
        """Run it; afterwards the table is in place."""
        before = self.kernel.generation()
        self.kernel.apply(str(transaction))
        written = self.kernel.digests(transaction.written)
        is_known = before == self._seen or not self.in_place
        if is_known and self.kernel.generation() == before + 1:
            self._seen = before + 1
        if not self.in_place:
            self._digests.clear()
        self._digests |= written
        self.in_place = True

    @property
    def is_uncertain(self) -> bool:
        """Whether somebody else may have changed the table since it was last looked at."""
        return self.kernel.generation() != self._seen

    def look(self, applied: DesiredTable) -> int:
        """How many chains, sets and maps somebody else changed; `applied` is what should be in the table."""
        generation = self.kernel.generation()
        if not self.in_place or generation == self._seen:
            return 0
        altered = self._altered(applied)
        if altered:
            _log.warning(
                "%s: somebody else changed our table (%s); it is written anew",
                self.kernel.family,
                ", ".join(altered[:5]),
            )
            self.in_place = False
        else:
            self._seen = generation
        return len(altered)

    def _altered(self, applied: DesiredTable) -> list[str]:
        found = set(self.kernel.blocks())
        different = found ^ applied.blocks.keys()
        chains = [block.name for block in found if block.is_chain]
        held = self.kernel.digests(chains)
        altered = {
            Block("chain", name) for name in chains if not held[name] or held[name] != self._digests.get(name)
        }
        wanted: dict[str, set[RawElement]] = {}
        for element in applied.elements():
            wanted.setdefault(element.holder, set()).add(raw(element))
        for block in found - {KEPT}:
            if not block.is_chain and self.kernel.elements(block.name) != wanted.get(block.name, set()):
                altered.add(block)
        return [f"{block.kind} {block.name}" for block in sorted(different | altered)]
