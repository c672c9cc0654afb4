"""Tests of one run in several processes: some run at one time, others alone.

Threads stand for the processes: a file lock belongs to the open file.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from turns import turn

TAKES_S = 0.03


class Ran(NamedTuple):
    alone: bool
    began_at: float
    ended_at: float


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    both = tmp_path / "waiting", tmp_path / "running"
    for each in both:
        each.touch()
    return both


def run_beside_each_other(files: tuple[Path, Path], *processes: list[bool]) -> list[list[Ran]]:
    """Each process runs its tests in a row without a pause. A test that is True must run alone."""

    def run(tests: list[bool]) -> list[Ran]:
        ran = []
        for alone in tests:
            with turn(alone=alone, files=files):
                began_at = time.monotonic()
                time.sleep(TAKES_S)
                ran.append(Ran(alone, began_at, time.monotonic()))
        return ran

    with ThreadPoolExecutor(len(processes)) as pool:
        return [*pool.map(run, processes)]


def met(ones: list[Ran], others: list[Ran]) -> list[tuple[Ran, Ran]]:
    return [
        (one, other)
        for one, other in product(ones, others)
        if one.began_at < other.ended_at and other.began_at < one.ended_at
    ]


def test_tests_of_two_processes_run_beside_each_other(files: tuple[Path, Path]) -> None:
    assert met(*run_beside_each_other(files, [False] * 10, [False] * 10))


def test_test_that_must_be_alone_runs_beside_no_other(files: tuple[Path, Path]) -> None:
    ones, others = run_beside_each_other(files, [False, True] * 5, [True, False, False] * 3)
    assert [] == [pair for pair in met(ones, others) if any(each.alone for each in pair)]


def test_test_that_must_be_alone_is_not_delayed_for_ever_by_others(files: tuple[Path, Path]) -> None:
    (_, alone), *others = run_beside_each_other(files, [False, True], [False] * 30, [False] * 30)
    assert len([each for ran in others for each in ran if each.began_at > alone.ended_at]) > 30
