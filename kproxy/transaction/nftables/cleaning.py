"""The removal of a service proxy's tables in nftables mode: a table goes with all that is in it."""

from dataclasses import dataclass

from kproxy.ruleset.nftables.table import FAMILY_WORD
from kproxy.values import Family


@dataclass(frozen=True, slots=True)
class TablesCleaning:
    """The removal of whole tables of one family; `str()` is a text for `nft -f`."""

    family: Family
    tables: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.tables)

    def __str__(self) -> str:
        return "".join(f"delete table {FAMILY_WORD[self.family]} {table}\n" for table in self.tables)
