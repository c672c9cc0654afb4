"""One running agent, asked by HTTP what kube-proxy's users ask: probes, pages, health-check node ports, metrics."""

import json
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kproxy import process
from kproxy.kernel.node import sysctl
from kproxy.values import Address, Protocol
from namespaces import fresh_namespace, inside
from running import NODE, eventually, metric, running_agent
from stubapi import StubApi
from stubapi.manifests import endpoint_slice, node, service
from wire.headers import Segment, Step, encode
from wire.tun import Tun

pytestmark = pytest.mark.netns

HEALTH_PORT = 31234
MIXIN = Path(__file__).parent / "kubernetes-mixin-queries.txt"
RECORDED = Path(__file__).parents[1] / "pages"
"""The pages of kube-proxy 1.36."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


def get(port: int, path: str, address: str = "127.0.0.1", accept: str = "*/*") -> Answer:
    asked = urllib.request.Request(f"http://{address}:{port}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 # to loopback
            return Answer(answer.status, dict(answer.headers), answer.read().decode())
    except urllib.error.HTTPError as refused:
        with refused:
            return Answer(refused.code, dict(refused.headers), refused.read().decode())


def metrics() -> str:
    return get(10249, "/metrics").body


@pytest.fixture(scope="module")
def api() -> Iterator[StubApi]:
    with fresh_namespace() as name, inside(name):
        for address in ("10.199.0.2/24", "fd00:199::2/64"):
            process.run(["ip", "address", "add", address, "dev", "lo"])
        with StubApi() as stub:
            stub.put("Node", node(NODE))
            stub.put("Service", service("web"))
            stub.put("EndpointSlice", endpoint_slice("web-a", "web", "10.128.1.5", "10.128.2.6"))
            stub.put("Service", local_service())
            stub.put("EndpointSlice", on_this_node())
            bad = service("bad")
            bad["spec"]["clusterIPs"] = ["10.96.0.x"]
            stub.put("Service", bad)
            yield stub


def local_service() -> dict[str, Any]:
    manifest = service("local")
    manifest["spec"] |= {
        "type": "LoadBalancer",
        "clusterIP": "10.96.0.20",
        "clusterIPs": ["10.96.0.20"],
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": HEALTH_PORT,
    }
    manifest["spec"]["ports"][0]["nodePort"] = 30080
    return manifest


def on_this_node(*, at: str = NODE, changed: str = "") -> dict[str, Any]:
    manifest = endpoint_slice("local-a", "local", "10.128.1.7")
    manifest["endpoints"][0] |= {"nodeName": at}
    changed = changed or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    manifest["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": changed}
    return manifest


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agent") / "log"


@pytest.fixture(scope="module", autouse=True)
def agent(api: StubApi, log: Path) -> Iterator[None]:
    """Past its first sync, one change and one refused request."""
    kubeconfig = api.write_kubeconfig(log.with_name("kubeconfig"))
    with running_agent("--kubeconfig", str(kubeconfig), log=log):
        eventually(lambda: "IPv6: synced" in log.read_text(), "the first sync", log)
        yield


def test_every_line_of_the_log_of_a_sync_has_counts_and_stages(log: Path) -> None:
    assert re.search(
        r"INFO kproxy\.agent\.loop: IPv4: synced \d+ service ports: \d+ chains and \d+ rules written, "
        r"\d+ chains deleted; compute [\d.]+ ms, render [\d.]+ ms, observe [\d.]+ ms, lock wait 0\.0 ms, apply [\d.]+ ms",
        log.read_text(),
    )


def test_healthz_is_kube_proxys_to_the_field() -> None:
    answer = get(10256, "/healthz")
    content = json.loads(answer.body)
    assert (200, "application/json") == (answer.status, answer.headers["Content-Type"])
    assert ["lastUpdated", "currentTime", "nodeEligible", "healthy", "status"] == list(content)
    assert (True, True) == (content["nodeEligible"], content["healthy"])
    assert {"IPv4", "IPv6"} == set(content["status"])
    assert ["lastUpdated", "healthy"] == list(content["status"]["IPv4"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", content["currentTime"])


def test_livez_does_not_speak_of_the_node() -> None:
    answer = get(10256, "/livez")
    assert 200 == answer.status
    assert ["lastUpdated", "currentTime", "healthy", "status"] == list(json.loads(answer.body))


def test_readyz_is_ready_after_the_first_verified_sync_of_every_family() -> None:
    answer = get(10256, "/readyz")
    assert (200, True) == (answer.status, json.loads(answer.body)["ready"])


@pytest.mark.parametrize(
    ("path", "content_type", "says"),
    [
        ("/healthz", "text/plain; charset=utf-8", "ok"),
        ("/proxyMode", "text/plain; charset=utf-8", "iptables"),
        ("/statusz", "text/plain; charset=utf-8", "Emulation version: 1.36\n"),
        ("/flagz", "text/plain; charset=utf-8", "healthz-bind-address=0.0.0.0:10256\n"),
        ("/configz", "application/json", '"kubeproxy.config.k8s.io"'),
        (
            "/metrics",
            "text/plain; version=0.0.4; charset=utf-8",
            "kubeproxy_sync_proxy_rules_duration_seconds",
        ),
    ],
)
def test_page_of_the_metrics_server(path: str, content_type: str, says: str) -> None:
    answer = get(10249, path)
    assert (200, content_type) == (answer.status, answer.headers["Content-Type"])
    assert says in answer.body


@pytest.mark.parametrize("port", [10249, 10256])
def test_unknown_page_is_404(port: int) -> None:
    assert 404 == get(port, "/no-such-page").status


@pytest.mark.parametrize(("path", "kind"), [("/statusz", "Statusz"), ("/flagz", "Flagz")])
def test_page_is_an_object_for_a_tool_that_asks_for_one(path: str, kind: str) -> None:
    answer = get(10249, path, accept=f"application/json;v=v1beta1;g=config.k8s.io;as={kind}")
    assert (200, "application/json") == (answer.status, answer.headers["Content-Type"])
    assert kind == json.loads(answer.body)["kind"]


@pytest.mark.parametrize(("page", "port"), [("healthz", 10256), ("livez", 10256)])
def test_probe_has_the_headers_and_the_shape_of_kube_proxys(page: str, port: int) -> None:
    head, _, body = (RECORDED / f"{page}.http").read_text().partition("\n\n")
    recorded = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    answer = get(port, f"/{page}")
    changing = {"Date", "Content-Length"}
    assert recorded.keys() <= answer.headers.keys()
    assert {name: value for name, value in recorded.items() if name not in changing} == {
        name: answer.headers[name] for name in recorded.keys() - changing
    }
    assert shape(json.loads(body)) == shape(json.loads(answer.body))


def shape(value: object) -> object:
    """The names in their order, and JSON's types."""
    return [(name, shape(each)) for name, each in value.items()] if isinstance(value, dict) else type(value)


