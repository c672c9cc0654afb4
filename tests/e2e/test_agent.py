"""`kproxy agent` as a real process, against the stub API server, in a network namespace of its own."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kproxy import process
from kproxy.errors import ProgramFailed
from kproxy.values import Family
from namespaces import DIES_WITH_ITS_PARENT, fresh_namespace, inside
from nftlisting import listing
from recordings import comparable
from stubapi import StubApi
from stubapi.manifests import endpoint_slice, node, service, service_cidr

pytestmark = pytest.mark.netns

BOUND_S = 30.0
NODE = "node-1"
CLUSTER_CIDR = "10.128.0.0/9"


@pytest.fixture
def here() -> Iterator[None]:
    """This thread, and the stub's, in a namespace of their own."""
    with fresh_namespace() as name, inside(name):
        yield


@pytest.fixture
def api(here: None) -> Iterator[StubApi]:
    with StubApi(speaks_protobuf=True) as stub:
        stub.put("Node", node(NODE))
        put_service(stub, "web", "10.96.0.10", "10.128.1.5", "10.128.2.6")
        yield stub


def put_service(api: StubApi, name: str, address: str, *backends: str) -> None:
    manifest = service(name)
    manifest["spec"] |= {"clusterIP": address, "clusterIPs": [address]}
    api.put("Service", manifest)
    api.put("EndpointSlice", endpoint_slice(f"{name}-a", name, *backends))


@contextmanager
def agent(*flags: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        *DIES_WITH_ITS_PARENT,
        sys.executable,
        "-m",
        "kproxy",
        "agent",
        "--hostname-override",
        NODE,
        "--cluster-cidr",
        CLUSTER_CIDR,
    ]
    fast = ["--iptables-min-sync-period", "50ms", "--iptables-backend", "nft"]
    fast += ["--state-dir", str(log.parent / "state")]
    with log.open("ab") as output:
        running = subprocess.Popen([*command, *fast, *flags], stdout=output, stderr=output)
    try:
        yield running
    finally:
        running.kill()
        running.wait(timeout=BOUND_S)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "agent.log"


@pytest.fixture
def by_kubeconfig(api: StubApi, tmp_path: Path) -> tuple[str, str]:
    path = tmp_path / "kubeconfig"
    api.write_kubeconfig(path)
    return "--kubeconfig", str(path)


def rules(program: str = "iptables-nft") -> str:
    return "".join(process.run([f"{program}-save", "-t", table]) for table in ("nat", "filter"))


