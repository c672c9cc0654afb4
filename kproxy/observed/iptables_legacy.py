"""The rules of iptables-legacy, as iptables-save prints them: one read of a table costs less than a write."""

from collections.abc import Callable, Iterable
from functools import partial

from kproxy import process
from kproxy.observed.iptables_kernel import Differences
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import TABLES, Ruleset, parse_chains
from kproxy.ruleset.iptables.ownership import PREFIX
from kproxy.transaction.iptables.plan import Known
from kproxy.transaction.iptables.transaction import Section, Transaction
from kproxy.values import Family

_LONGEST_S = 600.0
_OURS = ("*", f":{PREFIX}", f"-A {PREFIX}")


class LegacyChains:
    """One family's chains in the legacy tables, in this thread's network namespace; see `KernelChains`.

    Nobody counts commits there, so nothing can be relied on: each look and each verification reads all.
    """

    def __init__(self, family: Family, saved: Callable[[], Ruleset] | None = None) -> None:
        """`saved` reads all chains named KUBE-... in place of iptables-legacy-save."""
        program = "iptables-legacy" if family is Family.IPV4 else "ip6tables-legacy"
        self._saved = saved or partial(saved_chains, program, TABLES)

    def holds_no_service(self) -> bool:
        """Each COMMIT replaces a whole table, so it does not help to know."""
        return False

    def look(self, _desired: Ruleset) -> Known:
        return self._saved()

    def verify(self, observed: Known) -> Differences:
        saved = self._saved()
        otherwise = {
            chain: rules
            for chain, rules in saved.items()
            if chain not in observed or observed[chain] != rules
        }
        return Differences(otherwise, {chain for chain in observed if chain not in saved}, is_complete=True)

    def begin(self) -> None:
        """Nothing is remembered that could become wrong."""

    def about_to_write(self, section: Section) -> None:
        """Nothing is remembered of its chains."""

    def wrote(self, transaction: Transaction) -> None:
        """Nobody counts commits."""

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
