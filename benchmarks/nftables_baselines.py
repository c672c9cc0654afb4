"""The rival of nftables mode: `bare`, one `nft -f` of the elements that differ, and of the shared chains that differ.

For a first sync and a restart, in which ours writes everything, it is one of everything.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from benchmarks.cluster import Entry, Size, entry, filled_store
from benchmarks.subject import Change, Rival
from kproxy import process
from kproxy.model.plan import plan_service
from kproxy.render.templates import rule_templates
from kproxy.ruleset.inputs import Circumstances
from kproxy.ruleset.nftables.desired import DesiredTable
from kproxy.transaction.nftables.change import change
from kproxy.transaction.nftables.table_delta import TableDelta
from kproxy.transaction.nftables.whole import replace_all, whole_table
from kproxy.values import Family

_FAMILY = Family.IPV4
_LONGEST_S = 600.0


class NftablesBaselines:
    """Rivals for one cluster, in a kernel that holds its table already, or none yet for a first sync."""

    def __init__(self, size: Size, circumstances: Circumstances) -> None:
        self._size = size
        self._circumstances = circumstances
        self._render = rule_templates()

    def of_change(self, changes: Sequence[Change], beside: Sequence[Entry] = ()) -> list[Rival]:
        return [_bare(self.text_of_change(changes, beside))]

    def text_of_change(self, changes: Sequence[Change], beside: Sequence[Entry] = ()) -> str:
        """The change of a small table, in which one Service represents all with the same number of endpoints."""
        stands_for_all = entry(self._size.services + 1, self._size.endpoints)
        delta = TableDelta()
        table = DesiredTable(self._render, self._circumstances, delta.desired)
        self._place(table, [stands_for_all, *beside])
        self._place(table, (before for before, _ in changes))
        delta.settle()
        for before, after in changes:
            if before and not after:
                table.place(before.service.key, ())
        self._place(table, (after for _, after in changes))
        return str(change(_FAMILY, table.blocks, delta.difference()))

    def of_first_sync(self) -> list[Rival]:
        table = self._whole()
        return [_bare(str(whole_table(_FAMILY, table.blocks, table.contents())))]

    def of_restart(self) -> list[Rival]:
        table = self._whole()
        return [_bare(str(replace_all(_FAMILY, table.blocks, table.contents())))]

    def _whole(self) -> DesiredTable:
        table = DesiredTable(self._render, self._circumstances)
        store = filled_store(self._size)
        table.update(store, store.services, self._circumstances)
        return table

    def _place(self, table: DesiredTable, found: Iterable[Entry | None]) -> None:
        for each in found:
            if each:
                plans = plan_service(each.service, (each.slice,), self._circumstances.node)
                table.place(each.service.key, plans)


def _bare(text: str) -> Rival:
    return Rival("bare", partial(process.run, ["nft", "-f", "-"], stdin=text, timeout_s=_LONGEST_S))
