"""A small database of what was applied: it survives the process, not the machine."""

import logging
import socket
import sqlite3
import struct
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from kproxy.errors import EnvironmentLacking
from kproxy.ruleset.chains import Chain
from kproxy.values import Family

_log = logging.getLogger(__name__)

_WAIT_S = 1.0
"""For an agent that is just ending to let go of the file."""

_SO_NETNS_COOKIE = 71
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SCHEMA = """
create table if not exists node (boot text, namespace integer, commits integer);
create table if not exists sure (family text primary key, commits_of_others integer);
create table if not exists chain (
    family text, kernel_table text, name text, applied blob, held blob,
    primary key (family, kernel_table, name)
) without rowid;
"""


class Record:
    """Digests by family and chain, in a file. One of another boot or network namespace counts as empty.

    It also counts the commits that surely were ours, of both families: the kernel's own count goes beyond by those of others.
    Rows of a family are sure as long as that difference is what it was when they were last compared with the kernel:
    then there is one for each chain named KUBE-..., and what it says is so.
    """

    def __init__(self, path: Path | None) -> None:
        """None: kept in memory, and so for this process alone. EnvironmentLacking if the file cannot be used."""
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
            for table in ("chain", "sure", "node"):
                self.file.execute(f"delete from {table}")  # noqa: S608 # no text of others
            self.file.execute("insert into node values (?, ?, 0)", here)

    def close(self) -> None:
        self.file.close()

    @property
    def commits(self) -> int:
        (commits,) = self.file.execute("select commits from node").fetchone()
        return int(commits)

    def count_commits(self, more: int) -> None:
        self._write("update node set commits = commits + ?", [(more,)])

    def sure_at(self, family: Family) -> int | None:
        """How many commits of others there were when the family's rows were compared; None if they never were."""
        found = self.file.execute("select commits_of_others from sure where family = ?", (family,)).fetchone()
        return None if found is None else int(found[0])

    def make_sure(self, family: Family, commits_of_others: int) -> None:
        self._write("insert or replace into sure values (?, ?)", [(family, commits_of_others)])

    def make_unsure(self, family: Family) -> None:
        self._write("delete from sure where family = ?", [(family,)])

    def forget(self, family: Family, chains: Collection[Chain]) -> None:
        if chains and self.rows_after(family, Chain("", ""), 1):
            self._write(
                "delete from chain where family = ? and kernel_table = ? and name = ?",
                ((family, *chain) for chain in chains),
            )

    def blank(self, family: Family, chains: Iterable[Chain]) -> None:
        """These are there, and nothing is known of what they hold."""
        self.keep(family, ((chain, b"", b"") for chain in chains))

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

    def _write(self, statement: str, rows: Iterable[tuple[str | bytes | int, ...]]) -> None:
        try:
            self.file.execute("begin")
            self.file.executemany(statement, rows)
            self.file.execute("commit")
        except sqlite3.Error as failed:  # a full disk, say; rules matter more than the record of them
            _log.warning("what is applied is no longer recorded: %s", failed)
            self.close()
            self._open(None)


def _namespace() -> int:
    """A number that no other network namespace of this boot has or had (Linux 5.12)."""
    with socket.socket() as asked:
        return int(struct.unpack("=Q", asked.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0])
