"""The rules of iptables-legacy, as iptables-save prints them: one read of a table costs less than a write."""

from collections.abc import Iterable

from kproxy import process
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import Ruleset, parse_chains
from kproxy.ruleset.iptables.ownership import PREFIX
from kproxy.transaction.iptables.plan import Known
from kproxy.transaction.iptables.transaction import Section, Transaction
from kproxy.values import Family

TABLES = ("filter", "nat")

_LONGEST_S = 600.0
_OURS = ("*", f":{PREFIX}", f"-A {PREFIX}")


class SavedRules:
    """What the kernel holds of one family in the legacy tables, in this thread's network namespace."""

    def __init__(self, family: Family) -> None:
        self._program = "iptables-legacy" if family is Family.IPV4 else "ip6tables-legacy"

    def look(self, _desired: Ruleset) -> Known:
        """Every chain named KUBE-... with its rules."""
        return saved_chains(self._program, TABLES)

    def look_again(self, _known: Known) -> Known:
        return saved_chains(self._program, TABLES)

    def may_write_ahead(self) -> bool:
        """Each COMMIT replaces a whole table."""
        return False

    def begins(self) -> None:
        """Nothing is remembered that could become wrong."""

    def before(self, section: Section) -> None:
        """The same."""

    def took_effect(self, transaction: Transaction) -> None:
        """Nothing need be counted."""

    def record(self, transaction: Transaction) -> None:
        """Nothing need be remembered."""


def saved_chains(program: str, tables: Iterable[str]) -> dict[Chain, str]:
    """The chains of these tables named KUBE-...; lines of others, whatever their comments hold, are passed over."""
    chains: dict[Chain, str] = {}
    for table in tables:
        saved = process.run([f"{program}-save", "-t", table], timeout_s=_LONGEST_S)
        lines = (line for line in saved.split("\n") if line.startswith(_OURS))
        # iptables-save prints two blanks after --nfacct-name; restore takes one
        chains.update(parse_chains("\n".join(lines).replace("--nfacct-name  ", "--nfacct-name ")))
    return chains
