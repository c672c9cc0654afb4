"""The rules of iptables-legacy, as iptables-save prints them: one read of a table costs less than a write."""

from collections.abc import Callable, Collection, Iterable
from functools import partial

from kproxy import process
from kproxy.kernel.programs import legacy_tables
from kproxy.observed.iptables_kernel import Differences
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import TABLES, Ruleset, parse_chains
from kproxy.ruleset.iptables.ownership import PREFIX, is_of_a_service
from kproxy.transaction.iptables.plan import Known
from kproxy.transaction.iptables.transaction import Section, Transaction
from kproxy.values import Family

_LONGEST_S = 600.0
_MOST_BYTES = 1 << 20
"""A thousand rules or more: on such a node, it is likely that some are of Services, and to read them takes time."""

_OURS = ("*", f":{PREFIX}", f"-A {PREFIX}")


class LegacyChains:
    """One family's chains in the legacy tables, in this thread's network namespace; see `KernelChains`.

    Nobody counts commits there, so nothing can be relied on: each look and each verification reads all.
    """

    def __init__(
        self,
        family: Family,
        saved: Callable[[], Ruleset] | None = None,
        few_names: Callable[[], Collection[Chain] | None] | None = None,
    ) -> None:
        """`saved` stands in for iptables-legacy-save, and `few_names` for `few_chain_names`."""
        program = "iptables-legacy" if family is Family.IPV4 else "ip6tables-legacy"
        self._saved = saved or partial(saved_chains, program, TABLES)
        self._few_names = few_names or partial(few_chain_names, family)

    def holds_no_service(self) -> bool:
        names = self._few_names()
        return names is not None and not any(map(is_of_a_service, names))

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


def few_chain_names(family: Family) -> list[Chain] | None:
    """The chains of nat; None where there are many rules, or where we may not ask."""
    try:
        if legacy_tables.size(family, "nat") > _MOST_BYTES:
            return None
        return [Chain("nat", name) for name in legacy_tables.chain_names(family, "nat")]
    except OSError:
        return None


def saved_chains(program: str, tables: Iterable[str]) -> dict[Chain, str]:
    """The chains of these tables named KUBE-...; lines of others, whatever their comments hold, are passed over."""
    chains: dict[Chain, str] = {}
    for table in tables:
        saved = process.run([f"{program}-save", "-t", table], timeout_s=_LONGEST_S)
        lines = (line for line in saved.split("\n") if line.startswith(_OURS))
        # iptables-save prints two blanks after --nfacct-name; restore takes one
        chains.update(parse_chains("\n".join(lines).replace("--nfacct-name  ", "--nfacct-name ")))
    return chains
