"""A small database of what was applied: it survives the process, not the machine."""

import logging
import socket
import sqlite3
import struct
import warnings
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from kproxy.errors import EnvironmentLacking
from kproxy.ruleset.chain import Chain
from kproxy.values import Family

_log = logging.getLogger(__name__)

_WAIT_S = 1.0
"""For an agent that is just ending to let go of the file."""

_SO_NETNS_COOKIE = 71
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_VERSION = 1
"""The version of the tables and of the meaning of their values. Raise it with either: older records are replaced by empty ones."""

_TABLES = {
    "node": """CREATE TABLE node (
    boot text not null check (typeof(boot) = 'text'),
    namespace integer not null check (typeof(namespace) = 'integer'),
    commits integer not null check (typeof(commits) = 'integer' and commits >= 0)
)""",
    "sure": """CREATE TABLE sure (
    family text primary key not null check (typeof(family) = 'text'),
    commits_of_others integer not null check (typeof(commits_of_others) = 'integer')
)""",
    "chain": """CREATE TABLE chain (
    family text not null check (typeof(family) = 'text'),
    kernel_table text not null check (typeof(kernel_table) = 'text'),
    name text not null check (typeof(name) = 'text'),
    applied blob not null check (typeof(applied) = 'blob'),
    held blob not null check (typeof(held) = 'blob'),
    primary key (family, kernel_table, name)
) without rowid""",
}
"""As sqlite keeps them in its schema. With the checks, its quick_check finds values of another type."""

_UNREADABLE = (sqlite3.Error, ValueError, TypeError, OverflowError)
_Value = str | bytes | int


