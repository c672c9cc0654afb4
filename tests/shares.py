"""The order of the tests of one run in several processes, in which no process is left alone with a long test at the end."""

from collections.abc import Callable, Sequence
from enum import IntEnum
from itertools import groupby
from typing import TypeVar

_Test = TypeVar("_Test")


class Rank(IntEnum):
    """When a process begins a test: a lower rank goes first."""

    LONG = 0
    """It takes more than some ten seconds on an idle machine."""
    IN_A_NAMESPACE = 1
    """It takes up to ten seconds, most of which are waits for the kernel or for an agent."""
    SHORT = 2
    ALONE = 3
    """It waits for the tests that run beside it, so these had better be short."""


def in_shares(tests: Sequence[_Test], shares: int, rank: Callable[[_Test], Rank]) -> list[_Test]:
    """The tests in so many shares, one after the other: each share has an equal part of each rank, the lowest rank first.

    Within a rank, tests that stood beside each other stay so, and use one module's fixtures one after the other.

    pytest-xdist's `worksteal` cuts the list into as many parts of equal length as there are processes, so that each
    process begins with one share. A process that is through takes tests from the end of another's share.
    """
    groups = [[*group] for _, group in groupby(sorted(tests, key=rank), rank)]
    return [test for number in range(shares) for group in groups for test in _part(group, number, shares)]


def _part(group: Sequence[_Test], number: int, shares: int) -> Sequence[_Test]:
    begins, ends = (len(group) * at // shares for at in (number, number + 1))
    return group[begins:ends]
