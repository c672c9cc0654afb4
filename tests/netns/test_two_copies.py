"""Two processes that run the same packet tests at the same time: neither sees anything of the other."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns

PACKET_TESTS = Path(__file__).with_name("test_properties.py")
TESTS = 6
"""With one scenario: three packet filters, two families."""
NAMESPACES, LOCKS = "/run/netns/kproxy-test-{}-*", "/run/kproxy-test-{}.lock"


def children_of(pid: int) -> set[int]:
    try:
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return set()


def held_by(process: int, pattern: str) -> list[Path]:
    return [*Path("/").glob(pattern.format(process).removeprefix("/"))]


def test_two_processes_with_the_same_packet_tests_do_not_meet(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "quick", str(PACKET_TESTS)]
    command += ["--numprocesses", "2", "--dist", "each"]  # each process runs all of the tests
    most_held: dict[int, int] = {}
    at_once = 0
    output = tmp_path / "output"
    with output.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as run:
        while run.poll() is None:
            held = {child: len(held_by(child, NAMESPACES)) for child in children_of(run.pid)}
            most_held |= {child: max(count, most_held.get(child, 0)) for child, count in held.items()}
            at_once = max(at_once, sum(1 for count in held.values() if count))
            time.sleep(0.01)
    said = output.read_text()
    assert 0 == run.returncode, said
    assert re.search(rf"\b{2 * TESTS} passed\b", said), said
    assert 2 == at_once, "they did not run at the same time"
    assert [1, 1] == [count for count in most_held.values() if count], "one namespace each at a time"
    left = [
        path for child in most_held for pattern in (NAMESPACES, LOCKS) for path in held_by(child, pattern)
    ]
    assert [] == left
