"""Real packets through the rules of a real agent: who answers, whom it sees, who is refused or dropped."""

import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from kproxy.kernel.netlink.nfnetlink import NFPROTO_UNSPEC, Netlink
from kproxy.kernel.programs.iptables import Variant
from lab import CLIENT, NODE, Lab
from lab.cluster import Cluster, RunningAgent, agent, eventually
from lab.topology import (
    CLIENT_V4,
    CLIENT_V6,
    FAR_CLIENT_V4,
    FAR_CLIENT_V6,
    NODE_V4,
    NODE_V6,
    PODS,
    Outcome,
)
from namespaces import inside

pytestmark = pytest.mark.netns

SERVICE_IP = {4: "10.96.0.10", 6: "fd00:10:96::10"}
VIP = {4: "192.0.2.10", 6: "2001:db8:2::10"}
EXTERNAL_IP = {4: "203.0.113.5", 6: "2001:db8:3::5"}
NODE_IP = {4: NODE_V4, 6: NODE_V6}
CLIENT_IP = {4: CLIENT_V4, 6: CLIENT_V6}
FAR_CLIENT_IP = {4: FAR_CLIENT_V4, 6: FAR_CLIENT_V6}
FAR_CLIENTS = {4: f"{FAR_CLIENT_V4}/32", 6: f"{FAR_CLIENT_V6}/128"}
NODE_PORT = 30080
DELETE_FLOWS = 1 << 8 | 2
"""IPCTNL_MSG_CT_DELETE; all of them if none is named."""
ALL = ("pod-1", "pod-2", "far-1")

CHI_SQUARE_AT_1E_6 = {1: 23.9, 2: 27.6, 4: 33.4}
"""Critical values by degrees of freedom; equal shares pass them once in a million runs."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as built:
        yield built


@pytest.fixture(scope="module", params=Variant)
def variant(request: pytest.FixtureRequest) -> Variant:
    return Variant(request.param)


class Site:
    """The lab with one Service `web` of both families, programmed by an agent that follows its manifests."""

    def __init__(self, lab: Lab, variant: Variant, directory: Path, stack: ExitStack) -> None:
        self.lab, self.variant, self.stack = lab, variant, stack
        self.cluster = Cluster(directory / "manifests")
        self.cluster.directory.mkdir()
        self.log = directory / "agent.log"
        self.ask = lab.ask

    def serve(
        self, *pods: str, protocol: str = "TCP", flags: tuple[str, ...] = (), **spec: Any
    ) -> RunningAgent:
        """The Service over these pods, in the kernel when this returns."""
        self.cluster.add_node()
        self.cluster.add_service("web", list(SERVICE_IP.values()), protocol, **spec)
        self.cluster.set_endpoints("web", *pods, protocol=protocol)
        return self.start_agent(*flags)

    def start_agent(self, *flags: str) -> RunningAgent:
        return self.stack.enter_context(
            agent(self.lab, self.cluster.directory, self.variant, self.log, *flags)
        )

    def rules(self) -> list[str]:
        saved = (
            subprocess.run(
                self.lab.program(NODE, f"{program}-{self.variant}-save"),
                capture_output=True,
                text=True,
                check=True,
            )
            for program in ("iptables", "ip6tables")
        )
        return [
            line for dump in saved for line in dump.stdout.splitlines() if line.startswith(("-A", ":KUBE"))
        ]

    def flush(self) -> None:
        """No rule is left, and no flow that a later one from the same port would be taken for."""
        with inside(self.lab.name(NODE)), Netlink() as netlink:
            netlink.tell(DELETE_FLOWS, NFPROTO_UNSPEC, b"")
        for program in ("iptables", "ip6tables"):
            command = self.lab.program(NODE, f"{program}-{self.variant}-restore")
            subprocess.run(command, input="*nat\nCOMMIT\n*filter\nCOMMIT\n", text=True, check=True)


@pytest.fixture
def site(lab: Lab, variant: Variant, tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        built = Site(lab, variant, tmp_path, stack)
        stack.callback(built.flush)
        yield built


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def v(request: pytest.FixtureRequest) -> int:
    """The IP version."""
    return int(request.param)


def pod_ip(pod: str, v: int) -> str:
    return PODS[pod][0 if v == 4 else 1]


def who(outcomes: list[Outcome]) -> set[str]:
    """The pods that answered, or the reasons why no pod did."""
    return {outcome if isinstance(outcome, str) else outcome[0] for outcome in outcomes}


def seen(outcomes: list[Outcome]) -> set[str]:
    """The clients' addresses as the pods saw them."""
    return {outcome if isinstance(outcome, str) else outcome[1] for outcome in outcomes}


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_cluster_ip_is_answered_by_every_pod_from_everywhere(site: Site, v: int, protocol: str) -> None:
    site.serve(*ALL, protocol=protocol)
    for role in (NODE, CLIENT, "pod-3", "far-2"):
        assert set(ALL) == who(site.ask(role, SERVICE_IP[v], 80, protocol=protocol, count=40))


