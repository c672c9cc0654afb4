"""A file with any content is used as a record, or replaced by an empty record; then the agent goes on recording."""

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import event, example, given
from hypothesis import strategies as st

from kproxy.observed.record import Record
from kproxy.ruleset.chain import Chain
from kproxy.values import Family

CHAIN = Chain("nat", "KUBE-SERVICES")
OTHER = Chain("filter", "KUBE-FORWARD")
ROW = (CHAIN, b"applied", b"held")

VALUES = (
    st.none()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats()
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from(["IPv4", "IPv6", "nat", "KUBE-SERVICES", b"applied", 0, 1])
)
TABLES = ("node", "sure", "chain")
COLUMNS = {
    "node": ("boot", "namespace", "commits"),
    "sure": ("family", "commits_of_others"),
    "chain": ("family", "kernel_table", "name", "applied", "held"),
}
TYPES = st.sampled_from(["", " text", " integer", " blob", " real", " text primary key"])


@st.composite
def statements(draw: st.DrawFn) -> list[tuple[str, tuple[object, ...]]]:
    """Changes that somebody may make to a record with sqlite3."""
    table = draw(st.sampled_from(TABLES))
    columns = COLUMNS[table]
    column = draw(st.sampled_from(columns))
    some = draw(st.lists(st.sampled_from([*columns, "more"]), min_size=1, max_size=6, unique=True))
    values = tuple(draw(st.lists(VALUES, min_size=len(columns), max_size=len(columns))))
    return draw(
        st.sampled_from(
            [
                [(f"drop table {table}", ())],
                [
                    (f"drop table {table}", ()),
                    (f"create table {table} ({', '.join(name + draw(TYPES) for name in some)})", ()),
                ],
                [(f"alter table {table} add more", ())],
                [(f"alter table {table} rename column {column} to other", ())],
                [(f"alter table {table} rename to other", ()), ("create table other_again (a)", ())],
                [(f"update {table} set {column} = ?", values[:1])],  # noqa: S608
                [(f"insert or replace into {table} values ({', '.join('?' * len(columns))})", values)],  # noqa: S608
                [(f"delete from {table}", ())],  # noqa: S608
                [(f"create view v as select * from {table}", ())],  # noqa: S608
                [(f"create trigger t before insert on {table} begin select raise(abort, 'no'); end", ())],
                [(f"create unique index i on {table} ({column})", ())],
                [(f"pragma user_version = {draw(st.integers(-5, 99))}", ())],
                [(f"pragma application_id = {draw(st.integers(0, 99))}", ())],
            ]
        )
    )


def a_record(path: Path) -> None:
    with closing(Record(path)) as record:
        record.keep(Family.IPV4, [ROW])
        record.make_sure(Family.IPV4, 7)
        record.count_commits(3)


def alter(path: Path, changes: list[list[tuple[str, tuple[object, ...]]]]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("pragma ignore_check_constraints = on")
        for change in changes:
            for statement, values in change:
                try:
                    file.execute(statement, values)
                except sqlite3.Error:
                    event("refused by sqlite")


def require_a_record_that_goes_on(path: Path) -> None:
    """Twice: a later agent finds what this one leaves."""
    with closing(Record(path)) as record:
        assert isinstance(record.commits, int)
        assert record.sure_at(Family.IPV4) is None or isinstance(record.sure_at(Family.IPV4), int)
        for chain, applied, held in record.rows(Family.IPV4):
            assert [str, str, bytes, bytes] == [type(each) for each in (*chain, applied, held)]
        assert all(isinstance(held, bytes) for _, held in record.rows_after(Family.IPV4, Chain("", ""), 9))
        record.keep(Family.IPV6, [(OTHER, b"a", b"h")])
        record.make_sure(Family.IPV6, 5)
        before = record.commits
        record.count_commits(2)
        assert (OTHER, b"a", b"h") in [*record.rows(Family.IPV6)]
        assert (before + 2, 5) == (record.commits, record.sure_at(Family.IPV6))
        record.forget(Family.IPV6, [OTHER])
        record.make_unsure(Family.IPV6)
        assert record.sure_at(Family.IPV6) is None
    with closing(Record(path)) as later:
        assert OTHER not in [chain for chain, *_ in later.rows(Family.IPV6)]


@given(st.lists(statements(), min_size=1, max_size=3))
@example([[("drop table chain", ()), ("create table chain (family text, name text)", ())]])
@example([[("update node set commits = ?", ("many",))]])
@example([[("update chain set held = ?", (5,))]])
@example([[("update sure set commits_of_others = ?", (b"\x00",))]])
@example([[("pragma user_version = 2", ())]])
def test_record_that_somebody_altered_is_used_or_replaced(
    changes: list[list[tuple[str, tuple[object, ...]]]],
) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "record.sqlite")
        a_record(path)
        alter(path, changes)
        require_a_record_that_goes_on(path)


@given(st.binary(max_size=300), st.booleans())
@example(b"", False)
@example(b"SQLite format 3\0", False)
@example(b"SQLite format 3\0" + b"\xff" * 200, False)
def test_file_of_arbitrary_bytes_is_replaced(content: bytes, also_beside_it: bool) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "record.sqlite")
        path.write_bytes(content)
        if also_beside_it:
            for suffix in ("-wal", "-shm"):
                Path(f"{path}{suffix}").write_bytes(content)
        require_a_record_that_goes_on(path)


@given(st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=40)), min_size=1, max_size=4))
def test_record_with_damaged_bytes_is_used_or_replaced(damages: list[tuple[float, bytes]]) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "record.sqlite")
        a_record(path)
        content = bytearray(path.read_bytes())
        for share, damage in damages:
            at = int(share * (len(content) - 1))
            content[at : at + len(damage)] = damage
        path.write_bytes(content)
        require_a_record_that_goes_on(path)


@given(st.lists(statements(), min_size=1, max_size=2))
def test_record_that_somebody_replaces_while_it_is_open_never_stops_its_owner(
    changes: list[list[tuple[str, tuple[object, ...]]]],
) -> None:
    with TemporaryDirectory() as directory:
        path, other = Path(directory, "record.sqlite"), Path(directory, "other.sqlite")
        a_record(other)
        alter(other, changes)
        with closing(Record(path)) as record:
            record.keep(Family.IPV4, [ROW])
            path.write_bytes(other.read_bytes())
            record.keep(Family.IPV4, [(OTHER, b"a", b"h")])
            assert isinstance(record.commits, int)
            assert all(isinstance(held, bytes) for _, _, held in record.rows(Family.IPV4))
        require_a_record_that_goes_on(path)