def eventually(holds: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + BOUND_S
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {BOUND_S:g} s; the agent said:\n{log.read_text()}")
        time.sleep(0.05)


def has(text: str) -> Callable[[], bool]:
    return lambda: text in rules()


def lacks(text: str) -> Callable[[], bool]:
    return lambda: text not in rules()


def said(text: str, log: Path) -> Callable[[], bool]:
    return lambda: text in log.read_text()


def test_agent_follows_the_cluster(api: StubApi, by_kubeconfig: tuple[str, str], log: Path) -> None:
    with agent(*by_kubeconfig, log=log) as running:
        eventually(has("10.128.2.6:8080"), "the first list is programmed", log)
        api.put("EndpointSlice", endpoint_slice("web-a", "web", "10.128.1.5", "10.128.3.7"))
        eventually(has("10.128.3.7:8080"), "a new endpoint is programmed", log)
        eventually(lacks("10.128.2.6:8080"), "an old endpoint is gone", log)
        put_service(api, "api", "10.96.0.11", "10.128.1.9")
        eventually(has("default/api cluster IP"), "a new Service is programmed", log)
        api.delete("Service", "default", "web")
        eventually(lacks("default/web"), "a deleted Service is gone", log)
        before = rules()
        running.send_signal(signal.SIGTERM)
        assert 0 == running.wait(timeout=BOUND_S)
    assert comparable(before) == comparable(rules())


def test_agent_with_a_list_of_kubeconfigs_has_them_merged(
    api: StubApi, by_kubeconfig: tuple[str, str], tmp_path: Path, log: Path
) -> None:
    flag, whole = by_kubeconfig
    parts = json.loads(Path(whole).read_text())
    halves = [tmp_path / "users", tmp_path / "rest"]
    halves[0].write_text(json.dumps({"users": parts.pop("users")}))
    halves[1].write_text(json.dumps(parts))
    with agent(flag, f"{halves[0]}:{tmp_path}/missing:{halves[1]}", log=log):
        eventually(has("default/web"), "the Service is programmed", log)
    assert api.token not in log.read_text()


@pytest.mark.parametrize(
    ("flags", "accept"),
    [
        ((), "application/vnd.kubernetes.protobuf, */*"),
        (("--kube-api-content-type=application/json",), "application/json, */*"),
    ],
)
def test_agent_asks_for_the_encoding_that_it_is_told_and_programs_the_same(
    api: StubApi, by_kubeconfig: tuple[str, str], log: Path, flags: tuple[str, ...], accept: str
) -> None:
    with agent(*by_kubeconfig, *flags, log=log):
        eventually(has("10.128.2.6:8080"), "the first list is programmed", log)
        api.put("EndpointSlice", endpoint_slice("web-a", "web", "10.128.1.5", "10.128.3.7"))
        eventually(has("10.128.3.7:8080"), "a new endpoint is programmed", log)
    asked = {each.accept for each in api.requests if each.verb in ("list", "watch")}
    assert {accept} == asked
    assert "no effect" not in log.read_text()


def test_agent_in_nftables_mode_programs_what_render_prints(
    api: StubApi, by_kubeconfig: tuple[str, str], log: Path
) -> None:
    def holds(text: str) -> Callable[[], bool]:
        return lambda: text in process.run(["nft", "list", "ruleset"])

    mode = "nftables"
    with agent(*by_kubeconfig, "--proxy-mode", mode, log=log) as running:
        eventually(holds("10.128.2.6 . 8080"), "the first list is programmed", log)
        api.put("ServiceCIDR", service_cidr("kubernetes", "10.96.0.0/12"))
        eventually(holds("10.96.0.0/12 drop"), "free cluster IPs are dropped", log)
        api.put("EndpointSlice", endpoint_slice("web-a", "web", "10.128.1.5", "10.128.3.7"))
        eventually(holds("10.128.3.7 . 8080"), "a new endpoint is programmed", log)
        process.run(["nft", "flush", "ruleset"])
        put_service(api, "api", "10.96.0.11", "10.128.1.9")
        eventually(holds("10.128.3.7 . 8080"), "a flush is mended with the next change", log)
        eventually(holds("10.96.0.11 . tcp . 80 . 0 : 10.128.1.9 . 8080"), "which is programmed whole", log)
        running.send_signal(signal.SIGTERM)
        assert 0 == running.wait(timeout=BOUND_S)
    left = listing(Family.IPV4)
    command = [sys.executable, "-m", "kproxy", "render", "--from-cluster", *by_kubeconfig, "--mode", mode]
    config = log.with_name("config.yaml")
    config.write_text(
        f"apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: {CLUSTER_CIDR}\n"
    )
    rendered = subprocess.run(
        [*command, "--node", NODE, "--config", str(config)], check=True, capture_output=True, text=True
    )
    process.run(["nft", "-f", "-"], stdin=f"flush ruleset\n{rendered.stdout}")
    assert left == listing(Family.IPV4)


def test_agent_in_nftables_mode_needs_no_service_cidrs(
    api: StubApi, by_kubeconfig: tuple[str, str], log: Path
) -> None:
    api.lack("ServiceCIDR", 403)
    with agent(*by_kubeconfig, "--proxy-mode=nftables", log=log):
        eventually(said("IPv6: synced", log), "all is synced", log)
        assert "10.128.2.6 . 8080" in process.run(["nft", "list", "ruleset"])
        eventually(said("servicecidrs: the API server answers 403, so packets to", log), "it is told", log)
    assert 1 == log.read_text().count("servicecidrs")


def test_agent_follows_its_node(api: StubApi, by_kubeconfig: tuple[str, str], log: Path) -> None:
    hinted = endpoint_slice("web-a", "web", "10.128.1.5", "10.128.2.6")
    for endpoint, zone in zip(hinted["endpoints"], ("zone-a", "zone-b"), strict=True):
        endpoint["hints"] = {"forZones": [{"name": zone}]}
    api.put("EndpointSlice", hinted)
    flags = ("--detect-local-mode=NodeCIDR", "--nodeport-addresses=primary")
    with agent(*by_kubeconfig, *flags, log=log):
        eventually(has("! -s 10.128.1.0/24 -d 10.96.0.10/32"), "its pod CIDR tells its pods", log)
        assert has("10.128.2.6:8080")()
        assert has("-d 10.199.0.2/32")()
        moved = node(NODE, "10.199.0.7")
        moved["spec"] |= {"podCIDR": "10.128.9.0/24", "podCIDRs": ["10.128.9.0/24"]}
        moved["metadata"]["labels"] = {"topology.kubernetes.io/zone": "zone-a"}
        api.put("Node", moved)
        eventually(has("! -s 10.128.9.0/24 -d 10.96.0.10/32"), "a new pod CIDR acts at once", log)
        eventually(lacks("10.128.2.6:8080"), "so does its zone", log)
        eventually(has("-d 10.199.0.7/32"), "and its address, for node ports", log)
        assert lacks("10.199.0.2")()


@pytest.mark.parametrize("fault", ["closed", "gone", "away"])
def test_agent_catches_up_after_a_watch_that_broke(
    api: StubApi, by_kubeconfig: tuple[str, str], log: Path, fault: str
) -> None:
    with agent(*by_kubeconfig, log=log):
        eventually(has("10.128.2.6:8080"), "the first list is programmed", log)
        api.wait_for_streams("EndpointSlice", 1)
        if fault == "away":
            api.unreachable()
        put_service(api, "api", "10.96.0.11", "10.128.1.9")
        api.delete("Service", "default", "web")
        if fault == "gone":
            api.compact()
        if fault == "away":
            api.reachable()
        else:
            api.close_streams()
        eventually(has("default/api cluster IP"), "what came meanwhile is programmed", log)
        eventually(lacks("default/web"), "what went meanwhile is gone", log)


def test_agent_writes_nothing_before_every_list_has_arrived(here: None, tmp_path: Path, log: Path) -> None:
    with StubApi() as api:
        put_service(api, "web", "10.96.0.10", "10.128.1.5")
        kubeconfig = tmp_path / "kubeconfig"
        api.write_kubeconfig(kubeconfig)
        api.fail_next(2, 500)
        with agent("--kubeconfig", str(kubeconfig), log=log):
            eventually(said("500", log), "a list fails", log)
            assert "KUBE-SERVICES" not in rules() or "default/web cluster IP" in rules()
            eventually(
                has("default/web cluster IP"), "all is programmed at once when the lists are there", log
            )
    assert "synced 0 service ports" not in log.read_text().partition("IPv6")[0]


def test_object_that_cannot_be_used_is_named_and_the_rest_is_programmed(
    api: StubApi, by_kubeconfig: tuple[str, str], log: Path
) -> None:
    bad = service("bad")
    bad["spec"]["clusterIPs"] = ["10.96.0.x"]
    api.put("Service", bad)
    with agent(*by_kubeconfig, log=log):
        eventually(has("default/web cluster IP"), "the good Service is programmed", log)
        eventually(
            said("Service default/bad is left out: spec.clusterIPs[0]", log), "the bad one is named", log
        )


def test_render_from_a_cluster_is_what_its_agent_programs(
    api: StubApi, by_kubeconfig: tuple[str, str], tmp_path: Path, log: Path
) -> None:
    put_service(api, "api", "10.96.0.11", "10.128.1.9")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: {CLUSTER_CIDR}\n"
    )
    with agent(*by_kubeconfig, log=log):
        eventually(said("IPv6: synced", log), "both families are synced", log)
        agents = rules()
    render = [
        sys.executable,
        "-m",
        "kproxy",
        "render",
        "--from-cluster",
        *by_kubeconfig,
        "--config",
        str(config),
    ]
    rendered = subprocess.run([*render, "--node", NODE], check=True, capture_output=True, text=True)
    process.run(["iptables-nft-restore"], stdin="*nat\nCOMMIT\n*filter\nCOMMIT\n")
    process.run(["iptables-nft-restore", "--noflush"], stdin=rendered.stdout)
    assert comparable(agents) == comparable(rules())
    assert "default/api cluster IP" in agents


