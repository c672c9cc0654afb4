"""The rules of iptables-nft as we left them: known without iptables-save, which takes minutes for 100,000 chains.

For each chain that was written, a record holds a digest of its text and a digest of what the kernel made of it. What
the kernel holds now is read chain by chain, 7 us each: the same bytes are the same rules, whoever wrote what in
between. The record is a file, so that an agent that starts again knows the rules of the one before.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from operator import itemgetter

from kproxy.errors import ProgramFailed
from kproxy.kernel.nfnetlink import Interrupted, patiently
from kproxy.kernel.nftables import RuleReader, chains, generation
from kproxy.kernel.record import Record
from kproxy.kernel.saved import TABLES, saved_chains
from kproxy.ruleset.chains import Chain, Ruleset
from kproxy.transaction.plan import Known, is_ours
from kproxy.transaction.transaction import Section, Transaction
from kproxy.values import Family

READABLE_CHAINS = 3000
"""In one table; iptables-nft-save 1.8.9 is quadratic: 0.1 s up to here, over 240 s for a hundred thousand."""

FEW_CHAINS = 1000
"""So many are written anew in less than a second."""

_CHAINS_A_LOOK = 10_000


class RecordedRules:
    """What the kernel holds of one family in iptables-nft's tables, in this thread's network namespace."""

    def __init__(self, family: Family, record: Record) -> None:
        self._family = family
        self._record = record
        self._program = "iptables-nft" if family is Family.IPV4 else "ip6tables-nft"
        self._by_others = 0
        self._was_sure = False
        self._round_began_at = 0
        self._looked_up_to = Chain("", "")

    def look(self, desired: Ruleset) -> Known:
        """Every chain named KUBE-..., and its rules if they are recorded as `desired` or are cheap to read."""
        by_others = self._count_others()
        is_sure = self._record.sure_at(self._family) == by_others
        as_recorded = self._as_recorded(desired)
        known = as_recorded if is_sure else self._confirmed(as_recorded)
        read = saved_chains(self._program, self._worth_reading(known))
        known |= read
        rows = self._as_rows(read)
        if self._count_others() == by_others:
            self._record.keep(self._family, rows)
            if not is_sure:
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
        """The same as far as the kernel bears it out."""
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
    def _worth_reading(known: Known) -> Iterator[str]:
        """The tables in which some rules are unknown, and which iptables-save reads in a moment."""
        for table in TABLES:
            rules = [rules for chain, rules in known.items() if chain.table == table]
            if None in rules and len(rules) <= READABLE_CHAINS:
                yield table

    def look_again(self, known: Known) -> Known:
        """The same for what is known; rules that somebody changed are None, and those that are not recorded.

        Looks at some chains more each time, until it has seen all since anybody else committed.
        """
        by_others = self._count_others()
        if by_others == self._record.sure_at(self._family):
            return known
        if not self._looked_up_to.name:
            self._round_began_at = by_others
        names = self._names()
        part = self._record.rows_after(self._family, self._looked_up_to, _CHAINS_A_LOOK)
        recorded, held_now = dict(part), self._held(chain for chain, _ in part)
        is_last = len(part) < _CHAINS_A_LOOK
        newest = {chain: known.get(chain) for chain in names}
        for chain in names:
            is_looked_at = chain > self._looked_up_to and (is_last or chain <= part[-1][0])
            if is_looked_at and (chain not in recorded or held_now[chain] != recorded[chain]):
                newest[chain] = None
        self._looked_up_to = Chain("", "") if is_last else part[-1][0]
        if is_last and self._round_began_at == self._count_others():
            self._make_sure(newest, by_others)
        return newest

    def _make_sure(self, known: Known, commits_of_others: int) -> None:
        """Rows for these chains and no others, blank for those whose rules are not known."""
        recorded = {chain for chain, _, _ in self._record.rows(self._family)}
        unknown = [chain for chain, rules in known.items() if rules is None or chain not in recorded]
        self._record.forget(self._family, recorded.difference(known))
        self._record.blank(self._family, unknown)
        self._record.make_sure(self._family, commits_of_others)

    def may_write_ahead(self) -> bool:
        """Whether new chains may be committed before all else is known: none of a Service is there, so nothing leads to any."""
        if self._record.rows_after(self._family, Chain("", ""), 1):
            return False
        return not any(map(is_ours, self._names()))

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

        If somebody else has committed since it began, what the kernel holds may be theirs. A few chains are then written
        anew at the next look; of many, those that show another's hand.
        """
        rows = self._as_rows(transaction.written)
        is_undisturbed = self._count_others() == self._by_others
        if not is_undisturbed:
            ours = self._untouched(transaction) if len(rows) > FEW_CHAINS else set()
            rows = [row for row in rows if row[0] in ours]
        self._record.keep(self._family, rows)
        if is_undisturbed and self._was_sure:
            self._record.make_sure(self._family, self._by_others)

    def _untouched(self, transaction: Transaction) -> set[Chain]:
        """The chains that hold nothing but the rules that were written."""
        with closing(RuleReader(self._family)) as reader:
            return {chain for section in transaction.sections for chain in _untouched(section, reader)}

    def _count_others(self) -> int:
        return generation() - self._record.commits

    def _as_rows(self, chains: Mapping[Chain, str]) -> list[tuple[Chain, bytes, bytes]]:
        held = self._held(chains)
        return [(chain, _digest(rules), held[chain]) for chain, rules in chains.items() if held[chain]]

    def _names(self) -> set[Chain]:
        return {
            chain
            for chain in chains(self._family)
            if chain.table in TABLES and chain.name.startswith("KUBE-")
        }

    def _held(self, chains: Iterable[Chain]) -> dict[Chain, bytes]:
        """What the kernel holds of each; nothing that equals anything where it is changed all the time."""
        held: dict[Chain, bytes] = {}
        with closing(RuleReader(self._family)) as reader:
            for chain in chains:
                try:
                    held[chain] = patiently(partial(reader.digest, chain))
                except Interrupted:
                    held[chain] = b""
                except OSError as refused:
                    raise ProgramFailed("the netlink dump of rules", refused.errno, str(refused)) from refused
        return held


def _untouched(section: Section, reader: RuleReader) -> set[Chain]:
    """The chains of a section whose rules have the handles that follow from its text.

    A section's rules get consecutive handles, in the order of its text; those that anybody else adds come before or after
    them all. Which one is the first of the section, most chains agree on. Only a rule replaced in its place keeps the handle.
    """
    first_by_chain: dict[Chain, int] = {}
    empty = set()
    rules_before = 0
    for chain, rules in section.written.items():
        count = rules.count("\n")
        handles = _handles(chain, reader)
        if handles == [] and not count:
            empty.add(chain)
        elif handles and handles == [*range(handles[0], handles[0] + count)]:
            first_by_chain[chain] = handles[0] - rules_before
        rules_before += count
    usual = max(Counter(first_by_chain.values()).items(), key=itemgetter(1), default=(0, 0))[0]
    return empty | {chain for chain, first in first_by_chain.items() if first == usual}


def _handles(chain: Chain, reader: RuleReader) -> list[int] | None:
    """None where they are changed right now."""
    try:
        return reader.handles(chain)
    except Interrupted:
        return None


def _digest(rules: str) -> bytes:
    return hashlib.blake2b(rules.encode(), digest_size=8).digest()
