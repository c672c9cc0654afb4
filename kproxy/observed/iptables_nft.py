"""The rules of iptables-nft as we left them, known without reading their text.

For each chain whose rules are known, a record holds a digest of their text and a digest of the kernel's own bytes. The
kernel's bytes are read chain by chain, 7 us each: the same bytes are the same rules, also if others wrote them. The
record is a file, so that an agent that starts again knows the rules of the one before. The text of a chain is read,
0.1 ms each, where the record does not tell: see `Evidence` for the three cases.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from heapq import nsmallest
from typing import Protocol

from kproxy.observed.iptables_kernel import Differences
from kproxy.observed.iptables_reads import NftReads
from kproxy.observed.record import Record
from kproxy.observed.states import Evidence, weigh
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import Ruleset
from kproxy.ruleset.iptables.ownership import is_of_a_service
from kproxy.transaction.iptables.plan import Known
from kproxy.transaction.iptables.transaction import Section, Transaction
from kproxy.values import Family

_CHAINS_A_LOOK = 10_000
"""Reading the text of so many takes a second, their digests a tenth of that."""

_NO_CHAIN = Chain("", "")
"""It comes before all others."""


class Reads(Protocol):
    """The kernel, as `NftReads` reads it; there each method says what it answers."""

    def commits(self) -> int: ...
    def names(self) -> set[Chain]: ...
    def digests(self, of: Iterable[Chain]) -> dict[Chain, bytes]: ...
    def texts(self, of: Collection[Chain]) -> dict[Chain, str | None]: ...


class NftChains:
    """One family's chains in iptables-nft's tables; see `KernelChains`.

    The kernel counts the commits of all programs, and the record counts ours. While their difference stays at the value
    that it had when all chains were compared, nobody else has committed, and no rule is read.
    """

    def __init__(self, family: Family, record: Record, kernel: Reads | None = None) -> None:
        self._family = family
        self._record = record
        self._kernel = kernel or NftReads(family)
        self._by_others = 0
        self._was_sure = False
        self._round_began_at: int | None = None
        self._looked_up_to = _NO_CHAIN

    def look(self, desired: Ruleset) -> Known:
        by_others = self._count_others()
        as_recorded = self._as_recorded(desired)
        # asked after the rows: if these cannot be read, the record starts empty, and is sure of nothing
        is_sure = self._record.sure_at(self._family) == by_others
        known = as_recorded if is_sure else self._confirmed(as_recorded)
        for piece in self._in_pieces(_unknown(known, desired)):
            known.update(_shared_with(desired, self._read(piece)))
        if not is_sure and self._count_others() == by_others:
            self._make_sure(known, by_others)
        return known

    def _as_recorded(self, desired: Ruleset) -> dict[Chain, str | None]:
        """The chains that were there; their rules where those that were applied are the desired ones."""
        known: dict[Chain, str | None] = {}
        for chain, applied, _ in self._record.rows(self._family):
            rules = desired.get(chain)
            known[chain] = rules if rules is not None and applied == _digest(rules) else None
        return known

    def _confirmed(self, recorded: Known) -> dict[Chain, str | None]:
        """The chains that are there now; their rules where the kernel holds the recorded bytes, else None."""
        known: dict[Chain, str | None] = dict.fromkeys(self._kernel.names())
        claimed = {
            chain: held
            for chain, _, held in self._record.rows(self._family)
            if chain in known and recorded[chain] is not None
        }
        held_now = self._kernel.digests(claimed)
        known.update((chain, recorded[chain]) for chain, held in claimed.items() if held == held_now[chain])
        return known

    @staticmethod
    def _in_pieces(of: Collection[Chain]) -> Iterator[list[Chain]]:
        ordered = sorted(of)
        return (ordered[at : at + _CHAINS_A_LOOK] for at in range(0, len(ordered), _CHAINS_A_LOOK))

    def verify(self, observed: Known) -> Differences | None:
        """As `KernelChains`. Each time some chains more are compared, until all were since anybody else committed."""
        by_others = self._count_others()
        if by_others == self._record.sure_at(self._family):
            return None
        if not self._looked_up_to.name:
            self._round_began_at = by_others
        names = self._kernel.names()
        part = nsmallest(_CHAINS_A_LOOK, (chain for chain in names if chain > self._looked_up_to))
        holds: dict[Chain, str | None] = {chain: None for chain in names if chain not in observed}
        holds.update(self._otherwise(part))
        is_last = len(part) < _CHAINS_A_LOOK
        self._looked_up_to = _NO_CHAIN if is_last else part[-1]
        is_complete = is_last and self._round_began_at == self._count_others()
        if is_complete:
            newest = {chain: holds[chain] if chain in holds else observed[chain] for chain in names}
            self._make_sure(newest, by_others)
        otherwise = {
            chain: rules
            for chain, rules in holds.items()
            if chain not in observed or observed[chain] != rules
        }
        return Differences(otherwise, {chain for chain in observed if chain not in names}, is_complete)

    def _otherwise(self, part: Collection[Chain]) -> dict[Chain, str | None]:
        """The rules of those chains that do not hold the bytes that the record has of them.

        None for a chain that others changed, and whose rules cannot be read. If the rules of any chain cannot be read,
        the round of looks is not complete.
        """
        recorded = dict(self._record.rows_after(self._family, self._looked_up_to, _CHAINS_A_LOOK))
        held = self._kernel.digests(part)
        evidence = {chain: weigh(recorded.get(chain), held[chain]) for chain in part}
        unproven = [chain for chain, weight in evidence.items() if weight is not Evidence.EQUAL]
        found: dict[Chain, str | None] = dict(self._read(unproven))
        unread = [chain for chain in unproven if chain not in found]
        found.update({chain: None for chain in unread if evidence[chain] is Evidence.CHANGED})
        if unread:
            self._round_began_at = None
        return found

    def _read(self, of: Collection[Chain]) -> dict[Chain, str | None]:
        """The rules of these chains; they are recorded where nobody changed them meanwhile."""
        if not of:
            return {}
        before = self._kernel.digests(of)
        found = self._kernel.texts(of)
        after = self._kernel.digests(chain for chain, rules in found.items() if rules is not None)
        self._record.keep(
            self._family,
            [
                (chain, _digest(rules), after[chain])
                for chain, rules in found.items()
                if rules is not None and after[chain] and after[chain] == before[chain]
            ],
        )
        return found

    def _make_sure(self, known: Known, commits_of_others: int) -> None:
        """Rows for these chains and no others, blank for those whose rules are not known."""
        recorded = {chain for chain, _, _ in self._record.rows(self._family)}
        unknown = [chain for chain, rules in known.items() if rules is None or chain not in recorded]
        self._record.forget(self._family, recorded.difference(known))
        self._record.blank(self._family, unknown)
        self._record.make_sure(self._family, commits_of_others)

    def holds_no_service(self) -> bool:
        if self._record.rows_after(self._family, _NO_CHAIN, 1):
            return False
        return not any(map(is_of_a_service, self._kernel.names()))

    def begin(self) -> None:
        """Until the write is recorded, nobody is sure of anything."""
        self._by_others = self._count_others()
        self._was_sure = self._record.sure_at(self._family) == self._by_others
        self._record.make_unsure(self._family)

    def about_to_write(self, section: Section) -> None:
        self._record.forget(self._family, (*section.written, *section.edited, *section.deleted))

    def wrote(self, transaction: Transaction) -> None:
        self._record.count_commits(sum(section.changes_rules for section in transaction.sections))

    def record(self, transaction: Transaction) -> None:
        """Nothing is recorded if somebody else has committed since the write began: the rules may be theirs."""
        if self._count_others() != self._by_others:
            return
        rows = self._as_rows(transaction.written)
        is_undisturbed = self._count_others() == self._by_others
        if is_undisturbed:
            self._record.keep(self._family, rows)
        if is_undisturbed and self._was_sure:
            self._record.make_sure(self._family, self._by_others)

    def _count_others(self) -> int:
        return self._kernel.commits() - self._record.commits

    def _as_rows(self, chains: Mapping[Chain, str]) -> list[tuple[Chain, bytes, bytes]]:
        held = self._kernel.digests(chains)
        return [(chain, _digest(rules), held[chain]) for chain, rules in chains.items() if held[chain]]


def _unknown(known: Known, desired: Ruleset) -> list[Chain]:
    """The chains whose rules are worth reading: those of a Service that is gone are deleted, whatever they hold."""
    return [
        chain
        for chain, rules in known.items()
        if rules is None and (chain in desired or not is_of_a_service(chain))
    ]


def _shared_with(wanted: Known, read: Known) -> dict[Chain, str | None]:
    """The same texts; where they are equal to a wanted one, they are held once."""
    return {chain: wanted[chain] if wanted.get(chain) == rules else rules for chain, rules in read.items()}


def _digest(rules: str) -> bytes:
    return hashlib.blake2b(rules.encode(), digest_size=8).digest()
