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
SUBJECTS = ("kproxy render --mode iptables", "iptables-nft, auto", "iptables-legacy, auto")


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


def bench(*options: str) -> str:
    command = [str(SCRIPTS / "bench"), "--services", "20", "--endpoints", "3", "--seconds", "0", *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=BOUND_S)
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_bench_measures_every_case_on_each_backend_against_its_rivals() -> None:
    figures = json.loads(bench("--agent", "--json"))
    cases = {subject: [f["case"] for f in figures if f["subject"] == subject] for subject in SUBJECTS}
    assert ["render"] == cases["kproxy render --mode iptables"]
    assert 13 == len(cases["iptables-nft, auto"]) == len(cases["iptables-legacy, auto"])
    assert all(f["p50_ms"] > 0 and f["resident_mb"] > 10 for f in figures)
    (replaced,) = [f for f in figures if f["subject"] == SUBJECTS[1] and f["case"] == "endpoint replaced"]
    assert ["bare", "least", "usual"] == list(replaced["baselines"])
    assert all(each["ratio"] > 0 and each["p50_ms"] > 0 for each in replaced["baselines"].values())
    assert 6 == replaced["rules_written"]


def test_bench_measures_every_case_in_nftables_mode_against_its_rivals() -> None:
    figures = json.loads(bench("--mode", "nftables", "--agent", "--json"))
    found = {each["case"]: each for each in figures if each["subject"] == "nftables"}
    assert 15 == len(found)
    assert {"nftables", "kproxy render --mode nftables"} == {each["subject"] for each in figures}
    rivals = {case: [*each["baselines"]] for case, each in found.items()}
    assert ["only service"] == rivals.pop("first packet to the last service")
    assert [] == rivals.pop("agent: start to first sync") == rivals.pop("agent: start again to ready")
    assert all(["bare"] == names for names in rivals.values())
    assert 6 == found["endpoint replaced"]["rules_written"]
    assert found["first sync"]["bytes_written"] > 1000


def test_bench_prints_tables_that_stand_in_markdown() -> None:
    lines = bench("--case", "endpoint", "--backend", "nft", "--dispatch", "flat").splitlines()
    assert 2 == sum(line.startswith("iptables-nft, flat: ") for line in lines)
    assert 2 == sum(line.startswith("| endpoint replaced |   20 x 3 |") for line in lines)


def test_bench_lists_its_cases() -> None:
    assert "rolling-update" in bench("--list")
