"""One measurement, and the summary of many."""

import re
import resource
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One sync: seconds until everything is in the kernel, by stage; and processor seconds, with programs."""

    wall_s: float
    cpu_s: float = 0.0
    stages_s: Mapping[str, float] = field(default_factory=dict)
    bytes_written: int = 0
    rules_written: int = 0


@dataclass(frozen=True, slots=True)
class Baseline:
    """A rival's figures; ratios are medians of kproxy's time and CPU to the rival's, pair by pair."""

    p50_ms: float
    ratio: float
    cpu_ms: float
    cpu_ratio: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """The summary of a case. Times are milliseconds.

    Stages, bytes and rules are medians. CPU is a mean, because the kernel counts it in ticks.
    """

    subject: str
    services: int
    endpoints: int
    case: str
    runs: int
    p50_ms: float
    p99_ms: float
    stages_ms: Mapping[str, float]
    bytes_written: float
    rules_written: float
    cpu_ms: float
    resident_mb: float
    most_resident_mb: float
    baselines: Mapping[str, Baseline]


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """The 50th and the 99th percentile; of few values the 99th is near the greatest."""
    if len(values) == 1:
        return values[0], values[0]
    return statistics.median(values), statistics.quantiles(values, n=100, method="inclusive")[98]


def cpu_s() -> float:
    """Processor seconds of this process and of the programs that it started and that have ended."""
    used = (resource.getrusage(whom) for whom in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def resident_mb(pid: int | str = "self") -> tuple[float, float]:
    """A process's resident memory, now and at most (VmRSS and VmHWM), in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    kib = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
    return int(kib["VmRSS"]) / _KIB, int(kib["VmHWM"]) / _KIB
