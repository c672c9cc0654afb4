"""The rate of requests: client-go's token bucket, shared by all connections.

A wait ends at once when the agent ends.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.client.connection import Connection, RequestEvent, RequestSent, connect
from kproxy.client.rate import LONGEST_WAIT_S, RateLimiter, rate_limiter
from kproxy.errors import ApiFailed
from stubapi import StubApi

PATH = "/api/v1/services"
TIMEOUT_S = 10.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def api() -> Iterator[StubApi]:
    with StubApi() as stub:
        yield stub


def listed(connection: Connection, **query: str) -> None:
    with connection.get(PATH, query, read_timeout_s=TIMEOUT_S) as answer:
        if "watch" not in query:
            answer.body(1 << 20)


def test_burst_is_sent_at_once_and_the_rest_at_the_rate() -> None:
    limiter = RateLimiter(5.0, 10, clock=Clock())
    assert [0.0] * 10 == [limiter.reserve_s() for _ in range(10)]
    assert [0.2, 0.4, 0.6] == pytest.approx([limiter.reserve_s() for _ in range(3)])


def test_tokens_come_back_with_time_but_never_more_than_the_burst() -> None:
    clock = Clock()
    limiter = RateLimiter(5.0, 2, clock=clock)
    assert [0.0, 0.0, 0.2] == pytest.approx([limiter.reserve_s() for _ in range(3)])
    clock.now += 0.4
    assert [0.0, 0.2] == pytest.approx([limiter.reserve_s() for _ in range(2)])
    clock.now += 3600.0
    assert [0.0, 0.0, 0.2] == pytest.approx([limiter.reserve_s() for _ in range(3)])


def test_clock_that_steps_back_takes_no_tokens_away() -> None:
    clock = Clock()
    limiter = RateLimiter(1.0, 2, clock=clock)
    limiter.reserve_s()
    clock.now -= 500.0
    assert 0.0 == limiter.reserve_s()


@pytest.mark.parametrize(
    ("qps", "burst", "waits"),
    [
        (0.0, 0, [0.0] * 10 + [0.2]),
        (0.0, 1, [0.0, 0.2]),
        (50.0, 0, [0.0] * 10 + [0.02]),
        (1e-300, 1, [0.0, LONGEST_WAIT_S]),
        (3.4028234663852886e38, 1, [0.0] * 100),
    ],
)
def test_settings_have_client_gos_meanings(qps: float, burst: int, waits: list[float]) -> None:
    limiter = rate_limiter(qps, burst)
    assert limiter is not None
    assert waits == pytest.approx([limiter.reserve_s() for _ in waits], abs=0.01)


@pytest.mark.parametrize("qps", [-1.0, -0.001, float("-inf"), float("inf")])
def test_rate_below_zero_or_infinite_means_no_limit(qps: float) -> None:
    assert rate_limiter(qps, 10) is None


@given(
    st.floats(0.01, 1e6),
    st.integers(1, 100),
    st.lists(st.floats(0.0, 10.0), min_size=1, max_size=60),
)
def test_no_span_of_time_has_more_requests_than_the_rate_and_one_burst(
    qps: float, burst: int, gaps: list[float]
) -> None:
    clock = Clock()
    limiter = RateLimiter(qps, burst, clock=clock)
    sent: list[float] = []
    for gap in gaps:
        clock.now += gap
        sent.append(clock.now + limiter.reserve_s())
    assert sorted(sent) == pytest.approx(sent), "in the order in which they asked"
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            allowed = burst + qps * (sent[last] - sent[first])
            assert last - first + 1 <= allowed * (1 + 1e-6) + 1e-3


def test_limit_holds_for_all_connections_together(api: StubApi, tmp_path: Path) -> None:
    limiter = RateLimiter(20.0, 3, clock=Clock())
    kubeconfig = api.write_kubeconfig(tmp_path / "kubeconfig")
    noted: list[RequestEvent] = []
    began_at = time.monotonic()
    for _ in range(3):
        connection = connect(kubeconfig, "", noted.append, limiter=limiter)
        for _ in range(2):
            listed(connection)
        connection.close()
    waits = [0.0, 0.0, 0.0, 0.05, 0.1, 0.15]
    assert waits == pytest.approx([each.throttled_s for each in noted if isinstance(each, RequestSent)])
    assert sum(waits) <= time.monotonic() - began_at


def test_watch_does_not_wait_for_the_limit(api: StubApi, tmp_path: Path) -> None:
    limiter = RateLimiter(0.001, 1)
    noted: list[RequestEvent] = []
    connection = connect(api.write_kubeconfig(tmp_path / "kubeconfig"), "", noted.append, limiter=limiter)
    listed(connection)
    for _ in range(3):
        listed(connection, watch="true", resourceVersion="28500", timeoutSeconds="1")
    connection.close()
    assert [0.0, None, None, None] == [each.throttled_s for each in noted if isinstance(each, RequestSent)]


def test_wait_that_is_cut_short_sends_nothing(api: StubApi, tmp_path: Path) -> None:
    connection = connect(api.write_kubeconfig(tmp_path / "kubeconfig"), "", limiter=RateLimiter(0.001, 1))
    listed(connection)
    stopping = threading.Event()
    connection.wait = stopping.wait
    threading.Timer(0.2, stopping.set).start()
    began_at = time.monotonic()
    with pytest.raises(ApiFailed, match="given up while it waited for its turn"):
        listed(connection)
    with pytest.raises(ApiFailed, match="given up while it waited for its turn"):
        connection.post("/apis/events.k8s.io/v1/namespaces/default/events", b"{}", read_timeout_s=TIMEOUT_S)
    assert 5.0 > time.monotonic() - began_at
    connection.close()
    assert 1 == len(api.requests)


def test_request_that_waits_long_is_reported(
    api: StubApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect(
        api.write_kubeconfig(tmp_path / "kubeconfig"), "", limiter=RateLimiter(0.5, 1, clock=Clock())
    )
    connection.wait = lambda _: None
    with caplog.at_level("INFO"):
        listed(connection)
        listed(connection)
    connection.close()
    assert ["a request of /api/v1/services waits 2.0 s because of --kube-api-qps"] == caplog.messages
