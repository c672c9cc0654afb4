"""The first packet of a connection to the last of all Services, against the first packet to the only one."""

import socket
import statistics
import struct
import time

from benchmarks.cluster import CIDR, Size, cluster_ip
from benchmarks.comparison import Comparison
from benchmarks.ground import Ground, synced
from benchmarks.pace import Pace
from benchmarks.sample import Sample, cpu_s
from kproxy import process
from namespaces import inside

_TRIES = 200
_PORT = 8080
_CLIENT = "10.128.0.1"
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a reset closes the connection, so no port waits for late packets."""


def measure(ground: Ground, pace: Pace) -> list[Comparison]:
    """TCP connects on loopback, where every address of the cluster is local; each run is the median of many."""
    found = Comparison("first packet to the last service")
    with synced(ground.subject, Size(1, ground.size.endpoints)) as alone:
        with inside(ground.namespace):
            _be_at_home()
        _be_at_home()
        for _ in pace.rounds(found.case):
            with inside(ground.namespace):
                found.samples.append(_connects(cluster_ip(ground.size.services - 1)))
            with inside(alone.namespace):
                found.enter("only service", _connects(cluster_ip(0)))
    return [found]


def _be_at_home() -> None:
    process.run(["ip", "address", "add", f"{_CLIENT}/32", "dev", "lo"])
    process.run(["ip", "route", "add", "local", CIDR, "dev", "lo"])
    process.run(["ip", "route", "add", "10.96.0.0/11", "dev", "lo", "src", _CLIENT])


def _connects(address: str) -> Sample:
    took_s, cpu_before = [], cpu_s()
    with socket.create_server(("0.0.0.0", _PORT)) as server:  # noqa: S104 # in a namespace of its own
        for _ in range(_TRIES):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                began = time.perf_counter()
                client.connect((address, 80))
                took_s.append(time.perf_counter() - began)
                server.accept()[0].close()
    return Sample(statistics.median(took_s), (cpu_s() - cpu_before) / _TRIES)