class Record:
    """Digests by family and chain, in a file. One of another boot or network namespace counts as empty.

    It also counts the commits that surely were ours, of both families: the kernel's own count goes beyond by those of others.
    Rows of a family are sure as long as that difference is the one at which they were last compared with the kernel:
    then there is one for each chain named KUBE-..., and its digests are true.

    A file that cannot be read or written, at any moment, is replaced by an empty one. If that fails
    too, it is kept in memory. Its owner closes it.
    """

    def __init__(self, path: Path | None) -> None:
        """None: kept in memory, and so for this process alone. EnvironmentLacking if the file cannot be used."""
        self._path = path
        self._is_open = self._was_begun_anew = False
        try:
            self._open_or_begin_anew()
        except (OSError, *_UNREADABLE) as failed:
            raise EnvironmentLacking(f"{path} cannot be used: {failed}") from failed

    def _open_or_begin_anew(self) -> None:
        try:
            self._open()
        except _UNREADABLE as unreadable:
            if self._path is None or _is_locked(unreadable):
                raise
            self._begin_anew(unreadable)

    def _open(self) -> None:
        here = ("", 0) if self._path is None else _this_boot_and_namespace()
        if self._path is not None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = sqlite3.connect(self._path or ":memory:", isolation_level=None, timeout=_WAIT_S)
        self._is_open = True
        try:
            self._prepare(here)
        except BaseException:
            self.close()
            raise

    def _prepare(self, here: tuple[str, int]) -> None:
        self._file.execute("pragma locking_mode = exclusive")
        self._file.execute("pragma journal_mode = wal")
        self._file.execute("pragma synchronous = off")  # it need not outlive the machine
        (version,) = self._file.execute("pragma user_version").fetchone()
        tables = dict(self._file.execute("select name, sql from sqlite_schema where sql is not null"))
        if (version, tables) == (0, {}):
            statements = ";".join((*_TABLES.values(), f"pragma user_version = {_VERSION}"))
            self._file.executescript(f"begin; {statements}; commit")
        elif (version, tables) != (_VERSION, _TABLES):
            raise sqlite3.DatabaseError(f"version {version} of its tables, where {_VERSION} is wanted")
        (found,) = self._file.execute("pragma quick_check(1)").fetchone()  # 0.05 s for 100,000 chains
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        if [here] != self._file.execute("select boot, namespace from node").fetchall():
            for table in _TABLES:
                self._file.execute(f"delete from {table}")  # noqa: S608 # no text of others
            self._file.execute("insert into node values (?, ?, 0)", here)

    def close(self) -> None:
        self._is_open = False
        self._file.close()

    def __del__(self) -> None:
        if self._is_open:
            warnings.warn(
                f"the record {self._path} was not closed", ResourceWarning, stacklevel=1, source=self
            )
            self.close()

    def _go_on_empty(self, failed: Exception) -> None:
        """The file is replaced by an empty one once; if that fails, or another time, the record goes on in memory."""
        self.close()
        if self._path is not None and not self._was_begun_anew:
            try:
                self._begin_anew(failed)
            except (OSError, *_UNREADABLE) as refused:
                failed = refused
            else:
                return
        if self._path is not None:
            _log.warning("the rules that are applied are no longer recorded in %s: %s", self._path, failed)
        self._path = None
        self._open()

    def _begin_anew(self, failed: Exception) -> None:
        self._was_begun_anew = True
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._open()
        _log.warning(
            "%s is replaced by an empty record, and rules are read from the kernel: %s", self._path, failed
        )

    @property
    def commits(self) -> int:
        found = self._ask("select commits from node")
        return int(found[0][0]) if found else 0

    def count_commits(self, more: int) -> None:
        self._write("update node set commits = commits + ?", [(more,)])

    def sure_at(self, family: Family) -> int | None:
        """How many commits of others there were when the family's rows were compared; None if they never were."""
        found = self._ask("select commits_of_others from sure where family = ?", family)
        return int(found[0][0]) if found else None

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
        """These are there, and nothing is known of their rules."""
        self.keep(family, ((chain, b"", b"") for chain in chains))

    def keep(self, family: Family, rows: Iterable[tuple[Chain, bytes, bytes]]) -> None:
        self._write(
            "insert or replace into chain values (?, ?, ?, ?, ?)",
            ((family, *chain, applied, held) for chain, applied, held in rows),
        )

    def rows(self, family: Family) -> list[tuple[Chain, bytes, bytes]]:
        """Each chain with the digest of its text and of the bytes that the kernel held."""
        found = self._ask("select kernel_table, name, applied, held from chain where family = ?", family)
        return [(Chain(table, name), applied, held) for table, name, applied, held in found]

    def rows_after(self, family: Family, chain: Chain, count: int) -> list[tuple[Chain, bytes]]:
        """The next chains in order, with the digest of the bytes that the kernel held."""
        found = self._ask(
            "select kernel_table, name, held from chain where family = ? and (kernel_table, name) > (?, ?) "
            "order by kernel_table, name limit ?",
            family,
            *chain,
            count,
        )
        return [(Chain(table, name), held) for table, name, held in found]

    def _ask(self, question: str, *values: _Value) -> list[Any]:
        """The rows that answer; none, as an empty record would say, if the file cannot be read."""
        try:
            return self._file.execute(question, values).fetchall()
        except _UNREADABLE as failed:
            self._go_on_empty(failed)
            return []

    def _write(self, statement: str, rows: Iterable[tuple[_Value, ...]]) -> None:
        try:
            self._file.execute("begin")
            self._file.executemany(statement, rows)
            self._file.execute("commit")
        except _UNREADABLE as failed:  # a full disk, say; rules matter more than the record of them
            self._go_on_empty(failed)


def _is_locked(failed: Exception) -> bool:
    return getattr(failed, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _this_boot_and_namespace() -> tuple[str, int]:
    """Numbers that no other boot, and no other network namespace of this boot (Linux 5.12), has or had."""
    boot = _BOOT_ID.read_text(encoding="ascii").strip()
    if not boot:
        raise OSError(f"{_BOOT_ID} is empty")
    with socket.socket() as asked:
        cookie = asked.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    return boot, int(struct.unpack("=q", cookie)[0])