def test_configz_has_the_shape_of_kube_proxys() -> None:
    recorded = json.loads((RECORDED / "configz.txt").read_text())
    assert shape(recorded) == shape(json.loads(get(10249, "/configz").body))


def test_configz_holds_the_configuration_in_force() -> None:
    content = json.loads(get(10249, "/configz").body)["kubeproxy.config.k8s.io"]
    assert ("KubeProxyConfiguration", "50ms") == (content["kind"], content["iptables"]["minSyncPeriod"])


def test_metrics_server_listens_on_loopback_alone() -> None:
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("10.199.0.2", 10249), 5):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1", "10.199.0.2", "[::1]", "[fd00:199::2]"])
def test_health_server_listens_on_every_address(address: str) -> None:
    assert 200 == get(10256, "/livez", address).status


@pytest.mark.parametrize("manner", ["taint", "deletion", "gone"])
def test_node_that_goes_fails_healthz_and_comes_back(api: StubApi, log: Path, manner: str) -> None:
    going = node(NODE)
    if manner == "taint":
        going["spec"]["taints"] = [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]
    if manner == "deletion":
        going["metadata"]["deletionTimestamp"] = "2026-11-24T00:00:00Z"
    if manner == "gone":
        api.delete("Node", "", NODE)
    else:
        api.put("Node", going)
    eventually(lambda: get(10256, "/healthz").status == 503, "a node that goes is not eligible", log)
    assert 200 == get(10256, "/livez").status
    api.put("Node", node(NODE))
    eventually(lambda: get(10256, "/healthz").status == 200, "a node that is back is eligible", log)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.199.0.2", "[fd00:199::2]"])