@pytest.mark.parametrize(("family", "program"), [("ipv4", "iptables-nft"), ("ipv6", "ip6tables-nft")])
def test_render_restored_on_a_clean_node_equals_what_the_agent_programs(
    here: None, tmp_path: Path, log: Path, family: str, program: str
) -> None:
    demo = Path(__file__).parents[2] / "examples" / "demo"
    config = tmp_path / "config.yaml"
    config.write_text(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
        f"clusterCIDR: {CLUSTER_CIDR}\niptables: {{minSyncPeriod: 50ms}}\n"
    )
    render = [sys.executable, "-m", "kproxy", "render", "-f", str(demo), "--config", str(config)]
    with agent("--manifests", str(demo), "--config", str(config), log=log):
        eventually(said("IPv6: synced", log), "both families are synced", log)
        agents = rules(program)
    process.run([f"{program}-restore"], stdin="*nat\nCOMMIT\n*filter\nCOMMIT\n")
    rendered = subprocess.run(
        [*render, "--node", NODE, "--family", family], check=True, capture_output=True, text=True
    )
    process.run([f"{program}-restore", "--noflush"], stdin=rendered.stdout)
    assert comparable(agents) == comparable(rules(program))
    assert "demo/web:http" in agents


def test_agent_killed_at_any_moment_and_started_again_ends_in_the_same_rules(
    api: StubApi, by_kubeconfig: tuple[str, str], log: Path
) -> None:
    for number in range(150):
        put_service(
            api, f"s{number}", f"10.97.0.{number}", *(f"10.{128 + at}.9.{number}" for at in range(1, 5))
        )
    moments = random.Random(150)
    for _ in range(8):
        with agent(*by_kubeconfig, log=log) as running:
            time.sleep(moments.uniform(0.3, 1.6))
            os.kill(running.pid, signal.SIGKILL)
        number = moments.randrange(150)
        api.put("EndpointSlice", endpoint_slice(f"s{number}-a", f"s{number}", f"10.140.0.{number}"))
    last = log.with_name("last.log")
    with agent(*by_kubeconfig, log=last):
        eventually(said("IPv6: synced", last), "all is synced", last)
        survived = rules()
    process.run(["iptables-nft-restore"], stdin="*nat\nCOMMIT\n*filter\nCOMMIT\n")
    fresh = log.with_name("fresh.log")
    with agent(*by_kubeconfig, log=fresh):
        eventually(said("IPv6: synced", fresh), "all is synced on a clean node", fresh)
        assert comparable(survived) == comparable(rules())


