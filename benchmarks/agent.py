"""A real `kproxy agent` process that is fed by the stub API server, with its log and its resources."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.cluster import CIDR
from namespaces import DIES_WITH_ITS_PARENT

NODE = "node-1"
_LONGEST_S = 900.0
_STOPPING_S = 30.0
_POLL_S = 0.001
_SYNCED = re.compile(
    r" (IPv[46]): synced \d+ service ports: (\d+) chains and (\d+) rules written, (\d+) chains deleted"
)
_TICKS = os.sysconf("SC_CLK_TCK")


class Synced(NamedTuple):
    """One line of the agent's log."""

    family: str
    chains_written: int
    rules_written: int
    chains_deleted: int


class Agent:
    """The process; `synced` has the syncs that it has logged so far."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self._read = 0
        self._rest = ""
        self.synced: list[Synced] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """RuntimeError with the end of the log if this does not happen, or the agent ends."""
        give_up_at = time.monotonic() + _LONGEST_S
        while not holds():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"the agent did not get there; it said:\n{self._log.read_text()[-2000:]}")
            time.sleep(_POLL_S)

    def wait_for_sync(self, family: str = "IPv4", count: int = 1) -> Synced:
        """Wait until the log has this many syncs of a family; returns the last of them."""
        self.wait_until(lambda: len(self._told(family)) >= count)
        return self._told(family)[count - 1]

    def cpu_s(self) -> float:
        """Processor seconds of the process and of the programs that it ran."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS

    def _told(self, family: str) -> list[Synced]:
        with self._log.open(encoding="utf-8") as log:
            log.seek(self._read)
            text = self._rest + log.read()
            self._read = log.tell()
        *lines, self._rest = text.split("\n")
        for line in lines:
            if found := _SYNCED.search(line):
                self.synced.append(Synced(found[1], *map(int, found.groups()[1:])))
        return [each for each in self.synced if each.family == family]


@contextmanager
def running_agent(kubeconfig: Path, state: Path, flags: Sequence[str]) -> Iterator[Agent]:
    """An agent in this thread's network namespace, ended by SIGTERM."""
    command = [
        *DIES_WITH_ITS_PARENT,
        sys.executable,
        "-m",
        "kproxy",
        "agent",
        "--kubeconfig",
        str(kubeconfig),
    ]
    command += ["--hostname-override", NODE, "--cluster-cidr", CIDR, "--state-dir", str(state), *flags]
    log = state / f"agent-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield Agent(process, log)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=_STOPPING_S)
    finally:
        process.kill()
        process.wait()