@pytest.mark.parametrize("path", ["/", "/healthz", "/any/path?x=y"])
def test_health_check_port_answers_for_its_service(address: str, path: str) -> None:
    answer = get(HEALTH_PORT, path, address)
    assert (200, "1") == (answer.status, answer.headers["X-Load-Balancing-Endpoint-Weight"])
    assert "application/json" == answer.headers["Content-Type"]
    assert {
        "service": {"namespace": "default", "name": "local"},
        "localEndpoints": 1,
        "serviceProxyHealthy": True,
    } == json.loads(answer.body)


def test_health_check_port_follows_endpoints_and_service(api: StubApi, log: Path) -> None:
    api.put("EndpointSlice", on_this_node(at="node-2"))
    eventually(lambda: get(HEALTH_PORT, "/").status == 503, "no endpoint is left here", log)
    assert "0" == get(HEALTH_PORT, "/").headers["X-Load-Balancing-Endpoint-Weight"]
    eventually(
        lambda: 'no_local_endpoints_total{ip_family="IPv4",traffic_policy="external"} 1.0' in metrics(),
        "the metric says so",
        log,
    )
    api.put("EndpointSlice", on_this_node())
    eventually(lambda: get(HEALTH_PORT, "/").status == 200, "an endpoint is here again", log)
    moved = local_service()
    moved["spec"]["healthCheckNodePort"] = HEALTH_PORT + 1
    api.put("Service", moved)
    eventually(lambda: answers(HEALTH_PORT + 1) and not answers(HEALTH_PORT), "the port has moved", log)
    api.put("Service", local_service())
    eventually(lambda: answers(HEALTH_PORT), "and back", log)


def test_crowd_at_a_health_check_port_takes_no_place_of_a_probe() -> None:
    with ExitStack() as silent:

        def connected(port: int) -> socket.socket:
            return silent.enter_context(socket.create_connection(("127.0.0.1", port), 0.2))

        probe = connected(10256)
        for _ in range(70):
            connected(HEALTH_PORT)
        assert answers(HEALTH_PORT)
        with pytest.raises(TimeoutError):
            probe.recv(1)


def answers(port: int) -> bool:
    try:
        return get(port, "/").status == 200
    except OSError:
        return False


def test_health_check_port_that_is_taken_is_an_event_and_tried_again(api: StubApi, log: Path) -> None:
    other = local_service()
    other["metadata"]["name"] = "other"
    other["spec"] |= {
        "clusterIP": "10.96.0.21",
        "clusterIPs": ["10.96.0.21"],
        "healthCheckNodePort": HEALTH_PORT + 5,
    }
    other["spec"]["ports"][0]["nodePort"] = 30081
    with socket.create_server(("::", HEALTH_PORT + 5), family=socket.AF_INET6):
        api.put("Service", other)
        eventually(lambda: bool(events(api, "FailedToStartServiceHealthcheck")), "an Event is posted", log)
        put_and_await(api, on_this_node(), log)  # one more sync, one more try
    (event,) = events(api, "FailedToStartServiceHealthcheck")
    assert {"kind": "Service", "namespace": "default", "name": "other", "uid": "default/other"} == event[
        "regarding"
    ]
    refused = f"Service default/other: cannot listen on health-check node port {HEALTH_PORT + 5}"
    assert 1 == log.read_text().count(refused)
    assert ("Warning", "Listen", "default") == (
        event["type"],
        event["action"],
        event["metadata"]["namespace"],
    )
    api.put("EndpointSlice", endpoint_slice("other-a", "other", "10.128.1.9"))
    eventually(lambda: "other" in listened(HEALTH_PORT + 5), "it is tried again at the next sync", log)
    api.delete("Service", "default", "other")
    eventually(lambda: listened(HEALTH_PORT + 5) == "", "it is closed with its Service", log)


