"""How many descriptors this process may have, and which of them are left to programs. Each limit is a child's own."""

import subprocess
import sys

import pytest

RAISING = """
import logging, resource, sys
logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from kproxy.kernel.node import descriptors
descriptors.raise_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE), descriptors.listeners_end(), descriptors.clients_end())
"""


def raised(soft: int, hard: int) -> tuple[list[int], str]:
    done = subprocess.run(
        [sys.executable, "-c", RAISING.format(soft=soft, hard=hard)],
        check=True,
        capture_output=True,
        text=True,
    )
    return [int(number) for number in done.stdout.split()], done.stderr


def test_soft_limit_is_raised_to_the_hard_one_and_that_is_a_debugging_line() -> None:
    numbers, log = raised(256, 4096)
    assert [4096, 4096, 4096 - 128, 4096 - 64] == numbers
    assert "DEBUG the limit of open files is raised from 256 to 4096\n" == log


def test_equal_limits_are_left_alone_without_a_word() -> None:
    assert ([2048, 2048, 2048 - 128, 2048 - 64], "") == raised(2048, 2048)


@pytest.mark.parametrize(
    ("hard", "listeners", "clients"), [(1023, 1023 - 128, 1023 - 64), (256, 128, 192), (64, 32, 48)]
)
def test_low_hard_limit_is_told_and_leaves_programs_their_part(
    hard: int, listeners: int, clients: int
) -> None:
    numbers, log = raised(min(hard, 60), hard)
    assert [hard, hard, listeners, clients] == numbers
    assert f"WARNING the hard limit of open files is {hard}: only some" in log
    assert "raise it to 1024 or more" in log
