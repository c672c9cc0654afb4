"""`kproxy render --before` prints what an agent writes, byte for byte but for the marks, and programs take it as it is."""

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from kproxy import process
from kproxy.cli.render import command
from kproxy.values import Family
from namespaces import DIES_WITH_ITS_PARENT, fresh_namespace, inside
from nftlisting import listing
from running import BOUND_S, NODE, eventually
from stubapi.manifests import endpoint_slice, node, service

pytestmark = pytest.mark.netns

MARK = re.compile(r"# (?:run|section) \d+ of \d+: .+\n")

Objects = list[dict[str, Any]]


def a_service(name: str, number: int, **spec: object) -> dict[str, Any]:
    made = copy.deepcopy(service(name))
    address = f"10.96.{number // 250}.{number % 250 + 1}"
    made["spec"] |= {"clusterIP": address, "clusterIPs": [address], **spec}
    return made


def guarded(name: str, number: int) -> dict[str, Any]:
    made = a_service(name, number, type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24"])
    made["spec"]["ports"][0]["nodePort"] = 30080
    made["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}
    return made


def many(addresses: Sequence[str]) -> Objects:
    """More than one section holds, with iptables-nft."""
    found: Objects = []
    for number in range(80):
        name = f"many-{number}"
        found += [a_service(name, 300 + number), endpoint_slice(f"{name}-a", name, *addresses)]
    return found


WEB, API = a_service("web", 0), a_service("api", 1)
STICKY = a_service("api", 1, sessionAffinity="ClientIP")
STATES: dict[str, Objects] = {
    "at first": [WEB, endpoint_slice("web-a", "web", "10.128.1.5", "10.128.2.6"), API],
    "an endpoint replaced": [WEB, endpoint_slice("web-a", "web", "10.128.1.5", "10.128.2.7"), API],
    "one more endpoint, and the first of another Service": [
        *(WEB, endpoint_slice("web-a", "web", "10.128.1.5", "10.128.2.7", "10.128.2.8")),
        *(API, endpoint_slice("api-a", "api", "10.128.1.9")),
    ],
    "source ranges and affinity": [
        *(guarded("web", 0), endpoint_slice("web-a", "web", "10.128.1.5", "10.128.2.7", "10.128.2.8")),
        *(STICKY, endpoint_slice("api-a", "api", "10.128.1.9", "10.128.2.9")),
    ],
    "many Services come": [
        *(guarded("web", 0), endpoint_slice("web-a", "web", "10.128.1.5", "10.128.2.7", "10.128.2.8")),
        *(STICKY, endpoint_slice("api-a", "api", "10.128.1.9", "10.128.2.9")),
        *many(["10.128.1.5", "10.128.2.7"]),
    ],
    "many endpoints are replaced, one Service loses all": [
        *(guarded("web", 0), endpoint_slice("web-a", "web")),
        *(STICKY, endpoint_slice("api-a", "api", "10.128.1.9", "10.128.2.10")),
        *many(["10.128.1.5", "10.128.2.8"]),
    ],
    "only one Service stays": [WEB, endpoint_slice("web-a", "web", "10.128.1.5")],
}

CHANGES = list(zip(STATES, list(STATES)[1:], strict=False))

RENDERED_FOR = {
    "iptables-nft": ("--iptables-backend", "nft"),
    "iptables-legacy": ("--iptables-backend", "legacy"),
    "nftables": ("--mode", "nftables"),
}
FLAGS = {
    "iptables-nft": ("--iptables-backend", "nft"),
    "iptables-legacy": ("--iptables-backend", "legacy"),
    "nftables": ("--proxy-mode", "nftables"),
}
RESTORES = {
    "iptables-nft": ["iptables-nft-restore", "--noflush"],
    "iptables-legacy": ["iptables-legacy-restore", "-w", "5", "--noflush"],
    "nftables": ["nft", "-f", "-"],
}

WITHOUT_NETLINK = """
import sys
from kproxy.cli.main import main
from kproxy.kernel.programs.nft import NftTable
def commit(self, commands):
    raise OSError("elements go by nft, where they can be seen")
NftTable.commit = commit
sys.argv[0] = "kproxy"
main()
"""
"""An agent whose elements go by `nft` too."""


@pytest.fixture
def manifests(tmp_path: Path) -> dict[str, Path]:
    """The file of each state."""
    found = {}
    for number, (state, objects) in enumerate(STATES.items()):
        found[state] = tmp_path / f"{number}.yaml"
        found[state].write_text(yaml.safe_dump_all([node(NODE), *objects]))
    return found


def render(*arguments: str) -> str:
    done = CliRunner().invoke(command, ["--node", NODE, *arguments])
    assert 0 == done.exit_code, done.output
    return done.stdout


def rendered(filters: str, before: Path, after: Path) -> str:
    return render(*RENDERED_FOR[filters], "-f", str(after), "--before", str(before))


class Recorder:
    """Stands before a program on PATH, and keeps what each run that writes rules reads from stdin."""

    def __init__(self, directory: Path, program: str) -> None:
        self._directory = directory / "read"
        self._directory.mkdir()
        stand_in = directory / "bin" / program
        stand_in.parent.mkdir()
        real = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
        stand_in.write_text(
            "#!/bin/sh\n"
            'case " $* " in *" -f - "*|*" --noflush "*) ;; *) exec ' + f'{real} "$@" ;; esac\n'
            'case " $* " in *" --check "*) exec ' + f'{real} "$@" ;; esac\n'
            f"unfinished=$(mktemp {directory}/unfinished-XXXXXX)\n"
            'cat > "$unfinished"\n'
            f'{real} "$@" < "$unfinished" || exit $?\n'
            f'mv "$unfinished" {self._directory}/$(date +%s%N)\n'
        )
        stand_in.chmod(0o755)
        self.path = f"{stand_in.parent}:{os.environ['PATH']}"

    def take(self) -> list[str]:
        """What was read since the last call, run by run; not of IPv6, and no checks whether rules are there."""
        files = sorted(self._directory.iterdir(), key=lambda each: int(each.name))
        texts = [each.read_text() for each in files]
        for each in files:
            each.unlink()
        return [text for text in texts if " ip6 " not in text and "\n-C " not in text]


@contextmanager
def an_agent(filters: str, directory: Path, log: Path, path: str) -> Iterator[None]:
    flags = ("--hostname-override", NODE, "--state-dir", str(log.parent / "state"), *FLAGS[filters])
    slow = ("--iptables-min-sync-period=300ms", "--iptables-sync-period=10m")
    started = ["-c", WITHOUT_NETLINK] if filters == "nftables" else ["-m", "kproxy"]
    program = [*DIES_WITH_ITS_PARENT, sys.executable, *started, "agent", "--manifests", str(directory)]
    with log.open("ab") as output:
        running = subprocess.Popen(
            [*program, *flags, *slow], stdout=output, stderr=output, env={**os.environ, "PATH": path}
        )
    try:
        yield
    finally:
        running.kill()
        running.wait(timeout=BOUND_S)


def synced(log: Path) -> int:
    return log.read_text().count("IPv4: synced")


@pytest.mark.parametrize("filters", FLAGS)
def test_agent_writes_what_render_prints_but_for_the_marks(
    filters: str, tmp_path: Path, manifests: dict[str, Path]
) -> None:
    log, directory = tmp_path / "log", tmp_path / "manifests"
    directory.mkdir()
    recorder = Recorder(tmp_path, RESTORES[filters][0])
    shutil.copy(manifests["at first"], directory / "all.yaml")
    with fresh_namespace() as name, inside(name), an_agent(filters, directory, log, recorder.path):
        eventually(lambda: synced(log) > 0, "the first sync", log)
        recorder.take()
        for before, after in CHANGES:
            syncs = synced(log)
            shutil.copy(manifests[after], tmp_path / "next")
            (tmp_path / "next").rename(directory / "all.yaml")
            eventually(lambda syncs=syncs: synced(log) > syncs, after, log)  # type: ignore[misc]
            text = rendered(filters, manifests[before], manifests[after])
            parts = MARK.split(text)[1:]
            written = recorder.take()
            assert parts
            assert (parts if filters == "nftables" else ["".join(parts)]) == written, after


def dump(filters: str) -> object:
    """The rules in this namespace, in a form in which equal rules are equal."""
    if filters == "nftables":
        return listing(Family.IPV4)
    saved = [process.run([f"{filters}-save", "-t", table]) for table in ("nat", "filter")]
    return [
        sorted(re.sub(r"\[\d+:\d+\]", "", line) for line in text.splitlines() if line[:1] in "*:")
        + [line for line in sorted(text.splitlines(), key=_chain) if line.startswith("-A")]
        for text in saved
    ]


def _chain(line: str) -> str:
    return line.split(" ")[1] if line.startswith("-A ") else ""


@pytest.mark.parametrize("filters", FLAGS)
def test_programs_take_what_render_prints_as_it_is(filters: str, manifests: dict[str, Path]) -> None:
    def clean(state: str) -> str:
        return render(*RENDERED_FOR[filters], "-f", str(manifests[state]))

    with fresh_namespace() as changed, fresh_namespace() as fresh:
        with inside(changed):
            process.run(RESTORES[filters], stdin=clean("at first"))
        for before, after in CHANGES:
            with inside(changed):
                process.run(RESTORES[filters], stdin=rendered(filters, manifests[before], manifests[after]))
                found = dump(filters)
            with inside(fresh):
                _empty(filters)
                process.run(RESTORES[filters], stdin=clean(after))
                assert dump(filters) == found, after


def _empty(filters: str) -> None:
    if filters == "nftables":
        process.run(["nft", "flush", "ruleset"])
        return
    program = filters
    for table in ("nat", "filter"):
        for option in ("-F", "-X"):
            process.run([program, "-t", table, option])


@pytest.mark.parametrize("filters", FLAGS)
def test_each_part_has_its_number_and_its_reason(filters: str, manifests: dict[str, Path]) -> None:
    several = False
    for before, after in CHANGES:
        marks = [
            line
            for line in rendered(filters, manifests[before], manifests[after]).splitlines()
            if line.startswith("#")
        ]
        noun = "run" if filters == "nftables" else "section"
        assert [f"# {noun} {number} of {len(marks)}" for number in range(1, len(marks) + 1)] == [
            mark.partition(":")[0] for mark in marks
        ]
        several |= len(marks) > 1
    assert several
    assert "" == rendered(filters, manifests["at first"], manifests["at first"])