def listened(port: int) -> str:
    try:
        return get(port, "/").body
    except OSError:
        return ""


def events(api: StubApi, reason: str) -> list[dict[str, Any]]:
    return [event for event in api.created if event["reason"] == reason]


def test_start_is_an_event_on_the_node(api: StubApi, log: Path) -> None:
    eventually(lambda: bool(events(api, "Starting")), "the Event is posted", log)
    (event,) = events(api, "Starting")
    assert {"kind": "Node", "name": NODE, "uid": NODE} == event["regarding"]
    assert ("Normal", "StartKubeProxy", "kube-proxy") == (
        event["type"],
        event["action"],
        event["reportingController"],
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["eventTime"])


FAMILIES = ("IPv4", "IPv6")
DURATIONS = tuple(0.001 * 2**power for power in range(15))
PROGRAMMING = (0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))
HISTOGRAMS = {
    "kubeproxy_sync_proxy_rules_duration_seconds": DURATIONS,
    "kubeproxy_sync_full_proxy_rules_duration_seconds": DURATIONS,
    "kubeproxy_sync_partial_proxy_rules_duration_seconds": DURATIONS,
    "kubeproxy_conntrack_reconciler_sync_duration_seconds": DURATIONS,
    "kubeproxy_network_programming_duration_seconds": PROGRAMMING,
}
SINGLE = {
    "gauge": [
        *(f'kubeproxy_sync_proxy_rules_{name}{{ip_family="{family}"}}' for name in ("last_timestamp_seconds", "last_queued_timestamp_seconds") for family in FAMILIES),
        *(f'kubeproxy_sync_proxy_rules_iptables_{name}{{ip_family="{family}",table="{table}"}}' for name in ("total", "last") for family in FAMILIES for table in ("filter", "nat")),
        *(f'kubeproxy_sync_proxy_rules_no_local_endpoints_total{{ip_family="{family}",traffic_policy="{policy}"}}' for family in FAMILIES for policy in ("internal", "external")),
        "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
        "kubeproxy_sync_proxy_rules_service_changes_pending",
        "process_resident_memory_bytes",
        'kproxy_quarantined_objects{kind="Service"}',
        *(f'kproxy_watch_age_seconds{{kind="{kind}"}}' for kind in ("Service", "EndpointSlice", "Node")),
    ],
    "counter": [
        "kubeproxy_sync_proxy_rules_endpoint_changes_total",
        "kubeproxy_sync_proxy_rules_service_changes_total",
        *(f'kubeproxy_sync_proxy_rules_{name}_total{{ip_family="{family}"}}' for name in ("iptables_restore_failures", "iptables_partial_restore_failures", "nftables_sync_failures", "nftables_cleanup_failures") for family in FAMILIES),
        *(f'kubeproxy_conntrack_reconciler_deleted_entries_total{{ip_family="{family}"}}' for family in FAMILIES),
        *(f'kubeproxy_proxy_{probe}_total{{code="{code}"}}' for probe in ("healthz", "livez") for code in ("200", "503")),
        "kubeproxy_iptables_ct_state_invalid_dropped_packets_total",
        "kubeproxy_iptables_localhost_nodeports_accepted_packets_total",
        "process_cpu_seconds_total",
        *(f'kproxy_drift_{what}_total{{ip_family="{family}"}}' for what in ("found", "repaired") for family in FAMILIES),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "bounds"), HISTOGRAMS.items())
