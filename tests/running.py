"""`kproxy agent` as a process of its own in this thread's network namespace."""

import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from namespaces import DIES_WITH_ITS_PARENT

NODE = "node-1"
BOUND_S = 30.0


@contextmanager
def running_agent(
    *flags: str, log: Path, named: bool = True, before: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Quick to write and to look again; `flags` come last and win. Without `named`, with `flags` alone.

    Its state directory is beside the log: no other test has it. `before` is a program that starts the agent.
    """
    state = ["--state-dir", str(log.parent / "state")]
    command = [*DIES_WITH_ITS_PARENT, *before, sys.executable, "-m", "kproxy", "agent", *state]
    quick = [
        "--hostname-override",
        NODE,
        "--iptables-min-sync-period",
        "50ms",
        "--iptables-sync-period",
        "2s",
    ]
    quick += ["--iptables-backend", "nft"]
    with log.open("ab") as output:
        running = subprocess.Popen(
            [*command, *(quick if named else []), *flags], stdout=output, stderr=output
        )
    try:
        yield running
    finally:
        running.kill()
        running.wait(timeout=BOUND_S)


def metric(series: str) -> float:
    """The newest value of an agent's series, named with all its labels as the page has them."""
    with urllib.request.urlopen("http://127.0.0.1:10249/metrics", timeout=10) as answer:
        page = answer.read().decode()
    found = re.search(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def eventually(holds: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + BOUND_S
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {BOUND_S:g} s; the agent said:\n{log.read_text()}")
        time.sleep(0.05)
