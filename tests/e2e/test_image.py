"""deploy/Dockerfile, as far as can be told without building it: nothing it copies, locks, starts or links is missing."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = REPOSITORY / "deploy" / "Dockerfile"
TEXT = re.sub(r"\s*\\\n\s*", " ", DOCKERFILE.read_text())
BUILD, LAST = re.split(r"^FROM .*\n", TEXT, flags=re.MULTILINE)[1:]
PROGRAMS = (
    *("ip", "nft"),
    *(
        f"{program}-{backend}{suffix}"
        for program in ("iptables", "ip6tables")
        for backend in ("nft", "legacy")
        for suffix in ("", "-restore", "-save")
    ),
)


def copied() -> list[str]:
    return [source for line in re.findall(r"^COPY (.*) \S+$", BUILD, re.MULTILINE) for source in line.split()]


def test_what_is_copied_is_in_the_repository_and_sent_to_the_builder() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", *copied()], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    sent = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    assert "*" == sent[0]
    for source in copied():
        assert any(Path(path).is_relative_to(source) for path in tracked), source
        assert f"!{source.partition('/')[0]}" in sent


def test_what_the_wheel_is_built_of_is_copied() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    named = {project["project"]["readme"], *project["project"]["license-files"]}
    assert {*named, "pyproject.toml", *wheel["packages"], *wheel["force-include"]} <= {*copied()}


def test_packages_of_python_come_from_the_locks_alone() -> None:
    installs = re.findall(r"pip install (.*?)(?: &&|$)", TEXT, re.MULTILINE)
    locked = [re.search(r"--require-hashes -r (\S+)$", install) for install in installs]
    assert ["requirements/run.txt", "requirements/build.txt"] == [found[1] for found in locked if found]
    assert ["--no-cache-dir --no-deps --no-index /opt/dist/*.whl"] == [
        install for install, found in zip(installs, locked, strict=True) if not found
    ]


def test_base_has_an_nft_that_survives_the_tables_of_newer_ones() -> None:
    """Debian 12 has 1.0.6, which crashes over them, Debian 13 has 1.1.3."""
    (release,) = re.findall(r"^ARG BASE=debian:(\d+)\.\d+-slim$", TEXT, re.MULTILINE)
    assert int(release) >= 13
    assert ["${BASE} AS build", "${BASE}"] == re.findall(r"^FROM (.*)$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_that_kproxy_starts_is_in_a_package_of_the_image(program: str) -> None:
    listed = subprocess.run(
        ["dpkg-query", "-S", f"*bin/{program}"], check=True, capture_output=True, text=True
    )
    packages = {
        package for line in listed.stdout.splitlines() for package in line.partition(": ")[0].split(", ")
    }
    (installed,) = re.findall(r"--no-install-recommends (.*?) &&", LAST)
    assert packages & {*installed.split()}, f"{program} is in {packages}"


def test_programs_of_both_daemonsets_are_where_they_are_looked_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for program in ("kproxy", "kube-proxy"):
        assert program in project["scripts"]
        assert f" /opt/kproxy/bin/{program} " in LAST
    assert LAST.count("ln -s") == 1
    assert "/usr/local/bin/" in LAST
