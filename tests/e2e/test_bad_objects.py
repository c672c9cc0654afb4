"""A real agent in a cluster with bad objects: each costs itself, all others are in the kernel, now and later."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from kproxy import process
from namespaces import fresh_namespace, inside
from running import NODE, eventually, metric, running_agent
from stubapi import StubApi
from stubapi.manifests import endpoint_slice, node, service, service_cidr

pytestmark = pytest.mark.netns

DEEP = msgspec.Raw(b'[{"manager":"x","fieldsV1":' + b'{"f:a":' * 5_000 + b"{}" + b"}" * 5_000 + b"}]")


class Mode(NamedTuple):
    """How an agent is started in a mode, and how its rules are listed."""

    flags: tuple[str, ...]
    listing: tuple[str, ...]


MODES = {
    "iptables-nft": Mode(("--iptables-backend", "nft"), ("iptables-nft-save", "-t", "nat")),
    "iptables-legacy": Mode(("--iptables-backend", "legacy"), ("iptables-legacy-save", "-t", "nat")),
    "nftables": Mode(
        ("--proxy-mode", "nftables", "--cluster-cidr", "10.128.0.0/16"),
        ("nft", "list", "ruleset"),
    ),
}


class Node(NamedTuple):
    """A node with its API server and a running agent."""

    api: StubApi
    listing: tuple[str, ...]
    log: Path

    def holds(self, *words: str) -> Callable[[], bool]:
        def all_there() -> bool:
            rules = process.run(self.listing)
            return all(word in rules for word in words)

        return all_there

    def eventually_holds(self, *words: str) -> None:
        eventually(self.holds(*words), f"{words} in the kernel", self.log)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Mode:
    return MODES[request.param]


@contextmanager
def agent_beside(api: StubApi, mode: Mode, tmp_path: Path) -> Iterator[Node]:
    log = tmp_path / "log"
    kubeconfig = str(api.write_kubeconfig(tmp_path / "kubeconfig"))
    with running_agent("--kubeconfig", kubeconfig, *mode.flags, log=log):
        yield Node(api, mode.listing, log)


@pytest.fixture
def api() -> Iterator[StubApi]:
    with fresh_namespace() as name, inside(name), StubApi() as stub:
        stub.put("Node", node(NODE))
        stub.put("ServiceCIDR", service_cidr("kubernetes", "10.96.0.0/12"))
        put_service(stub, "web", "10.96.0.10", "10.128.1.5")
        yield stub


def put_service(
    api: StubApi,
    name: str,
    cluster_ip: str,
    endpoint: str,
    metadata: dict[str, Any] | None = None,
    **spec: Any,
) -> None:
    manifest = service(name, **metadata or {})
    manifest["spec"] |= {"clusterIP": cluster_ip, "clusterIPs": [cluster_ip], **spec}
    api.put("Service", manifest)
    api.put("EndpointSlice", endpoint_slice(f"{name}-a", name, endpoint))


def page(path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:10249{path}", timeout=10) as answer:
        return json.loads(answer.read())


def in_quarantine(kind: str = "Service") -> float:
    return metric(f'kproxy_quarantined_objects{{kind="{kind}"}}')


def is_ready() -> bool:
    try:
        with urllib.request.urlopen("http://127.0.0.1:10256/readyz", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_objects_nested_thousands_of_levels_deep_cost_nobody_anything(
    mode: Mode, api: StubApi, tmp_path: Path
) -> None:
    put_service(api, "deep", "10.96.0.11", "10.128.1.6", {"managedFields": DEEP})
    api.put("Node", {**node(NODE), "metadata": {**node(NODE)["metadata"], "managedFields": DEEP}})
    piece = endpoint_slice("web-b", "web", "10.128.1.7")
    api.put("EndpointSlice", {**piece, "metadata": {**piece["metadata"], "managedFields": DEEP}})
    with agent_beside(api, mode, tmp_path) as there:
        there.eventually_holds("10.96.0.10", "10.128.1.5", "10.96.0.11", "10.128.1.6", "10.128.1.7")
        put_service(api, "later", "10.96.0.12", "10.128.1.8", {"managedFields": DEEP})
        there.eventually_holds("10.96.0.12", "10.128.1.8")
        put_service(api, "web", "10.96.0.10", "10.128.1.9")
        there.eventually_holds("10.128.1.9")
        assert 0.0 == in_quarantine() == in_quarantine("Node") == in_quarantine("EndpointSlice")
        assert is_ready()


def test_bad_objects_are_told_once_and_keep_the_rules_that_they_had(
    mode: Mode, api: StubApi, tmp_path: Path
) -> None:
    put_service(api, "bad", "10.96.0.11", "10.128.1.6", ports=[{"port": 70000, "protocol": "TCP"}])
    put_service(api, "sound", "10.96.0.12", "10.128.1.7")
    with agent_beside(api, mode, tmp_path) as there:
        there.eventually_holds("10.96.0.10", "10.128.1.5", "10.96.0.12", "10.128.1.7")
        eventually(is_ready, "ready with a bad object", there.log)
        assert not there.holds("10.96.0.11")()
        put_service(api, "sound", "10.96.0.12", "10.128.1.7", ports=[{"port": "eighty"}])
        eventually(lambda: in_quarantine() == 2.0, "both in quarantine", there.log)
        put_service(api, "web", "10.96.0.10", "10.128.1.8")
        there.eventually_holds("10.128.1.8", "10.96.0.12", "10.128.1.7")
        api.close_streams()
        api.compact()
        put_service(api, "web", "10.96.0.10", "10.128.1.9")
        there.eventually_holds("10.128.1.9", "10.96.0.12", "10.128.1.7")
        quarantine = {each["name"]: each for each in page("/debug/quarantine")["objects"]}
        assert ("spec.ports[0].port", "is left out") == (
            quarantine["bad"]["field"],
            quarantine["bad"]["effect"],
        )
        assert "keeps the rules that it had, if any" == quarantine["sound"]["effect"]
        assert is_ready()

        def told() -> set[str]:
            return {each["regarding"]["name"] for each in api.created if each["reason"] == "Quarantined"}

        eventually(lambda: {"bad", "sound"} == told(), "an Event for each", there.log)
        for name, port in (("bad", 81), ("sound", 82)):
            address = quarantine[name] and {"bad": "10.96.0.11", "sound": "10.96.0.12"}[name]
            put_service(api, name, address, "10.128.1.6", ports=[{"port": port, "protocol": "TCP"}])
        there.eventually_holds("10.96.0.11", "10.96.0.12")
        eventually(lambda: in_quarantine() == 0.0, "nobody in quarantine", there.log)
    said = there.log.read_text()
    assert 1 == said.count(
        "agent.observers.quarantine: /api/v1/services: Service default/bad is left out: spec.ports[0].port: 70000"
    )
    assert 1 == said.count("no longer in quarantine: /api/v1/services: Service default/bad")


def test_bad_field_costs_only_itself(mode: Mode, api: StubApi, tmp_path: Path) -> None:
    odd = node(NODE)
    odd["status"]["addresses"].append({"type": "InternalIP", "address": "fe80::1%eth0"})
    api.put("Node", odd)
    put_service(
        api, "web", "10.96.0.10", "10.128.001.006", externalIPs=["192.0.2.010", "192.0.2.x", "192.0.2.20"]
    )
    with agent_beside(api, mode, tmp_path) as there:
        there.eventually_holds("10.96.0.10", "10.128.1.6", "192.0.2.10", "192.0.2.20")
        eventually(is_ready, "ready with a bad field", there.log)
        eventually(lambda: in_quarantine() == 1.0 == in_quarantine("Node"), "the flawed are told", there.log)
        with urllib.request.urlopen("http://127.0.0.1:10256/healthz", timeout=10) as answer:
            assert 200 == answer.status


def test_slices_that_no_service_can_use_are_passed_over(mode: Mode, api: StubApi, tmp_path: Path) -> None:
    names = endpoint_slice("names-a", "web", "example.org")
    api.put("EndpointSlice", {**names, "addressType": "FQDN"})
    nobodys = endpoint_slice("nobodys-a", "web", "10.128.1.9")
    nobodys["metadata"]["labels"] = {}
    api.put("EndpointSlice", nobodys)
    with agent_beside(api, mode, tmp_path) as there:
        there.eventually_holds("10.96.0.10", "10.128.1.5")
        piece = endpoint_slice("web-a", "web", "10.128.1.5")
        piece["metadata"]["labels"] = {}
        api.put("EndpointSlice", piece)
        eventually(
            lambda: not there.holds("10.128.1.5")(), "a slice that lost its Service is gone", there.log
        )
        assert 0.0 == in_quarantine("EndpointSlice")
        assert "left out 0" in there.log.read_text()


def test_service_that_asks_for_millions_of_rules_gets_none_and_the_others_theirs(
    mode: Mode, api: StubApi, tmp_path: Path
) -> None:
    ports = [{"port": 1 + port, "name": f"p{port}", "protocol": "UDP"} for port in range(3_000)]
    addresses = [f"192.0.{each // 250}.{1 + each % 250}" for each in range(3_000)]
    put_service(api, "huge", "10.96.0.11", "10.128.1.6", ports=ports, externalIPs=addresses)
    with agent_beside(api, mode, tmp_path) as there:
        there.eventually_holds("10.96.0.10", "10.128.1.5")
        put_service(api, "web", "10.96.0.10", "10.128.1.8")
        there.eventually_holds("10.128.1.8")
        (told,) = page("/debug/quarantine")["objects"]
        assert ("huge", "spec.ports") == (told["name"], told["field"])
        assert "allowed are 10000" in told["reason"]
        assert not there.holds("10.96.0.11")()
