"""The record of applied rules is an optional part of the agent: whatever becomes of it, rules are programmed."""

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from kproxy import process
from namespaces import DIES_WITH_ITS_PARENT, fresh_namespace, inside
from running import BOUND_S, eventually, running_agent

pytestmark = pytest.mark.netns

DEMO = Path(__file__).parents[2] / "examples" / "demo"
FILE = "iptables-nft.sqlite"
SYNCED = re.compile(
    r"(IPv\d): synced .* service ports: (\d+) chains and \d+ rules written, (\d+) chains deleted"
)


@pytest.fixture(autouse=True)
def _here() -> Iterator[None]:
    with fresh_namespace() as name, inside(name):
        yield


def syncs(log: Path) -> list[tuple[str, int]]:
    """The family of each sync, and how many chains the sync changed."""
    found = SYNCED.findall(log.read_text())
    return [(family, int(written) + int(deleted)) for family, written, deleted in found]


def run_until_synced(log: Path, *flags: str) -> None:
    """One life of an agent, ended by SIGTERM."""
    already = len(syncs(log)) if log.exists() else 0
    with running_agent("--manifests", str(DEMO), *flags, log=log) as agent:
        eventually(lambda: len(syncs(log)) >= already + 2, "a sync of both families", log)
        agent.terminate()
        assert 0 == agent.wait(timeout=BOUND_S)


def in_a_mount_namespace(monkeypatch: pytest.MonkeyPatch, *mount: str) -> None:
    """The agents of this test start after this mount, which nobody else sees."""
    script = f'mount {" ".join(mount)} && exec "$@"'
    before = (*DIES_WITH_ITS_PARENT, "unshare", "--mount", "sh", "-c", script, "sh")
    monkeypatch.setattr("running.DIES_WITH_ITS_PARENT", before)


def of_another_schema(file: Path) -> None:
    with closing(sqlite3.connect(file)) as record:
        record.execute("drop table chain")
        record.execute("create table chain (family text, name text)")


def of_a_later_version(file: Path) -> None:
    with closing(sqlite3.connect(file)) as record:
        record.execute("pragma user_version = 99")


def with_text_for_digests(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as record:
        record.execute("pragma ignore_check_constraints = on")
        record.execute("update chain set applied = 'applied', held = 17")


@pytest.mark.parametrize("spoil", [of_another_schema, of_a_later_version, with_text_for_digests])
def test_agent_begins_a_record_anew_that_it_cannot_read_and_writes_no_equal_rule(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    log = tmp_path / "agent.log"
    run_until_synced(log)
    assert all(changed > 0 for _, changed in syncs(log))
    spoil(tmp_path / "state" / FILE)
    process.run(["nft", "add table ip other"])
    for _ in range(2):
        run_until_synced(log)
    assert [("IPv4", 0), ("IPv6", 0)] * 2 == syncs(log)[2:]
    assert 1 == log.read_text().count(f"{FILE} is replaced by an empty record")
    assert "defect" not in log.read_text()
    assert "somebody else" not in log.read_text()


def without_boot_id(_state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_mount_namespace(monkeypatch, "-t", "tmpfs", "none", "/proc/sys/kernel/random")


def with_an_empty_boot_id(_state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_mount_namespace(monkeypatch, "--bind", os.devnull, "/proc/sys/kernel/random/boot_id")


def with_a_directory_in_its_place(state: Path, _monkeypatch: pytest.MonkeyPatch) -> None:
    (state / FILE).mkdir(parents=True)


def on_a_read_only_file_system(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state.mkdir()
    in_a_mount_namespace(monkeypatch, "-t", "tmpfs", "-o", "ro", "none", str(state))


@pytest.mark.parametrize(
    "spoil",
    [
        without_boot_id,
        with_an_empty_boot_id,
        with_a_directory_in_its_place,
        on_a_read_only_file_system,
    ],
)
def test_agent_that_cannot_keep_a_record_programs_rules_and_says_why_it_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    log = tmp_path / "agent.log"
    spoil(tmp_path / "state", monkeypatch)
    for _ in range(2):
        run_until_synced(log)
    assert [0, 0] == [changed for _, changed in syncs(log)[2:]]
    assert all(changed > 0 for _, changed in syncs(log)[:2])
    assert 2 == log.read_text().count("cannot be used: ")


def test_agent_whose_record_is_deleted_while_it_runs_goes_on_without_a_word(tmp_path: Path) -> None:
    log, state = tmp_path / "agent.log", tmp_path / "state"
    with running_agent("--manifests", str(DEMO), log=log) as agent:
        eventually(lambda: len(syncs(log)) == 2, "a first sync of both families", log)
        for file in state.iterdir():
            file.unlink()
        process.run(["iptables-nft", "-t", "nat", "-F", "KUBE-SERVICES"])
        eventually(lambda: len(syncs(log)) == 3, "a repair", log)
        assert ("IPv4", 1) == syncs(log)[2]
        agent.terminate()
        assert 0 == agent.wait(timeout=BOUND_S)
    assert "applied are no longer recorded" not in log.read_text()
    assert "begun anew" not in log.read_text()
    run_until_synced(log)
    assert [0, 0] == [changed for _, changed in syncs(log)[3:]]


def test_agent_closes_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "default::ResourceWarning")
    run_until_synced(log := tmp_path / "agent.log")
    assert "ResourceWarning" not in log.read_text()
    assert {FILE} == {file.name for file in (tmp_path / "state").iterdir()}


def has_changed(program: str) -> bool:
    return "--dport 81 " in process.run([program, "-w", "5", "-t", "nat", "-S", "KUBE-SERVICES"])


def nothing_changes(logs: Sequence[Path]) -> bool:
    """For some sync periods."""

    def changes() -> list[list[tuple[str, int]]]:
        return [[sync for sync in syncs(log) if sync[1]] for log in logs]

    before = changes()
    time.sleep(4)
    return before == changes()


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_two_agents_on_one_node_leave_each_others_rules_alone_and_follow_changes(
    tmp_path: Path, backend: str
) -> None:
    manifests, logs = tmp_path / "manifests", [tmp_path / "one.log", tmp_path / "two.log"]
    shutil.copytree(DEMO, manifests)
    flags = ("--manifests", str(manifests), "--iptables-backend", backend, "--iptables-sync-period", "1s")
    with running_agent(*flags, log=logs[0]):
        eventually(lambda: len(syncs(logs[0])) == 2, "the first sync of the first agent", logs[0])
        with running_agent(*flags, log=logs[1]):
            eventually(lambda: len(syncs(logs[1])) == 2, "the first sync of the second agent", logs[1])
            assert [("IPv4", 0), ("IPv6", 0)] == syncs(logs[1])
            eventually(partial(nothing_changes, logs), "both agents at rest", logs[0])
            # what one writes after the change, the other may find before it has read the change itself
            assert all("somebody else" not in log.read_text() for log in logs)
            web = manifests / "web.yaml"
            other = tmp_path / "web.yaml"
            other.write_text(web.read_text().replace("port: 80", "port: 81"))
            other.rename(web)
            for program in (f"iptables-{backend}", f"ip6tables-{backend}"):
                eventually(partial(has_changed, program), "the change", logs[0])
            eventually(
                partial(nothing_changes, logs), "rest: none of four sync periods writes anything", logs[0]
            )