def test_cluster_ip_keeps_pods_addresses_and_masquerades_outsiders(site: Site, v: int) -> None:
    site.serve("pod-1")
    assert {pod_ip("pod-3", v)} == seen(site.ask("pod-3", SERVICE_IP[v], 80))
    outsider = seen(site.ask(CLIENT, SERVICE_IP[v], 80))
    assert CLIENT_IP[v] not in outsider
    assert {"pod-1"} == who(site.ask(CLIENT, SERVICE_IP[v], 80))


def test_masquerade_all_hides_pods_too(site: Site, v: int) -> None:
    site.serve("pod-1", flags=("--masquerade-all",))
    assert pod_ip("pod-3", v) not in seen(site.ask("pod-3", SERVICE_IP[v], 80))


def test_pod_reaches_itself_through_its_service(site: Site, v: int) -> None:
    site.serve("pod-1")
    outcomes = site.ask("pod-1", SERVICE_IP[v], 80, count=3)
    assert {"pod-1"} == who(outcomes)
    assert pod_ip("pod-1", v) not in seen(outcomes)


def test_node_port_is_answered_from_outside_and_masqueraded(site: Site, v: int) -> None:
    site.serve(*ALL, type="NodePort", node_port=NODE_PORT)
    outcomes = site.ask(CLIENT, NODE_IP[v], NODE_PORT, count=40)
    assert set(ALL) == who(outcomes)
    assert CLIENT_IP[v] not in seen(outcomes)
    assert set(ALL) == who(site.ask(NODE, NODE_IP[v], NODE_PORT, count=40))


def test_node_port_answers_on_ipv4_localhost_unless_switched_off(site: Site) -> None:
    site.serve("pod-1", "far-1", type="NodePort", node_port=NODE_PORT)
    assert {"pod-1", "far-1"} == who(site.ask(NODE, "127.0.0.1", NODE_PORT, count=20))
    assert {"refused"} == who(site.ask(NODE, "::1", NODE_PORT))


def test_node_port_on_localhost_can_be_switched_off(site: Site) -> None:
    site.serve("pod-1", type="NodePort", node_port=NODE_PORT, flags=("--iptables-localhost-nodeports=false",))
    assert {"refused"} == who(site.ask(NODE, "127.0.0.1", NODE_PORT))
    assert {"pod-1"} == who(site.ask(CLIENT, NODE_V4, NODE_PORT))


def test_node_port_answers_only_on_chosen_addresses(site: Site) -> None:
    site.serve("pod-1", type="NodePort", node_port=NODE_PORT, flags=("--nodeport-addresses", "127.0.0.0/8"))
    assert {"pod-1"} == who(site.ask(NODE, "127.0.0.1", NODE_PORT))
    assert {"refused"} == who(site.ask(CLIENT, NODE_V4, NODE_PORT))


def test_node_port_with_local_policy_keeps_the_client_and_uses_local_pods(site: Site, v: int) -> None:
    site.serve(*ALL, type="NodePort", node_port=NODE_PORT, externalTrafficPolicy="Local")
    outcomes = site.ask(CLIENT, NODE_IP[v], NODE_PORT, count=40)
    assert {"pod-1", "pod-2"} == who(outcomes)
    assert {CLIENT_IP[v]} == seen(outcomes)


