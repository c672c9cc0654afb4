"""The rules of iptables-nft as we left them, known without reading their text.

For each chain whose rules are known, a record holds a digest of their text and a digest of the kernel's own bytes. The
kernel's bytes are read chain by chain, 7 us each: the same bytes are the same rules, also if others wrote them. The
record is a file, so that an agent that starts again knows the rules of the one before. The text of a chain is read,
0.1 ms each, where the record does not tell: it has no row of the chain, or another digest.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from heapq import nsmallest

from kproxy.kernel.netlink.chains import RuleReader, chains, generation
from kproxy.kernel.netlink.nfnetlink import Interrupted, patiently, refusal
from kproxy.kernel.programs.listing import listed_chains
from kproxy.observed.iptables_legacy import TABLES
from kproxy.observed.record import Record
from kproxy.ruleset.chain import Chain
from kproxy.ruleset.iptables.chains import Ruleset
from kproxy.ruleset.iptables.ownership import is_of_a_service, may_be_ours
from kproxy.transaction.iptables.plan import Known
from kproxy.transaction.iptables.transaction import Section, Transaction
from kproxy.values import Family

_CHAINS_A_LOOK = 10_000
"""Reading the text of so many takes a second, their digests a tenth of that."""

_NO_CHAIN = Chain("", "")
"""It comes before all others."""


class RecordedRules:
    """The rules that the kernel holds of one family in iptables-nft's tables, in this thread's network namespace."""

    def __init__(self, family: Family, record: Record) -> None:
        self._family = family
        self._record = record
        self._program = "iptables-nft" if family is Family.IPV4 else "ip6tables-nft"
        self._by_others = 0
        self._was_sure = False
        self._round_began_at: int | None = None
        self._looked_up_to = _NO_CHAIN

    def look(self, desired: Ruleset) -> Known:
        """Every chain named KUBE-..., with its rules; None if it is to go, or cannot be read."""
        by_others = self._count_others()
        as_recorded = self._as_recorded(desired)
        # asked after the rows: if these cannot be read, the record is begun anew, and is sure of nothing
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
        """The same, with None for the rules that the kernel no longer holds as they were recorded."""
        known: dict[Chain, str | None] = dict.fromkeys(self._names())
        claimed = {
            chain: held
            for chain, _, held in self._record.rows(self._family)
            if chain in known and recorded[chain] is not None
        }
        held_now = self._held(claimed)
        known.update((chain, recorded[chain]) for chain, held in claimed.items() if held == held_now[chain])
        return known

    @staticmethod
    def _in_pieces(of: Collection[Chain]) -> Iterator[list[Chain]]:
        ordered = sorted(of)
        return (ordered[at : at + _CHAINS_A_LOOK] for at in range(0, len(ordered), _CHAINS_A_LOOK))

    def look_again(self, known: Known) -> Known:
        """The same for the known chains, with the rules of those that others changed; None if these cannot be read.

        A chain that the record does not tell about is read. Until that succeeds, it counts as unchanged. Looks at some
        chains more each time, until it has seen all since anybody else committed.
        """
        by_others = self._count_others()
        if by_others == self._record.sure_at(self._family):
            return known
        if not self._looked_up_to.name:
            self._round_began_at = by_others
        names = self._names()
        part = nsmallest(_CHAINS_A_LOOK, (chain for chain in names if chain > self._looked_up_to))
        newest = {chain: known.get(chain) for chain in names}
        newest.update(_shared_with(known, self._doubted(part)))
        is_last = len(part) < _CHAINS_A_LOOK
        self._looked_up_to = _NO_CHAIN if is_last else part[-1]
        if is_last and self._round_began_at == self._count_others():
            self._make_sure(newest, by_others)
        return newest

    def _doubted(self, part: Collection[Chain]) -> dict[Chain, str | None]:
        """The rules of those chains that do not hold the bytes that the record has of them."""
        recorded = dict(self._record.rows_after(self._family, self._looked_up_to, _CHAINS_A_LOOK))
        held = self._held(part)
        doubted = [chain for chain in part if not held[chain] or held[chain] != recorded.get(chain)]
        found: dict[Chain, str | None] = dict(self._read(doubted))
        unread = [chain for chain in doubted if chain not in found]
        found.update({chain: None for chain in unread if held[chain] and recorded.get(chain)})
        if unread:
            self._round_began_at = None
        return found

    def _read(self, of: Collection[Chain]) -> dict[Chain, str | None]:
        """The rules of these chains; they are recorded where nobody changed them meanwhile."""
        if not of:
            return {}
        before = self._held(of)
        found = listed_chains(self._program, list(of))
        after = self._held(chain for chain, rules in found.items() if rules is not None)
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

    def may_write_ahead(self) -> bool:
        """Whether new chains may be committed before all else is known: none of a Service is there, so nothing leads to any."""
        if self._record.rows_after(self._family, _NO_CHAIN, 1):
            return False
        return not any(map(is_of_a_service, self._names()))

    def begins(self) -> None:
        """Something is going to be written; until it is recorded, nobody is sure of anything."""
        self._by_others = self._count_others()
        self._was_sure = self._record.sure_at(self._family) == self._by_others
        self._record.make_unsure(self._family)

    def before(self, section: Section) -> None:
        """Its chains are going to change, to come or to go."""
        self._record.forget(self._family, (*section.written, *section.edited, *section.deleted))

    def took_effect(self, transaction: Transaction) -> None:
        self._record.count_commits(sum(section.changes_rules for section in transaction.sections))

    def record(self, transaction: Transaction) -> None:
        """It took effect, some time ago.

        If somebody else has committed since it began, what the kernel holds may be theirs; the next look reads these
        chains.
        """
        if self._count_others() != self._by_others:
            return
        rows = self._as_rows(transaction.written)
        is_undisturbed = self._count_others() == self._by_others
        if is_undisturbed:
            self._record.keep(self._family, rows)
        if is_undisturbed and self._was_sure:
            self._record.make_sure(self._family, self._by_others)

    def _count_others(self) -> int:
        return generation() - self._record.commits

    def _as_rows(self, chains: Mapping[Chain, str]) -> list[tuple[Chain, bytes, bytes]]:
        held = self._held(chains)
        return [(chain, _digest(rules), held[chain]) for chain, rules in chains.items() if held[chain]]

    def _names(self) -> set[Chain]:
        return {chain for chain in chains(self._family) if chain.table in TABLES and may_be_ours(chain)}

    def _held(self, chains: Iterable[Chain]) -> dict[Chain, bytes]:
        """The digest of the bytes that the kernel holds of each; empty for a chain that others change all the time."""
        held: dict[Chain, bytes] = {}
        with closing(RuleReader(self._family)) as reader:
            for chain in chains:
                try:
                    held[chain] = patiently(partial(reader.content, chain))
                except Interrupted:
                    held[chain] = b""
                except OSError as refused:
                    raise refusal("the list of rules", refused) from refused
        return held


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
