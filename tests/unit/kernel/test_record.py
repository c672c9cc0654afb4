"""The record of what was applied: a file that anything may have happened to."""

from contextlib import closing
from pathlib import Path

import pytest

from kproxy.kernel.record import Record
from kproxy.ruleset.chains import Chain
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
        told = list(record.rows(Family.IPV4))
        record.rows_after(Family.IPV4, Chain("", ""), len(ROWS))
        record.forget(Family.IPV4, CHAINS[::50])
        record.keep(Family.IPV4, ROWS)
        assert set(ROWS) <= set(record.rows(Family.IPV4))
    assert len(told) <= len(ROWS)
    with closing(Record(path)) as again:
        again.keep(Family.IPV4, ROWS)
        assert set(ROWS) <= set(again.rows(Family.IPV4))


def test_record_outlives_the_process_that_kept_it(tmp_path: Path) -> None:
    path = tmp_path / "chains.sqlite"
    with closing(Record(path)) as record:
        record.keep(Family.IPV4, ROWS)
        record.forget(Family.IPV4, CHAINS[1:])
    with closing(Record(path)) as again:
        assert ROWS[:1] == list(again.rows(Family.IPV4))