def test_local_policy_lets_the_nodes_own_traffic_reach_every_pod(site: Site, v: int) -> None:
    site.serve(*ALL, type="NodePort", node_port=NODE_PORT, externalTrafficPolicy="Local")
    assert set(ALL) == who(site.ask("pod-3", NODE_IP[v], NODE_PORT, count=40))
    assert set(ALL) == who(site.ask(NODE, NODE_IP[v], NODE_PORT, count=40))


def test_local_policy_without_a_local_pod_drops_outsiders_and_serves_pods(site: Site, v: int) -> None:
    site.serve("far-1", type="NodePort", node_port=NODE_PORT, externalTrafficPolicy="Local")
    assert {"timeout"} == who(site.ask(CLIENT, NODE_IP[v], NODE_PORT, timeout_s=0.4))
    assert {"far-1"} == who(site.ask("pod-3", NODE_IP[v], NODE_PORT))


def test_internal_local_policy_uses_local_pods_only(site: Site, v: int) -> None:
    site.serve(*ALL, internalTrafficPolicy="Local")
    assert {"pod-1", "pod-2"} == who(site.ask("pod-3", SERVICE_IP[v], 80, count=40))


def test_internal_local_policy_without_a_local_pod_drops(site: Site, v: int) -> None:
    site.serve("far-1", internalTrafficPolicy="Local")
    assert {"timeout"} == who(site.ask("pod-3", SERVICE_IP[v], 80, timeout_s=0.4))


def test_load_balancer_vip_masquerades_by_cluster_policy(site: Site, v: int) -> None:
    site.serve(*ALL, type="LoadBalancer", ingress=VIP.values())
    outcomes = site.ask(CLIENT, VIP[v], 80, count=40)
    assert set(ALL) == who(outcomes)
    assert CLIENT_IP[v] not in seen(outcomes)


def test_load_balancer_vip_keeps_the_client_by_local_policy(site: Site, v: int) -> None:
    site.serve(*ALL, type="LoadBalancer", ingress=VIP.values(), externalTrafficPolicy="Local")
    outcomes = site.ask(CLIENT, VIP[v], 80, count=40)
    assert {"pod-1", "pod-2"} == who(outcomes)
    assert {CLIENT_IP[v]} == seen(outcomes)


def test_source_ranges_let_some_clients_in_and_drop_others(site: Site, v: int) -> None:
    ranges = list(FAR_CLIENTS.values())
    site.serve("pod-1", type="LoadBalancer", ingress=VIP.values(), loadBalancerSourceRanges=ranges)
    assert {"pod-1"} == who(site.ask(CLIENT, VIP[v], 80, source=FAR_CLIENT_IP[v]))
    assert {"timeout"} == who(site.ask(CLIENT, VIP[v], 80, timeout_s=0.4))
    assert {"pod-1"} == who(site.ask(CLIENT, SERVICE_IP[v], 80))


def test_external_ip_is_answered(site: Site, v: int) -> None:
    site.serve(*ALL, externalIPs=list(EXTERNAL_IP.values()))
    assert set(ALL) == who(site.ask(CLIENT, EXTERNAL_IP[v], 80, count=40))


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_service_without_endpoints_is_refused_at_once(site: Site, v: int, protocol: str) -> None:
    site.serve(
        protocol=protocol,
        type="LoadBalancer",
        node_port=NODE_PORT,
        ingress=VIP.values(),
        externalIPs=list(EXTERNAL_IP.values()),
    )
    for role, to, port in (
        (NODE, SERVICE_IP[v], 80),
        (CLIENT, SERVICE_IP[v], 80),
        ("pod-3", SERVICE_IP[v], 80),
        (CLIENT, NODE_IP[v], NODE_PORT),
        (CLIENT, VIP[v], 80),
        (CLIENT, EXTERNAL_IP[v], 80),
    ):
        assert {"refused"} == who(site.ask(role, to, port, protocol=protocol)), (role, to)


