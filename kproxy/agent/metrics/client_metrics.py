"""Series of the requests to the API server: client-go's, by their names, labels and buckets.

Source: k8s.io/component-base/metrics/prometheus/restclient. The number of labels is bounded: hosts come
from our configuration, codes have three digits (HTTP) or are exit codes.
"""

import math
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kproxy.client.connection import BodyRead, RequestEvent, RequestSent
from kproxy.client.credentials.exec_facts import Called, Expires, Fact, Rotated

_DURATIONS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
_SIZES_BYTES = (64, 256, 512, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24)
_MINUTE_S, _DAY_S = 60, 86400
_CERTIFICATE_AGES_S = (
    *(10 * _MINUTE_S, 30 * _MINUTE_S, 60 * _MINUTE_S, 240 * _MINUTE_S),
    *(_DAY_S, 7 * _DAY_S, 30 * _DAY_S, 90 * _DAY_S, 180 * _DAY_S, 360 * _DAY_S, 1440 * _DAY_S),
)
_HOST = ("verb", "host")
_NOT_CACHED = "uncacheable"


class ClientMetrics:
    """Counts requests and runs of credential plugins; may be told from any thread.

    `now` is in seconds since the epoch.
    """

    def __init__(self, registry: CollectorRegistry, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._expires_at = math.inf
        self._define_requests(registry)
        self._define_transports(registry)
        self._define_plugins(registry)

    def _define_requests(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "rest_client_requests_total",
            "Requests to the API server",
            ("code", "method", "host"),
            registry=registry,
        )
        self._durations = Histogram(
            "rest_client_request_duration_seconds",
            "Until the API server's answer began",
            _HOST,
            buckets=_DURATIONS_S,
            registry=registry,
        )
        self._throttled = Histogram(
            "rest_client_rate_limiter_duration_seconds",
            "How long our own limit of requests held back one that is no watch",
            _HOST,
            buckets=_DURATIONS_S,
            registry=registry,
        )
        self._sent = Histogram(
            "rest_client_request_size_bytes",
            "Length of the body of a request that is no watch",
            _HOST,
            buckets=_SIZES_BYTES,
            registry=registry,
        )
        self._received = Histogram(
            "rest_client_response_size_bytes",
            "Length of the body of an answer that is no watch, unpacked",
            _HOST,
            buckets=_SIZES_BYTES,
            registry=registry,
        )

    def _define_transports(self, registry: CollectorRegistry) -> None:
        """Each connection has a transport of its own, which ends with it. There is no cache of transports."""
        self._transports = Counter(
            "rest_client_transport_create_calls_total",
            "Transports made for a connection; kproxy caches none",
            ("result",),
            registry=registry,
        )
        Gauge(
            "rest_client_transport_cache_entries",
            "Transports in a cache; kproxy has none",
            registry=registry,
        )
        Counter(
            "rest_client_transport_cert_rotation_gc_calls_total",
            "Rotations of certificates that ended with their transport in a cache; kproxy has no cache",
            registry=registry,
        )

    def _define_plugins(self, registry: CollectorRegistry) -> None:
        Gauge(
            "rest_client_exec_plugin_ttl_seconds",
            "Until the client certificate of the credential plugin expires, negative afterwards; +Inf without one",
            registry=registry,
        ).set_function(lambda: self._expires_at - self._now())
        self._rotations = Histogram(
            "rest_client_exec_plugin_certificate_rotation_age",
            "Age in seconds of a client certificate of the credential plugin when it was replaced",
            buckets=_CERTIFICATE_AGES_S,
            registry=registry,
        )
        self._calls = Counter(
            "rest_client_exec_plugin_call_total",
            "Runs of the credential plugin, by exit code and how they ended",
            ("code", "call_status"),
            registry=registry,
        )

    def noted(self, noted: RequestEvent) -> None:
        """Count a request that was answered or failed, or the body of an answer that was read."""
        match noted:
            case RequestSent():
                self._asked(noted)
            case BodyRead(method, host, body_bytes):
                self._received.labels(method, host).observe(body_bytes)

    def _asked(self, asked: RequestSent) -> None:
        self._requests.labels(asked.code, asked.method, asked.host).inc()
        self._durations.labels(asked.method, asked.host).observe(asked.took_s)
        if not asked.is_watch:
            self._sent.labels(asked.method, asked.host).observe(asked.sent_bytes)
            if asked.throttled_s is not None:
                self._throttled.labels(asked.method, asked.host).observe(asked.throttled_s)

    def transport_created(self) -> None:
        """A connection has got a transport of its own."""
        self._transports.labels(_NOT_CACHED).inc()

    def plugin_noted(self, fact: Fact) -> None:
        """A credential plugin ran, or gave a client certificate."""
        match fact:
            case Called(code, status):
                self._calls.labels(str(code), status).inc()
            case Rotated(age_s):
                self._rotations.observe(age_s)
            case Expires(at):
                self._expires_at = math.inf if at is None else at
