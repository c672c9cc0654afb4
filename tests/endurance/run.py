"""A real agent through a thousand changes, and a thousand more: is the kernel right, and has anything grown?"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low
from tempfile import TemporaryDirectory
from typing import NamedTuple

from endurance.churn import Churn
from kproxy import process
from kproxy.errors import ProgramFailed
from kproxy.kernel.netlink.accounting import ensure_counters
from kproxy.kernel.programs.iptables import Variant
from kproxy.values import Family
from namespaces import DIES_WITH_ITS_PARENT, fresh_namespace, inside
from nftlisting import listing
from recordings import comparable
from statemachine.cluster import NODE, NODE_ADDRESSES
from statemachine.flags import BOTH_CIDRS
from stubapi import StubApi

MOST_GROWTH = 0.05
"""The most that resident memory may grow, from the first half of the changes to the second."""

_SETTLES_WITHIN_S = 40.0
_AT_REST_FOR_S = 2.5
"""A sync period, after which what is free goes back to the kernel, and half a second."""
_LOOKS = 4
"""At an agent that seems to hold more than before."""
_CHANGES_UNTIL_A_FAULT = 25
_LAST_WORDS = 3000
_FAMILIES = {Family.IPV4: "ipv4", Family.IPV6: "ipv6"}
_TABLES = ("filter", "nat")


class Unsettled(AssertionError):
    """The kernel's rules do not become those of a fresh start."""


class AgentDied(AssertionError):
    """The agent ended although nobody asked for it, or met a defect that it caught itself."""


class Held(NamedTuple):
    """The resident memory of a process in KiB, its threads, and its file descriptors."""

    memory: int
    threads: int
    files: int


@dataclass
class Figures:
    """The agent's memory, threads and files at the start, after one half of the changes and after the other.

    The objects of the cluster are the same each time. `settled_s` is how long after each half's last change the kernel
    was seen to be right, at most.
    """

    held: list[Held] = field(default_factory=list)
    settled_s: list[float] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)

    @property
    def broken(self) -> list[str]:
        """The bounds that do not hold, as sentences.

        A watch that waits until it asks again has no connection: a half may end with one less than there was before.
        """
        start, half, full = self.held
        growth = full.memory / half.memory - 1
        said = []
        if growth > MOST_GROWTH:
            said.append(f"memory grew by {growth:.1%}, from {half.memory} to {full.memory} KiB")
        if full.threads > (before := max(start.threads, half.threads)):
            said.append(f"threads grew from {before} to {full.threads}")
        if full.files > (before := max(start.files, half.files)):
            said.append(f"file descriptors grew from {before} to {full.files}")
        return said


