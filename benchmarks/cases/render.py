"""`kproxy render` as a whole process, from JSON."""

import os
import subprocess
import sys
import tempfile
import time

import msgspec

from benchmarks.cluster import Size, service_manifest, slice_manifest
from benchmarks.comparison import Comparison
from benchmarks.pace import Pace
from benchmarks.sample import Sample

_KIB = 1024


def measure(mode: str, size: Size, pace: Pace) -> tuple[Comparison, float]:
    """Times the process, and reads its largest resident memory, in MiB."""
    found = Comparison("render")
    most_mb = 0.0
    with tempfile.NamedTemporaryFile(suffix=".json") as manifests:
        manifests.write(_as_list(size))
        manifests.flush()
        for _ in pace.rounds(found.case):
            sample, megabytes = _render(mode, manifests.name)
            found.samples.append(sample)
            most_mb = max(most_mb, megabytes)
    return found, most_mb


def _render(mode: str, manifests: str) -> tuple[Sample, float]:
    command = [sys.executable, "-m", "kproxy", "render", "-f", manifests, "--node", "node-1"]
    command += ["--mode", mode]
    began = time.perf_counter()
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    took_s = time.perf_counter() - began
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise RuntimeError(f"kproxy render failed with exit code {running.returncode}; stderr says why")
    return Sample(took_s, used.ru_utime + used.ru_stime), used.ru_maxrss / _KIB


def _as_list(size: Size) -> bytes:
    items = [
        manifest
        for number in range(size.services)
        for manifest in (service_manifest(number), slice_manifest(number, size.endpoints))
    ]
    return msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": items})
