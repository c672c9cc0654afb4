"""`kproxy agent` as a process that can be killed and started again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from namespaces import DIES_WITH_ITS_PARENT
from statemachine import hunger
from statemachine.cluster import NODE
from statemachine.filters import Filter
from statemachine.flags import Flags
from statemachine.programs import Programs

_STOP_WITHIN_S = 10.0
"""Programs may work on for three seconds, connections may close for two; the rest is for a busy machine."""


class AgentStuck(AssertionError):
    """The agent was asked to end, and did not."""


class AgentProcess:
    """At most one at a time; it runs in the network namespace of the thread that starts it."""

    def __init__(self, chosen: Filter, kubeconfig: Path, programs: Programs, lock: Path, log: Path) -> None:
        self.record = record = log.parent / "state"
        self.hunger = log.parent / "hunger"
        self.hunger.mkdir()
        self._fixed = (
            *DIES_WITH_ITS_PARENT,
            *(sys.executable, "-m", "statemachine.quick_agent", "agent"),
            *("--kubeconfig", str(kubeconfig), "--hostname-override", NODE, *chosen.arguments),
            *("--state-dir", str(record)),
        )
        tests = str(Path(__file__).parents[1])
        self._environment = {
            **os.environ,
            "PATH": f"{programs.path}:{os.environ['PATH']}",
            "PYTHONPATH": tests,
            "XTABLES_LOCKFILE": str(lock),
            hunger.VARIABLE: str(self.hunger),
        }
        self._log = log
        self._running: subprocess.Popen[bytes] | None = None
        self._excused = 0

    def start(self, flags: Flags) -> None:
        with self._log.open("ab") as output:
            self._running = subprocess.Popen(
                [*self._fixed, *flags.arguments()], stdout=output, stderr=output, env=self._environment
            )

    def kill(self) -> None:
        """End it at once, as the kernel does when memory runs out; what it started goes on."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    @property
    def is_up(self) -> bool:
        return self._running is not None and self._running.poll() is None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def is_well(self) -> bool:
        """Whether it has met no defect that is not excused."""
        said = self.log[self._excused :]
        return "Traceback" not in said and "defect" not in said

    def excuse(self) -> None:
        """Whatever defect it told of so far was to be expected."""
        self._excused = len(self.log)

    def _end(self, number: signal.Signals) -> None:
        if self._running is None:
            return
        self._running.send_signal(number)
        try:
            self._running.wait(timeout=_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise AgentStuck(f"The agent said:\n{self.log[-2000:]}") from None
        finally:
            self._running.kill()
            self._running.wait()
            self._running = None