@pytest.mark.parametrize("family", FAMILIES)
def test_histogram_has_kube_proxys_buckets(name: str, bounds: tuple[float, ...], family: str) -> None:
    found = re.findall(rf'^{name}_bucket\{{ip_family="{family}",le="([^"]+)"\}}', metrics(), re.MULTILINE)
    assert [*bounds, float("inf")] == pytest.approx([float(bound) for bound in found])
    assert f"# TYPE {name} histogram\n" in metrics()


@pytest.mark.parametrize(
    ("kind", "series"), [(kind, series) for kind, all_ in SINGLE.items() for series in all_]
)
def test_series_exists_and_has_its_type(kind: str, series: str) -> None:
    exported = metrics()
    assert re.search(rf"^{re.escape(series)} \S+$", exported, re.MULTILINE)
    assert f"# TYPE {series.partition('{')[0]} {kind}\n" in exported


def test_no_series_of_creation_times() -> None:
    assert "_created" not in metrics()


NOT_OURS = {
    "aggregator_": "of a library that kube-proxy shares with API servers",
    "apiserver_": "of a library that kube-proxy shares with API servers",
    "cardinality_enforcement_": "of kube-proxy's limits on labels, which kproxy has no flag for",
    "disabled_metrics_total": "of kube-proxy's flags that switch off metrics",
    "hidden_metrics_total": "of kube-proxy's flags that switch on old metrics",
    "registered_metrics_total": "of kube-proxy's flags that switch on old metrics",
    "go_": "of the runtime of Go",
    "process_network_": "of Go's Prometheus library: bytes of the whole network namespace",
    "process_virtual_memory_max_bytes": "of Go's Prometheus library: a limit that nobody sets",
}
"""Series of kube-proxy that mean nothing here, by how their names begin."""


def names_and_labels(page: str) -> dict[str, set[str]]:
    """Each series' name, with the names of its labels."""
    found: dict[str, set[str]] = {}
    for line in page.splitlines():
        if line and not line.startswith("#"):
            series = re.fullmatch(r"(\w+)(?:\{(.*)\})?(?: \S+)?", re.sub(r'="[^"]*"', "", line))
            assert series
            found.setdefault(series[1], set()).update(series[2].split(",") if series[2] else ())
    return found


def test_every_series_of_kube_proxy_exists_with_its_labels(api: StubApi, log: Path) -> None:
    recorded = names_and_labels((RECORDED / "metric-names-and-labels.txt").read_text())
    wanted = {name: labels for name, labels in recorded.items() if not name.startswith(tuple(NOT_OURS))}
    assert 45 == len(wanted)
    eventually(lambda: bool(events(api, "Starting")), "an Event is posted", log)
    ours = names_and_labels(metrics())
    assert wanted == {name: ours.get(name) for name in wanted}


@pytest.mark.parametrize("prefix", NOT_OURS)
def test_series_that_means_nothing_here_is_in_no_page(prefix: str) -> None:
    assert prefix in (RECORDED / "metric-names-and-labels.txt").read_text()
    assert [] == [name for name in names_and_labels(metrics()) if name.startswith(prefix)]


@pytest.fixture(scope="module")
def refusals(api: StubApi, agent: None) -> tuple[int, ...]:
    """The API server's answers to the three watches, one to each, after they broke."""
    codes = (302, 404, 500)
    for code in codes:
        api.fail_next(1, code)
    api.close_streams()
    return codes


def test_requests_to_the_api_server_are_counted_by_code(
    api: StubApi, log: Path, refusals: tuple[int, ...]
) -> None:
    host = api.url.removeprefix("https://")
    assert metric(f'rest_client_requests_total{{code="200",host="{host}",method="GET"}}') >= 6
    for code in refusals:
        counted = f'rest_client_requests_total{{code="{code}",host="{host}",method="GET"}}'
        eventually(partial(is_value, counted, 1.0), "the refusal is counted", log)


