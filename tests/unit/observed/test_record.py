"""The record of what was applied: a file that anything may have happened to."""

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kproxy.errors import EnvironmentLacking
from kproxy.observed.record import Record
from kproxy.ruleset.chain import Chain
from kproxy.values import Family

CHAINS = [Chain("nat", f"KUBE-SEP-{number:05}") for number in range(2000)]
ROWS = [(chain, b"applied.", b"held....") for chain in CHAINS]
PAGE = 4096


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("record") / "chains.sqlite"
    with closing(Record(path)) as record:
        record.keep(Family.IPV4, ROWS)
    return path.read_bytes()


@pytest.mark.parametrize("page", range(12))
@pytest.mark.parametrize("offset", [0, 100, 2000])
def test_damaged_record_tells_what_it_can_and_the_next_one_is_sound(
    tmp_path: Path, sound: bytes, page: int, offset: int
) -> None:
    at = page * PAGE + offset
    path = tmp_path / "chains.sqlite"
    path.write_bytes(sound[:at] + b"Z" * 1000 + sound[at + 1000 :])
    with closing(Record(path)) as record:
        told_rows = record.rows(Family.IPV4)
        record.rows_after(Family.IPV4, Chain("", ""), len(ROWS))
        record.forget(Family.IPV4, CHAINS[::50])
        record.keep(Family.IPV4, ROWS)
        assert set(ROWS) <= set(record.rows(Family.IPV4))
    assert len(told_rows) <= len(ROWS)
    with closing(Record(path)) as again:
        again.keep(Family.IPV4, ROWS)
        assert set(ROWS) <= set(again.rows(Family.IPV4))


def test_record_outlives_the_process_that_kept_it(tmp_path: Path) -> None:
    path = tmp_path / "chains.sqlite"
    with closing(Record(path)) as record:
        record.keep(Family.IPV4, ROWS)
        record.forget(Family.IPV4, CHAINS[1:])
    with closing(Record(path)) as again:
        assert ROWS[:1] == again.rows(Family.IPV4)


def rewritten(path: Path, *statements: str) -> None:
    """As another program, or another version, leaves a sound record."""
    with closing(Record(path)) as record:
        record.keep(Family.IPV4, ROWS)
        record.make_sure(Family.IPV4, 7)
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("pragma ignore_check_constraints = on")
        for statement in statements:
            file.execute(statement)


OF_BEFORE = (
    "drop table node",
    "drop table sure",
    "drop table chain",
    "create table node (boot text, namespace integer, commits integer)",
    "create table sure (family text primary key, commits_of_others integer)",
    """create table chain (family text, kernel_table text, name text, applied blob, held blob,
    primary key (family, kernel_table, name)) without rowid""",
    "insert into chain values ('IPv4', 'nat', 'KUBE-SEP-00000', x'61', x'61')",
    "pragma user_version = 0",
)


@pytest.mark.parametrize(
    "statements",
    [
        OF_BEFORE,
        ("drop table chain", "create table chain (family text, name text)"),
        ("drop table chain",),
        ("drop table node",),
        ("alter table chain add column port integer",),
        ("create table other (name text)",),
        ("create trigger none_left after insert on chain begin delete from chain; end",),
        ("pragma user_version = 2",),
        ("update chain set held = 'text' where name = 'KUBE-SEP-00077'",),
        ("update chain set applied = 17 where name = 'KUBE-SEP-00077'",),
        ("update chain set name = x'00ff' where name = 'KUBE-SEP-00077'",),
        ("update chain set name = cast(x'ff' as text) where name = 'KUBE-SEP-00077'",),
        ("update node set commits = -1",),
        ("update node set commits = 'many'",),
        ("update node set commits = 1.5",),
        ("update sure set commits_of_others = x'00'",),
    ],
    ids=lambda statements: statements[0].replace(" ", "-")[:60] if len(statements) < 3 else "version-before",
)
def test_record_that_kproxy_did_not_write_so_is_begun_anew_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, statements: tuple[str, ...]
) -> None:
    path = tmp_path / "chains.sqlite"
    rewritten(path, *statements)
    for _ in range(2):
        with closing(Record(path)) as record:
            assert [] == record.rows(Family.IPV4)
            assert [] == record.rows_after(Family.IPV4, Chain("", ""), 10)
            assert record.sure_at(Family.IPV4) is None
            assert 0 == record.commits
    assert [f"{path} is replaced by an empty record, and rules are read from the kernel"] == told(caplog)


