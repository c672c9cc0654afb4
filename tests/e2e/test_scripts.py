"""The scripts that the README names, run as a person would."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns

SCRIPTS = Path(__file__).parents[2] / "scripts"
BOUND_S = 120


def leftovers_of(pid: int) -> list[str]:
    return [path.name for path in Path("/run/netns").glob(f"kplab-{pid}-*")]


def demo() -> subprocess.Popen[str]:
    command = [str(SCRIPTS / "demo")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_demo_shows_that_all_held_and_cleans_up() -> None:
    running = demo()
    said, _ = running.communicate(timeout=BOUND_S)
    assert 0 == running.returncode, said
    assert "0 failed" in said
    assert "All as it should be" in said
    assert [] == leftovers_of(running.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_interrupted_in_the_middle_cleans_up(number: signal.Signals) -> None:
    running = demo()
    assert running.stdout
    for line in running.stdout:
        if "requests from a pod" in line:
            break
    assert leftovers_of(running.pid)
    time.sleep(0.2)
    os.kill(running.pid, number)
    running.communicate(timeout=BOUND_S)
    assert 128 + number == running.returncode
    assert [] == leftovers_of(running.pid)


def test_bench_compares_each_backend_with_a_bare_restore() -> None:
    command = [str(SCRIPTS / "bench"), "--services", "20", "--endpoints", "3", "--runs", "2", "--json"]
    figures = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=BOUND_S).stdout
    )
    assert ["iptables-nft", "iptables-legacy"] == [
        case["name"].partition(",")[0] for case in figures["changes"]
    ]
    assert all(case["ratio"] > 0 and case["bare_ms"] > 0 for case in figures["changes"])
    assert figures["render_s"] > 0