def is_value(series: str, expected: float) -> bool:
    return metric(series) == expected


def test_object_that_cannot_be_used_is_counted() -> None:
    assert 1.0 == metric('kproxy_quarantined_objects{kind="Service"}')


def test_change_is_counted_from_its_trigger_to_the_kernel(api: StubApi, log: Path) -> None:
    counted = 'kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"}'
    before = metric(counted)
    put_and_await(api, on_this_node(changed="2020-01-01T00:00:00Z"), log)
    assert before == metric(counted)  # what happened before the agent started is not its delay
    time.sleep(1.0)  # the annotation has whole seconds
    put_and_await(api, on_this_node(), log)
    assert before + 1 == metric(counted)


def put_and_await(api: StubApi, manifest: dict[str, Any], log: Path) -> None:
    seen = "kubeproxy_sync_proxy_rules_endpoint_changes_total"
    pending = "kubeproxy_sync_proxy_rules_endpoint_changes_pending"
    before = metric(seen)
    api.put("EndpointSlice", manifest)
    eventually(lambda: metric(seen) == before + 1 and metric(pending) == 0.0, "it is programmed", log)


def test_answers_to_probes_are_counted_by_code() -> None:
    for probe in ("healthz", "livez"):
        counted = f'kubeproxy_proxy_{probe}_total{{code="200"}}'
        before = metric(counted)
        assert 200 == get(10256, f"/{probe}").status
        assert before + 1 == metric(counted)


def test_service_ports_without_an_endpoint_here_are_counted_by_policy(api: StubApi, log: Path) -> None:
    counted = 'kubeproxy_sync_proxy_rules_no_local_endpoints_total{{ip_family="{}",traffic_policy="{}"}}'
    everything = [(family, policy) for family in FAMILIES for policy in ("internal", "external")]
    put_and_await(api, on_this_node(at="another"), log)
    found = {each: metric(counted.format(*each)) for each in everything}
    assert {each: float(each == ("IPv4", "external")) for each in everything} == found
    put_and_await(api, on_this_node(), log)
    assert 0.0 == metric(counted.format("IPv4", "external"))


def test_packets_to_node_ports_of_localhost_are_counted(log: Path) -> None:
    counted = "kubeproxy_iptables_localhost_nodeports_accepted_packets_total"
    before = metric(counted)
    with socket.socket() as client:
        client.settimeout(0.3)
        client.connect_ex(("127.0.0.1", 30080))  # its endpoint is nowhere
    assert metric(counted) > before


def test_packets_that_conntrack_calls_invalid_are_counted_as_they_are_dropped() -> None:
    counted = "kubeproxy_iptables_ct_state_invalid_dropped_packets_total"
    answer_to_nobody = Segment(
        Protocol.TCP, Address("192.0.2.1"), 80, Address("192.0.2.9"), 40000, tag=7, step=Step.ANSWER
    )
    with Tun("outside") as outside:
        process.run(["ip", "link", "set", "outside", "up"])
        process.run(["ip", "route", "add", "192.0.2.0/24", "dev", "outside"])
        sysctl.ensure("net/ipv4/ip_forward", "1", consequence="nothing is forwarded")
        before = metric(counted)
        for _ in range(3):
            outside.inject(encode(answer_to_nobody))
        assert before + 3 == metric(counted)
        assert encode(answer_to_nobody)[20:] not in [packet[20:] for packet in outside.read_all()]


