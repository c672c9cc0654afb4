"""Series of the requests to a real server, with client-go's names, labels and buckets."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from kproxy.agent.metrics.client_metrics import ClientMetrics
from kproxy.client.connection import Connection, connect
from kproxy.client.credentials.exec_facts import Called, CallStatus, Expires, Rotated
from kproxy.client.rate import RateLimiter
from kproxy.errors import ApiFailed
from stubapi import StubApi
from stubapi.manifests import service

PATH = "/api/v1/services"
TIMEOUT_S = 10.0
SIZES = [64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216]
WAITS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60]
AGES = [600, 1800, 3600, 14400, 86400, 604800, 2592000, 7776000, 15552000, 31104000, 124416000]


class Counted:
    """The series of one registry, by their names and labels; time stands still at second 1,000."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = ClientMetrics(self.registry, lambda: 1000.0)

    def page(self) -> str:
        return generate_latest(self.registry).decode()

    def __getitem__(self, series: str) -> float | None:
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.page(), re.MULTILINE)
        return float(found[1]) if found else None

    def bounds(self, name: str) -> list[float]:
        found = re.findall(rf'^{name}_bucket\{{.*?le="([^"]+)"', self.page(), re.MULTILINE)
        return [float(bound) for bound in found[:-1]]


@pytest.fixture(scope="module")
def api() -> Iterator[StubApi]:
    with StubApi() as stub:
        for number in range(50):
            stub.put("Service", service(f"web-{number}"))
        yield stub


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def connection(api: StubApi, counted: Counted, tmp_path: Path) -> Iterator[Connection]:
    connected = connect(
        api.write_kubeconfig(tmp_path / "kubeconfig"),
        note=counted.metrics.noted,
        limiter=RateLimiter(20.0, 3),
    )
    yield connected
    connected.close()


def of(api: StubApi, name: str, verb: str = "GET") -> str:
    host = api.url.removeprefix("https://")
    return f'{name}{{host="{host}",verb="{verb}"}}'


def test_list_is_counted_with_the_length_of_its_answer(
    api: StubApi, counted: Counted, connection: Connection
) -> None:
    with connection.get(PATH, {}, read_timeout_s=TIMEOUT_S) as answer:
        body = answer.body(1 << 20)
    assert len(body) > 10_000
    assert len(body) == counted[of(api, "rest_client_response_size_bytes_sum")]
    assert 1 == counted[of(api, "rest_client_response_size_bytes_count")]
    assert 0 == counted[of(api, "rest_client_request_size_bytes_sum")]
    assert 1 == counted[of(api, "rest_client_request_size_bytes_count")]
    assert 1 == counted[of(api, "rest_client_rate_limiter_duration_seconds_count")]


def test_refused_list_is_counted_with_the_length_of_the_refusal(
    api: StubApi, counted: Counted, connection: Connection
) -> None:
    api.fail_next(1, 403)
    with pytest.raises(ApiFailed):
        connection.get(PATH, {}, read_timeout_s=TIMEOUT_S)
    assert 1 == counted[of(api, "rest_client_response_size_bytes_count")]
    assert (counted[of(api, "rest_client_response_size_bytes_sum")] or 0) > 50


def test_watch_is_counted_as_a_request_without_sizes_or_limit(
    api: StubApi, counted: Counted, connection: Connection
) -> None:
    watched = {"watch": "true", "resourceVersion": "1", "timeoutSeconds": "1"}
    with connection.get(PATH, watched, read_timeout_s=TIMEOUT_S) as answer:
        assert list(answer.chunks())
    host = api.url.removeprefix("https://")
    assert 1 == counted[f'rest_client_requests_total{{code="200",host="{host}",method="GET"}}']
    for name in ("request_size_bytes", "response_size_bytes", "rate_limiter_duration_seconds"):
        assert counted[of(api, f"rest_client_{name}_count")] is None


def test_request_with_a_body_is_counted_with_its_length(
    api: StubApi, counted: Counted, connection: Connection
) -> None:
    body = b'{"kind": "Event", "note": "' + b"x" * 500 + b'"}'
    connection.post("/apis/events.k8s.io/v1/namespaces/default/events", body, read_timeout_s=TIMEOUT_S)
    assert len(body) == counted[of(api, "rest_client_request_size_bytes_sum", "POST")]


def test_buckets_are_client_gos(api: StubApi, counted: Counted, connection: Connection) -> None:
    with connection.get(PATH, {}, read_timeout_s=TIMEOUT_S) as answer:
        answer.body(1 << 20)
    assert SIZES == counted.bounds("rest_client_request_size_bytes")
    assert SIZES == counted.bounds("rest_client_response_size_bytes")
    assert WAITS == counted.bounds("rest_client_rate_limiter_duration_seconds")
    assert WAITS == counted.bounds("rest_client_request_duration_seconds")
    assert AGES == counted.bounds("rest_client_exec_plugin_certificate_rotation_age")


def test_run_of_a_plugin_is_counted_by_code_and_outcome(counted: Counted) -> None:
    for fact in (Called(0, CallStatus.NO_ERROR), Called(42, CallStatus.EXECUTION_ERROR)):
        counted.metrics.plugin_noted(fact)
    series = 'rest_client_exec_plugin_call_total{{call_status="{}",code="{}"}}'
    assert 1 == counted[series.format("no_error", 0)]
    assert 1 == counted[series.format("plugin_execution_error", 42)]


def test_certificate_of_a_plugin_has_a_time_to_live_and_an_age_at_rotation(counted: Counted) -> None:
    assert math.inf == counted["rest_client_exec_plugin_ttl_seconds"]
    counted.metrics.plugin_noted(Expires(1600.0))
    assert 600 == counted["rest_client_exec_plugin_ttl_seconds"]
    counted.metrics.plugin_noted(Expires(900.0))
    assert -100 == counted["rest_client_exec_plugin_ttl_seconds"]
    counted.metrics.plugin_noted(Rotated(3000.0))
    assert 3000 == counted["rest_client_exec_plugin_certificate_rotation_age_sum"]
    counted.metrics.plugin_noted(Expires(None))
    assert math.inf == counted["rest_client_exec_plugin_ttl_seconds"]


def test_transports_are_counted_and_none_is_cached(counted: Counted) -> None:
    counted.metrics.transport_created()
    assert 1 == counted['rest_client_transport_create_calls_total{result="uncacheable"}']
    assert 0 == counted["rest_client_transport_cache_entries"]
    assert 0 == counted["rest_client_transport_cert_rotation_gc_calls_total"]