@pytest.mark.parametrize(
    ("flags", "lines"), [((), 0), (("-v=3",), 1), (("--vmodule", "silent_services=4"), 1)]
)
def test_service_of_a_cluster_that_yields_no_rule_is_told_once_and_only_by_verbose_logs(
    api: StubApi, by_kubeconfig: tuple[str, str], log: Path, flags: tuple[str, ...], lines: int
) -> None:
    headless = service("headless")
    headless["spec"] |= {"clusterIP": "None", "clusterIPs": ["None"]}
    api.put("Service", headless)
    with agent(*by_kubeconfig, *flags, log=log):
        eventually(has("default/web cluster IP"), "the first sync", log)
        put_service(api, "shop", "10.96.0.11", "10.128.1.6")
        eventually(has("default/shop cluster IP"), "another sync", log)
    assert lines == log.read_text().count("Service default/headless yields no rule: it is headless")


def test_render_of_a_cluster_tells_only_of_services_that_healthy_clusters_lack(
    api: StubApi, by_kubeconfig: tuple[str, str]
) -> None:
    headless, portless = service("headless"), service("portless")
    headless["spec"] |= {"clusterIP": "None", "clusterIPs": ["None"]}
    portless["spec"] |= {"clusterIP": "10.96.0.12", "clusterIPs": ["10.96.0.12"], "ports": []}
    api.put("Service", headless)
    api.put("Service", portless)
    command = [sys.executable, "-m", "kproxy", "render", "--from-cluster", *by_kubeconfig, "--node", NODE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)
    told = "kproxy: Service default/portless yields no rule: it has no ports; write spec.ports\n"
    assert (0, told) == (done.returncode, done.stderr)


def test_missing_manifest_directory_says_what_to_do(here: None, log: Path, tmp_path: Path) -> None:
    with agent("--manifests", str(tmp_path / "absent"), log=log) as running:
        assert 2 == running.wait(timeout=BOUND_S)
    assert "absent: No such file or directory; name one that holds manifests" in log.read_text()


def test_agent_without_a_cluster_or_manifests_says_what_to_do(here: None, log: Path) -> None:
    with agent(log=log) as running:
        assert 3 == running.wait(timeout=BOUND_S)
    assert "kproxy: " in log.read_text()
    assert "Traceback" not in log.read_text()


def test_agent_without_the_privilege_says_what_to_do(here: None, tmp_path: Path) -> None:
    unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    command = [sys.executable, "-m", "kproxy", "agent", "--manifests", str(tmp_path)]
    done = subprocess.run(
        [*unprivileged, *command], capture_output=True, text=True, timeout=BOUND_S, check=False
    )
    assert 3 == done.returncode
    assert "needs CAP_NET_ADMIN" in done.stderr


def test_namespace_has_no_rules_of_ours_to_begin_with(here: None) -> None:
    with pytest.raises(ProgramFailed):
        process.run(["iptables-nft", "-t", "nat", "-S", "KUBE-SERVICES"])