def test_rules_are_counted_as_the_kernel_has_them(api: StubApi, log: Path) -> None:
    for family, program in (("IPv4", "iptables-nft-save"), ("IPv6", "ip6tables-nft-save")):
        for table in ("filter", "nat"):
            rules = re.findall(r"^-A KUBE-", process.run([program, "-t", table]), re.MULTILINE)
            series = f'kubeproxy_sync_proxy_rules_iptables_total{{ip_family="{family}",table="{table}"}}'
            assert len(rules) == metric(series)
    written = 'kubeproxy_sync_proxy_rules_iptables_last{{ip_family="IPv4",table="{}"}}'
    others = cycle(("10.128.2.7", "10.128.2.6"))

    def writes_four() -> bool:
        put_and_await(api, endpoint_slice("web-a", "web", "10.128.1.5", next(others)), log)
        return (4.0, 0.0) == (metric(written.format("nat")), metric(written.format("filter")))

    eventually(writes_four, "two rules of the new endpoint and two that pick, unless a look came after", log)


def test_change_moves_the_counts_and_times_of_syncs(api: StubApi, log: Path) -> None:
    """The alert for a proxy that does not keep up holds the two times against each other."""
    names = {
        "changes": "kubeproxy_sync_proxy_rules_service_changes_total",
        "syncs": 'kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"}',
        "partial": 'kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family="IPv4"}',
        "queued": 'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family="IPv4"}',
        "synced": 'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"}',
    }
    before, began = {each: metric(series) for each, series in names.items()}, time.time()
    api.put(
        "Service",
        service("more")
        | {"spec": service("more")["spec"] | {"clusterIP": "10.96.0.30", "clusterIPs": ["10.96.0.30"]}},
    )
    eventually(lambda: metric(names["synced"]) >= metric(names["queued"]) >= began, "it is programmed", log)
    after = {each: metric(series) for each, series in names.items()}
    assert before["changes"] < after["changes"]
    assert before["syncs"] < after["syncs"]
    assert began <= after["queued"] <= after["synced"] <= time.time()
    full = 'kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"}'
    eventually(lambda: metric(full) > 1.0, "all rules are verified each sync period", log)
    verified, others = metric(full), metric(names["partial"])
    assert others >= 1.0
    assert metric(names["syncs"]) >= verified + others
    api.delete("Service", "default", "more")


def test_requests_are_what_the_role_of_kube_proxy_may(api: StubApi, log: Path) -> None:
    eventually(lambda: bool(events(api, "Starting")), "an Event is posted", log)
    asked = {(each.verb, each.path.rpartition("/")[2]) for each in api.requests}
    read = {(verb, kind) for verb in ("list", "watch") for kind in ("services", "endpointslices", "nodes")}
    assert {*read, ("create", "events")} == asked


def test_drift_is_found_and_repaired(log: Path) -> None:
    process.run(["iptables-nft", "-t", "nat", "-F", "KUBE-MARK-MASQ"])
    repaired = 'kproxy_drift_repaired_total{ip_family="IPv4"}'
    eventually(lambda: metric(repaired) >= 1.0, "the chain is put right within the sync period", log)
    assert metric('kproxy_drift_found_total{ip_family="IPv4"}') == metric(repaired)


@pytest.mark.usefixtures("refusals")
@pytest.mark.parametrize("query", MIXIN.read_text().splitlines())
def test_query_of_the_kubernetes_mixin_selects_a_series(query: str, log: Path) -> None:
    """The labels that Prometheus itself adds to each series, and `up`, come from the scrape."""
    for name, matchers in re.findall(r"([a-z_]+)\{([^}]*)\}", query):
        if name != "up":
            eventually(partial(selects, name, matchers), query, log)


_ADDED_BY_THE_SCRAPE = ("cluster", "job", "instance")


def selects(name: str, matchers: str) -> bool:
    wanted = {
        label: value if operator == "=~" else re.escape(value)
        for label, operator, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', matchers)
        if label not in _ADDED_BY_THE_SCRAPE
    }
    for labels in re.findall(rf"^{name}(?:\{{(.*)\}})? \S+$", metrics(), re.MULTILINE):
        found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if all(re.fullmatch(pattern, found.get(label, "")) for label, pattern in wanted.items()):
            return True
    return False
