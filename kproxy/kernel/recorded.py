"""The rules of iptables-nft as we left them: known without iptables-save, which takes minutes for 100,000 chains.

For each chain that was written, a record holds a digest of its text and a digest of what the kernel made of it. What
the kernel holds now is read chain by chain, 7 us each: the same bytes are the same rules, whoever wrote what in
between. The record is a file, so that an agent that starts again knows the rules of the one before.
"""

import hashlib
import logging
import socket
import sqlite3
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from operator import itemgetter
from pathlib import Path

from kproxy.errors import EnvironmentLacking, ProgramFailed
from kproxy.kernel.nfnetlink import Interrupted
from kproxy.kernel.nftables import RuleReader, chain_names, generation
from kproxy.kernel.saved import saved_chains
from kproxy.ruleset.chains import Chain, Ruleset
from kproxy.transaction.plan import Known
from kproxy.transaction.transaction import Section, Transaction
from kproxy.values import Family

READABLE_CHAINS = 3000
"""iptables-nft-save 1.8.9 is quadratic: 0.1 s up to here, over 240 s for a hundred thousand."""

FEW_CHAINS = 1000
"""So many are written anew in less than a second."""

_log = logging.getLogger(__name__)

_TABLES = ("filter", "nat")
_CHAINS_A_LOOK = 10_000
_WAIT_S = 1.0
"""For an agent that is just ending to let go of the file."""

_SO_NETNS_COOKIE = 71
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SCHEMA = """
create table if not exists node (boot text, namespace integer);
create table if not exists chain (
    family text, kernel_table text, name text, applied blob, held blob,
    primary key (family, kernel_table, name)
) without rowid;
"""


