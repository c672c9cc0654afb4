"""Chains that a program lists, or refuses to list, told from each other."""

from pathlib import Path

import pytest

from kproxy.kernel.programs import listing as listed
from kproxy.kernel.programs.listing import listed_chains
from kproxy.ruleset.chain import Chain

CHAINS = [Chain(table, f"KUBE-{number}") for table in ("nat", "filter") for number in range(1200)]


class Program:
    """Lists each chain with one rule; `fault`, in awk, may change that."""

    def __init__(self, directory: Path, fault: str) -> None:
        self._log = directory / "runs"
        self._log.touch()
        program = directory / "iptables-fake-restore"
        program.write_text(
            f"#!/bin/sh\necho run >>'{self._log}'\nexec awk '{fault}\n"
            """/^-S/ { print "-N " $2; print "-A " $2 " -m nfacct --nfacct-name  x -j RETURN" }'\n"""
        )
        program.chmod(0o755)

    @property
    def runs(self) -> int:
        return self._log.read_text().count("run")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def rules(chain: Chain) -> str:
    return f"-A {chain.name} -m nfacct --nfacct-name x -j RETURN\n"


def test_chains_of_all_tables_are_listed_some_hundred_a_run(directory: Path) -> None:
    program = Program(directory, "")
    assert {chain: rules(chain) for chain in CHAINS} == listed_chains("iptables-fake", CHAINS)
    assert 4 == program.runs


def test_nothing_is_run_for_no_chain(directory: Path) -> None:
    program = Program(directory, "")
    assert {} == listed_chains("iptables-fake", [])
    assert 0 == program.runs


def test_chain_that_the_program_refuses_costs_itself_alone(directory: Path) -> None:
    program = Program(directory, "/KUBE-77$/ { exit 1 }")
    listed = listed_chains("iptables-fake", CHAINS)
    assert {Chain("nat", "KUBE-77"), Chain("filter", "KUBE-77")} == {
        chain for chain in CHAINS if listed[chain] is None
    }
    assert all(listed[chain] == rules(chain) for chain in CHAINS if chain.name != "KUBE-77")
    assert program.runs < 50


@pytest.mark.parametrize("fault", ["{ exit 1 }", "{ next }", '{ system("kill -SEGV $PPID") }'])
def test_no_chain_is_said_to_be_unreadable_if_the_program_fails_for_all(directory: Path, fault: str) -> None:
    program = Program(directory, fault)
    assert {} == listed_chains("iptables-fake", CHAINS)
    assert 200 == program.runs


def test_program_that_does_not_end_is_run_once(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed, "_LONGEST_S", 0.5)
    program = Program(directory, '{ system("sleep 60") }')
    assert {} == listed_chains("iptables-fake", CHAINS)
    assert 1 == program.runs
