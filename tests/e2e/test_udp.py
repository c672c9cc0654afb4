"""A UDP client that never stops sending follows its Service from endpoint to endpoint, with a real agent."""

import json
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pods import node_and_pods
from running import NODE, eventually, metric, running_agent
from stubapi.manifests import node

pytestmark = pytest.mark.netns

ENDPOINTS = ("10.128.1.5", "10.128.2.6")
DELETED = 'kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv4"}'
LOOKED = 'kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family="IPv4"}'
CLUSTER_IP, NODE_PORT = ("10.96.0.53", 53), ("10.199.0.2", 30053)


def service() -> dict[str, Any]:
    port = {"name": "dns", "protocol": "UDP", "port": CLUSTER_IP[1], "nodePort": NODE_PORT[1]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "dns", "namespace": "default"},
        "spec": {"type": "NodePort", "clusterIPs": [CLUSTER_IP[0]], "ports": [port]},
    }


def slices(*endpoints: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "dns-a",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "dns"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "dns", "protocol": "UDP", "port": 53}],
        "endpoints": [{"addresses": [endpoint], "nodeName": NODE} for endpoint in endpoints],
    }


def put(directory: Path, name: str, manifest: dict[str, Any]) -> None:
    unfinished = directory / f".{name}"
    unfinished.write_text(json.dumps(manifest))
    unfinished.rename(directory / f"{name}.json")


def answered_by(client: socket.socket, endpoint: str) -> bool:
    """Each try is a packet of the one flow, which keeps it alive."""
    try:
        client.send(b"who?")
        return client.recv(100).decode() == endpoint
    except OSError:
        return False


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
@pytest.mark.parametrize("meanwhile", [[], [()]], ids=["at once", "after a time without any"])
@pytest.mark.parametrize("frontend", [CLUSTER_IP, NODE_PORT], ids=["cluster IP", "node port"])
def test_client_reaches_the_endpoint_that_serves(
    frontend: tuple[str, int], meanwhile: list[tuple[str, ...]], mode: str, tmp_path: Path
) -> None:
    manifests, log = tmp_path / "manifests", tmp_path / "log"
    manifests.mkdir()
    put(manifests, "node", node(NODE))
    put(manifests, "service", service())
    put(manifests, "slices", slices(ENDPOINTS[0]))
    with (
        node_and_pods(ENDPOINTS),
        running_agent("--manifests", str(manifests), f"--proxy-mode={mode}", log=log),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        eventually(lambda: "IPv6: synced" in log.read_text(), "the first sync", log)
        client.settimeout(0.2)
        client.connect(frontend)
        eventually(partial(answered_by, client, ENDPOINTS[0]), "the only endpoint answers", log)
        for endpoints in meanwhile:
            before = log.read_text().count("IPv4: synced")
            put(manifests, "slices", slices(*endpoints))
            eventually(lambda: log.read_text().count("IPv4: synced") > before, "it is gone", log)  # noqa: B023 # asked at once
        put(manifests, "slices", slices(ENDPOINTS[1]))
        eventually(partial(answered_by, client, ENDPOINTS[1]), "the other endpoint answers", log)
        eventually(lambda: metric(DELETED) >= 1.0, "the stale flow is counted", log)
        assert metric(LOOKED) >= 1.0