class Record:
    """Digests by family and chain, in a file. One of another boot or network namespace counts as empty.

    `commits` counts what this process surely wrote of both families: the kernel's count of changes goes beyond by those of others.
    """

    def __init__(self, path: Path | None) -> None:
        """None: kept in memory, and so for this process alone. EnvironmentLacking if the file cannot be used."""
        self.commits = 0
        try:
            self._open_or_begin_anew(path)
        except (OSError, sqlite3.Error) as failed:
            raise EnvironmentLacking(f"{path} cannot be used: {failed}") from failed

    def _open_or_begin_anew(self, path: Path | None) -> None:
        try:
            self._open(path)
        except sqlite3.OperationalError:  # locked, or not to be opened: no matter of what is in it
            raise
        except sqlite3.DatabaseError as damaged:
            _log.warning("%s is begun anew: %s", path, damaged)
            self.close()
            for suffix in ("", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            self._open(path)

    def _open(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.file = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=_WAIT_S)
        self.file.execute("pragma locking_mode = exclusive")
        self.file.execute("pragma journal_mode = wal")
        self.file.execute("pragma synchronous = off")  # it need not outlive the machine
        self.file.executescript(_SCHEMA)
        (found,) = self.file.execute("pragma quick_check(1)").fetchone()  # 0.03 s for 100,000 chains
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        here = _BOOT_ID.read_text().strip(), _namespace()
        if here != self.file.execute("select boot, namespace from node").fetchone():
            self.file.execute("delete from chain")
            self.file.execute("delete from node")
            self.file.execute("insert into node values (?, ?)", here)

    def close(self) -> None:
        self.file.close()

    def forget(self, family: Family, chains: Iterable[Chain]) -> None:
        self._write(
            "delete from chain where family = ? and kernel_table = ? and name = ?",
            ((family, *chain) for chain in chains),
        )

    def keep(self, family: Family, rows: Iterable[tuple[Chain, bytes, bytes]]) -> None:
        self._write(
            "insert or replace into chain values (?, ?, ?, ?, ?)",
            ((family, *chain, applied, held) for chain, applied, held in rows),
        )

    def rows(self, family: Family) -> Iterator[tuple[Chain, bytes, bytes]]:
        """Each chain with the digest of its text and of what the kernel held."""
        found = self.file.execute(
            "select kernel_table, name, applied, held from chain where family = ?", (family,)
        )
        return ((Chain(table, name), applied, held) for table, name, applied, held in found)

    def rows_after(self, family: Family, chain: Chain, count: int) -> list[tuple[Chain, bytes]]:
        """The next chains in order, with the digest of what the kernel held."""
        found = self.file.execute(
            "select kernel_table, name, held from chain where family = ? and (kernel_table, name) > (?, ?) "
            "order by kernel_table, name limit ?",
            (family, *chain, count),
        )
        return [(Chain(table, name), held) for table, name, held in found]

    def _write(self, statement: str, rows: Iterable[tuple[str | bytes, ...]]) -> None:
        try:
            self.file.execute("begin")
            self.file.executemany(statement, rows)
            self.file.execute("commit")
        except sqlite3.Error as failed:  # a full disk, say; rules matter more than the record of them
            _log.warning("what is applied is no longer recorded: %s", failed)
            self.close()
            self._open(None)


class RecordedRules:
    """What the kernel holds of one family in iptables-nft's tables, in this thread's network namespace."""

    def __init__(self, family: Family, record: Record) -> None:
        self._family = family
        self._record = record
        self._program = "iptables-nft" if family is Family.IPV4 else "ip6tables-nft"
        self._settled: int | None = None
        self._by_others = 0
        self._looked_up_to = Chain("", "")

    def look(self, desired: Ruleset) -> Known:
        """Every chain named KUBE-..., and its rules if they are recorded as `desired` or are cheap to read."""
        names = self._names()
        recorded = {
            chain: held
            for chain, applied, held in self._record.rows(self._family)
            if chain in names and applied == _digest(desired.get(chain, ""))
        }
        held_now = self._held(recorded)
        same = {chain for chain, held in recorded.items() if held == held_now[chain] and chain in desired}
        known: dict[Chain, str | None] = {chain: desired[chain] if chain in same else None for chain in names}
        if None in known.values() and len(names) <= READABLE_CHAINS:
            before = self._count_others()
            read = saved_chains(self._program)
            known |= read
            rows = self._as_rows(read)
            if self._count_others() == before:
                self._record.keep(self._family, rows)
        return known

    def look_again(self, known: Known) -> Known:
        """The same for what is known; rules that somebody changed are None, and those that are not recorded.

        Looks at some chains more each time.
        """
        by_others = self._count_others()
        if by_others == self._settled:
            return known
        names = self._names()
        newest = {chain: known.get(chain) for chain in names}
        part = self._record.rows_after(self._family, self._looked_up_to, _CHAINS_A_LOOK)
        recorded, held_now = dict(part), self._held(chain for chain, _ in part)
        is_last = len(part) < _CHAINS_A_LOOK
        looked_at = (
            chain for chain in names if chain > self._looked_up_to and (is_last or chain <= part[-1][0])
        )
        newest.update(
            {
                chain: None
                for chain in looked_at
                if chain not in recorded or held_now[chain] != recorded[chain]
            }
        )
        self._looked_up_to = Chain("", "") if is_last else part[-1][0]
        if is_last and newest == known:
            self._settled = by_others
        return newest

    def before(self, transaction: Transaction) -> None:
        """Its chains are going to change; until it is recorded, nothing is known of them."""
        self._by_others = self._count_others()
        self._record.forget(self._family, (*transaction.written, *transaction.deleted))

    def took_effect(self, transaction: Transaction) -> None:
        self._record.commits += sum(section.changes_rules for section in transaction.sections)

    def record(self, transaction: Transaction) -> None:
        """It took effect, some time ago.

        If somebody else has committed since it began, what the kernel holds may be theirs. A few chains are then written
        anew at the next look; of many, those that show another's hand.
        """
        rows = self._as_rows(transaction.written)
        if self._count_others() != self._by_others:
            ours = self._untouched(transaction) if len(rows) > FEW_CHAINS else set()
            rows = [row for row in rows if row[0] in ours]
        self._record.keep(self._family, rows)

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
            Chain(table, name)
            for table in _TABLES
            for name in chain_names(self._family, table)
            if name.startswith("KUBE-")
        }

    def _held(self, chains: Iterable[Chain]) -> dict[Chain, bytes]:
        """What the kernel holds of each; nothing that equals anything where it is changed right now."""
        held: dict[Chain, bytes] = {}
        with closing(RuleReader(self._family)) as reader:
            for chain in chains:
                try:
                    held[chain] = reader.digest(chain)
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


def _namespace() -> int:
    """A number that no other network namespace of this boot has or had (Linux 5.12)."""
    with socket.socket() as asked:
        return int(struct.unpack("=Q", asked.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0])
