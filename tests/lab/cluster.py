"""A small cluster as manifests in a directory, and the agent that follows it on the lab's node."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.topology import NODE, NODE_V4, NODE_V6, PODS, Lab
from lab.worker import PORT
from namespaces import DIES_WITH_ITS_PARENT

NODE_NAME = "node-1"
CLUSTER_CIDR = "10.128.0.0/16,fd00:10:128::/48"
BOUND_S = 20.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Manifests in a directory; each file is replaced in one step."""

    directory: Path

    def add_node(self) -> None:
        self._write(
            "node",
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": NODE_NAME},
                "spec": {"podCIDRs": ["10.128.1.0/24", "fd00:10:128:1::/64"]},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": each} for each in (NODE_V4, NODE_V6)]
                },
            },
        )

    def add_service(self, name: str, cluster_ips: Sequence[str], protocol: str = "TCP", **spec: Any) -> None:
        """A Service with port 80; `spec` are more fields, `node_port` and `ingress` shorthands for theirs."""
        node_port, ingress = spec.pop("node_port", None), spec.pop("ingress", ())
        port = {
            "name": "web",
            "protocol": protocol,
            "port": 80,
            **({"nodePort": node_port} if node_port else {}),
        }
        self._write(
            f"service-{name}",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"clusterIPs": list(cluster_ips), "ports": [port], **spec},
                "status": {"loadBalancer": {"ingress": [{"ip": each} for each in ingress]}},
            },
        )

    def set_endpoints(self, service: str, *pods: str, protocol: str = "TCP") -> None:
        """The Service's EndpointSlices, one of each family, in one file."""
        slices = [
            self._slice(service, family, position, pods, protocol)
            for position, family in enumerate(("IPv4", "IPv6"))
        ]
        self._write(f"slices-{service}", {"apiVersion": "v1", "kind": "List", "items": slices})

    def _slice(
        self, service: str, family: str, position: int, pods: Sequence[str], protocol: str
    ) -> dict[str, object]:
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{service}-{family.lower()}",
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": family,
            "ports": [{"name": "web", "protocol": protocol, "port": PORT}],
            "endpoints": [
                {
                    "addresses": [PODS[pod][position]],
                    "nodeName": NODE_NAME if pod.startswith("pod-") else "node-2",
                }
                for pod in pods
            ],
        }

    def _write(self, name: str, manifest: dict[str, object]) -> None:
        unfinished = self.directory / f".{name}"
        unfinished.write_text(json.dumps(manifest))
        unfinished.replace(self.directory / f"{name}.json")


@dataclass(slots=True)
class RunningAgent:
    """`kproxy agent` on the lab's node, as a process that can be killed."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=BOUND_S)

    def said(self, text: str) -> bool:
        return text in self.log.read_text()


@contextmanager
def agent(lab: Lab, manifests: Path, backend: str, log: Path, *flags: str) -> Iterator[RunningAgent]:
    """Started, and past its first sync of both families."""
    command = [*DIES_WITH_ITS_PARENT, sys.executable, "-m", "kproxy", "agent", "--manifests", str(manifests)]
    named = ["--hostname-override", NODE_NAME, "--cluster-cidr", CLUSTER_CIDR]
    fast = ["--iptables-backend", backend, "--iptables-min-sync-period", "20ms"]
    fast += ["--state-dir", str(log.parent / "state")]
    seen = log.read_text().count("IPv6: synced") if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            lab.program(NODE, *command, *named, *fast, *flags), stdout=output, stderr=output
        )
    running = RunningAgent(process, log)
    try:
        eventually(lambda: log.read_text().count("IPv6: synced") > seen or process.poll() is not None)
        if process.poll() is not None:
            raise RuntimeError(f"the agent ended:\n{log.read_text()}")
        yield running
    finally:
        process.kill()
        process.wait(timeout=BOUND_S)


def eventually(holds: Callable[[], bool], what: str = "what was waited for") -> None:
    """Look until it holds; RuntimeError after a bounded time."""
    deadline = time.monotonic() + BOUND_S
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come within {BOUND_S:g} s")
        time.sleep(0.02)