@pytest.mark.parametrize("content", [b"", b"\0", b"not a database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_file_that_is_no_record_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "chains.sqlite"
    path.write_bytes(content)
    with closing(Record(path)) as record:
        record.keep(Family.IPV4, ROWS)
    with closing(Record(path)) as again:
        assert ROWS == again.rows(Family.IPV4)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().partition(": ")[0] for record in caplog.records]


READS: list[Callable[[Record], object]] = [
    lambda record: record.rows(Family.IPV4),
    lambda record: record.rows_after(Family.IPV4, Chain("", ""), 10),
    lambda record: record.sure_at(Family.IPV4),
    lambda record: record.commits,
]
WRITES: list[Callable[[Record], object]] = [
    lambda record: record.keep(Family.IPV4, ROWS[:1]),
    lambda record: record.forget(Family.IPV4, CHAINS[:1]),
    lambda record: record.blank(Family.IPV4, CHAINS[:1]),
    lambda record: record.make_sure(Family.IPV4, 1),
    lambda record: record.make_unsure(Family.IPV4),
    lambda record: record.count_commits(1),
]


@pytest.mark.parametrize("use", [*READS, *WRITES])
@pytest.mark.parametrize("is_on_disk", [True, False], ids=["disk", "memory"])
def test_record_that_breaks_while_it_is_used_goes_on_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[Record], object], is_on_disk: bool
) -> None:
    connect = sqlite3.connect
    opened: list[sqlite3.Connection] = []

    def connect_noted(*arguments: Any, **named: Any) -> sqlite3.Connection:
        opened.append(connect(*arguments, **named))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", connect_noted)
    path = tmp_path / "chains.sqlite" if is_on_disk else None
    with closing(Record(path)) as record:
        for _ in range(3):
            record.keep(Family.IPV4, ROWS)
            for table in ("chain", "sure", "node"):
                opened[-1].execute(f"drop table {table}")
            use(record)
            assert set(ROWS[1:]).isdisjoint(record.rows(Family.IPV4))
            record.keep(Family.IPV4, ROWS)
            assert ROWS == record.rows(Family.IPV4)
    assert all(map(is_closed, opened))


def is_closed(file: sqlite3.Connection) -> bool:
    try:
        file.execute("select 1")
    except sqlite3.ProgrammingError:
        return True
    return False


@pytest.mark.netns  # it mounts
def test_record_on_a_full_disk_goes_on_in_memory_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", str(full)], check=True)
    try:
        with closing(Record(full / "chains.sqlite")) as record:
            for start in range(0, 200_000, 2000):
                rows = [(Chain("nat", f"KUBE-{start + at}"), b"applied.", b"held....") for at in range(2000)]
                record.keep(Family.IPV4, rows)
            assert set(rows) <= set(record.rows(Family.IPV4))
        assert [
            f"{full}/chains.sqlite is replaced by an empty record, and rules are read from the kernel",
            f"the rules that are applied are no longer recorded in {full}/chains.sqlite",
        ] == told(caplog)
    finally:
        subprocess.run(["umount", str(full)], check=True)


def test_record_that_is_deleted_while_it_is_used_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "chains.sqlite"
    with closing(Record(path)) as record:
        record.keep(Family.IPV4, ROWS[:10])
        shutil.rmtree(tmp_path)
        record.keep(Family.IPV4, ROWS)
        assert ROWS == record.rows(Family.IPV4)
    with closing(Record(path)) as again:
        assert [] == again.rows(Family.IPV4)


def in_the_way(path: Path) -> None:
    path.mkdir()


def with_a_file_for_its_directory(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


@pytest.mark.parametrize("spoil", [in_the_way, with_a_file_for_its_directory])
def test_place_that_cannot_hold_a_record_is_refused_with_its_name(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = tmp_path / "state" / "chains.sqlite"
    path.parent.mkdir()
    spoil(path)
    with pytest.raises(EnvironmentLacking, match=rf"{path} cannot be used: "):
        Record(path)


@pytest.mark.netns  # it mounts
def test_record_on_a_read_only_file_system_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chains.sqlite"
    Record(path).close()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(tmp_path)], check=True)
    try:
        with pytest.raises(EnvironmentLacking, match=rf"{path} cannot be used: .*[Rr]ead-only"):
            Record(path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_record_of_another_boot_counts_as_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, boot = tmp_path / "chains.sqlite", tmp_path / "boot_id"
    with closing(Record(path)) as record:
        record.keep(Family.IPV4, ROWS)
    boot.write_text("another\n")
    monkeypatch.setattr("kproxy.observed.record._BOOT_ID", boot)
    with closing(Record(path)) as again:
        assert [] == again.rows(Family.IPV4)


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_record_where_boots_cannot_be_told_apart_is_kept_in_memory_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    boot = tmp_path / "boot_id"
    if content is not None:
        boot.write_text(content)
    monkeypatch.setattr("kproxy.observed.record._BOOT_ID", boot)
    with pytest.raises(EnvironmentLacking, match="boot_id"):
        Record(tmp_path / "chains.sqlite")
    with closing(Record(None)) as record:
        record.keep(Family.IPV4, ROWS)
        assert ROWS == record.rows(Family.IPV4)


def test_record_that_nobody_closes_is_told() -> None:
    with pytest.warns(ResourceWarning, match="was not closed"):
        Record(None).__del__()