def test_session_affinity_holds_each_client_to_its_pod(site: Site, v: int) -> None:
    site.serve(*ALL, sessionAffinity="ClientIP")
    for role, source in (("pod-3", ""), ("far-2", ""), (CLIENT, CLIENT_IP[v]), (CLIENT, FAR_CLIENT_IP[v])):
        assert 1 == len(who(site.ask(role, SERVICE_IP[v], 80, count=25, source=source)))


def test_session_affinity_ends_after_its_timeout(site: Site, v: int) -> None:
    config = {"clientIP": {"timeoutSeconds": 1}}
    site.serve(*ALL, sessionAffinity="ClientIP", sessionAffinityConfig=config)
    pods = set()
    for _ in range(12):
        (pod,) = who(site.ask("pod-3", SERVICE_IP[v], 80, count=5))
        pods.add(pod)
        time.sleep(1.1)
        if len(pods) > 1:
            break
    assert len(pods) > 1, "the same pod by chance: once in 3^11"


@pytest.mark.parametrize("pods", [("pod-1", "pod-2"), ALL, tuple(PODS)[:5]], ids=len)
def test_shares_of_the_backends_are_equal(site: Site, v: int, pods: tuple[str, ...]) -> None:
    site.serve(*pods)
    counts = Counter(map(str, (outcome[0] for outcome in site.ask("pod-3", SERVICE_IP[v], 80, count=2000))))
    assert set(pods) == counts.keys()
    expected = 2000 / len(pods)
    chi_square = sum((counts[pod] - expected) ** 2 / expected for pod in pods)
    assert chi_square < CHI_SQUARE_AT_1E_6[len(pods) - 1]


def test_endpoints_are_replaced_under_a_running_client_without_one_failed_request(site: Site, v: int) -> None:
    site.serve("pod-1", "pod-2")
    with LoopOfRequests(site.lab, "pod-3", SERVICE_IP[v]) as loop:
        for pods in (("pod-2", "far-1"), ("far-1", "far-2"), ("far-2", "pod-1"), ("pod-1", "pod-2")):
            before = loop.count
            site.cluster.set_endpoints("web", *pods)
            eventually(loop.is_answered_by(set(pods)), f"{pods} answer alone")
            assert loop.count > before
    assert loop.failures == Counter()
    assert loop.count > 200


def test_agent_killed_and_started_again_fails_no_request_and_changes_no_rule(site: Site, v: int) -> None:
    running = site.serve("pod-1", "pod-2")
    before = site.rules()
    with LoopOfRequests(site.lab, "pod-3", SERVICE_IP[v]) as loop:
        for _ in range(3):
            running.kill()
            assert before == site.rules()
            running = site.start_agent()
            assert before == site.rules()
    assert loop.failures == Counter()
    assert loop.count > 50


def test_agent_ended_by_sigterm_leaves_the_rules(site: Site) -> None:
    running = site.serve(*ALL)
    before = site.rules()
    running.process.send_signal(signal.SIGTERM)
    assert 0 == running.process.wait(timeout=20)
    assert before == site.rules()
    assert set(ALL) == who(site.ask("pod-3", SERVICE_IP[4], 80, count=40))


def test_sctp_service_has_rules_that_the_kernel_takes(site: Site) -> None:
    site.serve("pod-1", protocol="SCTP")
    assert any("-p sctp" in rule and "--to-destination 10.128.1.1:8080" in rule for rule in site.rules())


class LoopOfRequests:
    """One client that asks again and again in the background, ten requests at a time."""

    def __init__(self, lab: Lab, role: str, to: str) -> None:
        self._lab, self._role, self._to = lab, role, to
        self._answers: list[Outcome] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def count(self) -> int:
        return len(self._answers)

    @property
    def failures(self) -> Counter[str]:
        return Counter(answer for answer in tuple(self._answers) if isinstance(answer, str))

    def is_answered_by(self, pods: set[str]) -> Callable[[], bool]:
        """Whether all of these, and nobody else, answered the last sixty requests."""
        return lambda: who(self._answers[-60:]) == pods

    def _run(self) -> None:
        while not self._stopping.is_set() and len(self._answers) < 100_000:
            self._answers += self._lab.ask(self._role, self._to, 80, count=10)