def endure(variant: Variant | None, seed: int, changes: int, changes_per_s: float) -> Figures:
    """Through so many changes, in two halves, at that pace; AssertionError where the kernel is wrong or the agent dies.

    Without a variant in nftables mode.
    """
    with ExitStack() as stack:
        home, clean = (stack.enter_context(fresh_namespace()) for _ in range(2))
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="kproxy-endurance-")))
        stack.enter_context(inside(home))
        for address, size in zip(NODE_ADDRESSES, (24, 64), strict=True):
            process.run(["ip", "address", "add", f"{address}/{size}", "dev", "lo"])
        ensure_counters()
        api = stack.enter_context(StubApi())
        churn = Churn(api, seed)
        churn.begin()
        judge = _Judge(variant, clean, api.write_kubeconfig(directory / "kubeconfig"), directory)
        agent = stack.enter_context(judge.running_agent())
        figures = Figures(tally=churn.tally)
        first = judge.fresh()
        judge.settle(first)
        figures.held.append(_held_at_rest(agent.pid))
        for _ in range(2):
            _live_through(churn, changes // 2, changes_per_s)
            changed_at = time.monotonic()
            judge.settle(judge.fresh())
            figures.settled_s.append(time.monotonic() - changed_at)
            churn.return_to_the_beginning()
            judge.settle(first)
            figures.held.append(_held_at_rest(agent.pid, *figures.held[1:]))
        figures.tally["syncs"] = judge.count("synced")
        return figures


def _live_through(churn: Churn, changes: int, changes_per_s: float) -> None:
    for number in range(changes):
        if number % _CHANGES_UNTIL_A_FAULT == 0:
            churn.disturb()
        churn.change()
        time.sleep(1 / changes_per_s)
    churn.recover()


class _Judge:
    """Starts the agent, and compares what it does with a fresh render of what the API server holds, on a clean node."""

    def __init__(self, variant: Variant | None, clean: str, kubeconfig: Path, directory: Path) -> None:
        self._variant = variant
        self._clean = clean
        self._kubeconfig = kubeconfig
        self._state = directory / "state"
        self._log = directory / "agent.log"
        self._config = directory / "config.yaml"
        mode = f"mode: {'iptables' if variant else 'nftables'}"
        timing = "{syncPeriod: 2s, minSyncPeriod: 50ms}"
        self._config.write_text(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
            f"{mode}\nclusterCIDR: {BOTH_CIDRS}\niptables: {timing}\nnftables: {timing}\n"
            f"clientConnection: {{kubeconfig: {kubeconfig}}}\n"
        )
        self._environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        self._agent: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running_agent(self) -> Iterator[subprocess.Popen[bytes]]:
        variant = ("--iptables-backend", self._variant) if self._variant else ()
        command = self._command(
            "agent", "--hostname-override", NODE, "--state-dir", str(self._state), *variant
        )
        with self._log.open("ab") as output:
            running = subprocess.Popen(
                [*DIES_WITH_ITS_PARENT, *command], stdout=output, stderr=output, env=self._environment
            )
        self._agent = running
        try:
            yield running
        finally:
            running.kill()
            running.wait(timeout=10)

    def settle(self, wanted: dict[str, object]) -> None:
        """Wait until the kernel holds that."""
        began_at = time.monotonic()
        while (found := self._programmed()) != wanted:
            if time.monotonic() - began_at > _SETTLES_WITHIN_S:
                raise Unsettled(f"{_first_difference(wanted, found)}\n{self._last_words()}")
            time.sleep(0.1)
        if self._agent and self._agent.poll() is not None:
            raise AgentDied(self._last_words())
        log = self._log.read_text()
        if "Traceback" in log or "defect" in log:
            raise AgentDied(self._last_words())

    def count(self, words: str) -> int:
        """Lines of the agent's log with these words."""
        return self._log.read_text().count(words)

    def fresh(self) -> dict[str, object]:
        """The rules of a clean node after `kproxy render` of the API server's present objects."""
        rendered = {family: self._render(name) for family, name in _FAMILIES.items()}
        with inside(self._clean):
            if self._variant is None:
                process.run(["nft", "-f", "-"], stdin="flush ruleset\n" + "".join(rendered.values()))
                return self._programmed()
            ensure_counters()
            for family, text in rendered.items():
                restore = f"{_program(self._variant, family)}-restore"
                process.run([restore], stdin="*nat\nCOMMIT\n*filter\nCOMMIT\n")
                process.run([restore, "--noflush"], stdin=text)
            return self._programmed()

    def _render(self, family: str) -> str:
        command = self._command(
            "render",
            "--from-cluster",
            "--kubeconfig",
            str(self._kubeconfig),
            "--node",
            NODE,
            "--family",
            family,
        )
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=self._environment
        )
        assert done.returncode in (0, 1), done.stderr  # 1 where an object cannot be used
        return done.stdout

    def _command(self, *arguments: str) -> list[str]:
        program = [sys.executable, "-m", "statemachine.quick_agent"]
        return [*program, *arguments, "--config", str(self._config)]

    def _programmed(self) -> dict[str, object]:
        """The rules in this thread's network namespace, chain by chain."""
        if self._variant is None:
            return {f"{family} {part}": text for family in Family for part, text in _listing(family).items()}
        return {
            f"{family} {chain}": rules
            for family in Family
            for table in _TABLES
            for chain, rules in comparable(
                process.run([f"{_program(self._variant, family)}-save", "-t", table])
            ).items()
        }

    def _last_words(self) -> str:
        return f"The agent said:\n{self._log.read_text()[-_LAST_WORDS:]}"


def _listing(family: Family) -> dict[str, object]:
    try:
        return listing(family)
    except ProgramFailed:
        return {}  # no table yet


def _program(variant: Variant, family: Family) -> str:
    return f"{'iptables' if family is Family.IPV4 else 'ip6tables'}-{variant}"


def _first_difference(wanted: dict[str, object], found: dict[str, object]) -> str:
    part = min(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    return f"{part}: wanted {wanted.get(part)}, found {found.get(part)}"


def _held_at_rest(pid: int, before: Held | None = None) -> Held:
    """The median of each in a while without changes: a watch may just begin again, a program just run.

    If there are more threads or files than `before`, the agent is looked at again: a busy machine has programs run
    for long, and what leaked stays.
    """
    for _ in range(_LOOKS):
        samples = []
        deadline = time.monotonic() + _AT_REST_FOR_S
        while time.monotonic() < deadline:
            samples.append(_held(pid))
            time.sleep(0.1)
        held = Held(*map(median_low, zip(*samples, strict=True)))
        if before is None or (held.threads <= before.threads and held.files <= before.files):
            break
    return held


def _held(pid: int) -> Held:
    about = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (about / "status").read_text().splitlines())
    memory = int(status["VmRSS"].split()[0])
    return Held(memory, *(len(list((about / part).iterdir())) for part in ("task", "fd")))
