"""The scripts that the README names, run as a person would."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns

SCRIPTS = Path(__file__).parents[2] / "scripts"
BOUND_S = 120
SUBJECTS = ("kproxy render --mode iptables", "iptables-nft, auto", "iptables-legacy, auto")
A_LIST = "a list, in protobuf and gzip"


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
    assert "Everything is as it should be" in said
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


@pytest.fixture
def checkout() -> Iterator[Path]:
    """As much of one as scripts/setup looks at, where everybody may look."""
    with tempfile.TemporaryDirectory() as made:
        path = Path(made)
        path.chmod(0o755)
        (path / "scripts").mkdir()
        shutil.copy(SCRIPTS / "setup", path / "scripts")
        shutil.copy(SCRIPTS.parent / "pyproject.toml", path)
        shutil.copytree(SCRIPTS.parent / "requirements", path / "requirements")
        yield path


def set_up(checkout: Path, user: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(checkout / "scripts" / "setup")],
        check=False,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        user=user,
        group=pwd.getpwnam(user).pw_gid,
        extra_groups=[],
    )


@pytest.mark.parametrize(("owner", "user"), [("root", "nobody"), ("nobody", "root")])
@pytest.mark.parametrize("foreign", [".venv", ".venv/lib/module.pyc"])
def test_setup_leaves_the_environment_of_another_user_alone_and_says_how_to_go_on(
    checkout: Path, owner: str, user: str, foreign: str
) -> None:
    module = checkout / ".venv" / "lib" / "module.pyc"
    module.parent.mkdir(parents=True)
    module.touch()
    for path in (checkout, checkout / ".venv", module.parent, module):
        shutil.chown(path, user)
    shutil.chown(checkout / foreign, owner)
    done = set_up(checkout, user)
    assert 3 == done.returncode
    assert (
        f"setup: .venv must be made again, but {foreign} belongs to {owner}, and you are {user}: run this as {owner}, "
        f"or remove it first: sudo rm -r {checkout}/.venv\n"
    ) == done.stderr
    assert module.exists()


def test_setup_in_a_checkout_that_belongs_to_another_says_so(checkout: Path) -> None:
    done = set_up(checkout, "nobody")
    told = f"setup: {checkout} belongs to root, and nobody cannot write there: use a checkout of your own\n"
    assert (3, told) == (done.returncode, done.stderr)


def bench(*options: str) -> str:
    command = [str(SCRIPTS / "bench"), "--services", "20", "--endpoints", "3", "--seconds", "0", *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=BOUND_S)
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_bench_measures_every_case_on_each_backend_against_its_rivals() -> None:
    figures = json.loads(bench("--agent", "--json"))
    cases = {subject: [f["case"] for f in figures if f["subject"] == subject] for subject in SUBJECTS}
    assert ["render"] == cases["kproxy render --mode iptables"]
    assert 16 == len(cases["iptables-nft, auto"]) == len(cases["iptables-legacy, auto"])
    assert all(f["p50_ms"] > 0 and f["resident_mb"] > 10 for f in figures if f["subject"] != A_LIST)
    (replaced,) = [f for f in figures if f["subject"] == SUBJECTS[1] and f["case"] == "endpoint replaced"]
    assert ["bare", "least", "usual"] == list(replaced["baselines"])
    assert all(each["ratio"] > 0 and each["p50_ms"] > 0 for each in replaced["baselines"].values())
    assert 6 == replaced["rules_written"]


def test_bench_measures_every_case_in_nftables_mode_against_its_rivals() -> None:
    figures = json.loads(bench("--mode", "nftables", "--agent", "--json"))
    found = {each["case"]: each for each in figures if each["subject"] == "nftables"}
    assert 18 == len(found)
    assert {"nftables", "kproxy render --mode nftables", A_LIST} == {each["subject"] for each in figures}
    rivals = {case: [*each["baselines"]] for case, each in found.items()}
    assert ["only service"] == rivals.pop("first packet to the last service")
    assert [] == rivals.pop("agent: start to first sync") == rivals.pop("agent: start again to ready")
    among_bad = [rivals.pop(case) for case in list(rivals) if "bad" in case]
    assert [["good alone"]] * 3 == among_bad
    assert all(["bare"] == names for names in rivals.values())
    assert 6 == found["endpoint replaced"]["rules_written"]
    assert found["first sync"]["bytes_written"] > 1000


def test_bench_prints_tables_that_stand_in_markdown() -> None:
    lines = bench("--case", "endpoint", "--backend", "nft", "--dispatch", "flat").splitlines()
    assert 2 == sum(line.startswith("iptables-nft, flat: ") for line in lines)
    assert 2 == sum(line.startswith("| endpoint replaced |   20 x 3 |") for line in lines)


def test_bench_lists_its_cases() -> None:
    assert "rolling-update" in bench("--list")
