"""Every series that the agent exports: kube-proxy's by their names, labels and buckets, and some of our own.

Dashboards take their list of instances from some series, so all series exist from the start. Series of the
requests to the API server are in `client_metrics`.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from http import HTTPStatus
from typing import TypeVar

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from kproxy.state.objects import Kind
from kproxy.values import Family

FAMILY = "ip_family"
TABLES = ("filter", "nat")
STAGES = ("compute", "render", "observe", "lock_wait", "apply")
PROBES = ("healthz", "livez")
UNKNOWN_KIND = "unknown"
QUARANTINED_KINDS = (*map(str, Kind), UNKNOWN_KIND)

_DURATIONS_S = tuple(0.001 * 2**power for power in range(15))
_PROGRAMMING_S = (0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))
_ANSWERS = (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE)

_CHANGING = {Kind.ENDPOINT_SLICE: "endpoint", Kind.SERVICE: "service"}

# only in the registry of the agent
_counter = partial(Counter, registry=None)
_gauge = partial(Gauge, registry=None)
_histogram = partial(Histogram, registry=None)

_Metric = TypeVar("_Metric", bound=MetricWrapperBase)

prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]


class Series:
    """Each attribute is one metric. A metric that has the label of the family has a series for each of `families`."""

    def __init__(self, families: Iterable[Family]) -> None:
        self.registry = CollectorRegistry()
        self._families = tuple(families)
        prometheus.ProcessCollector(registry=self.registry)
        self._define_syncs()
        self._define_changes()
        self._define_failures()
        self._define_ours()

    def _define_syncs(self) -> None:
        self.syncs = self._durations("sync_proxy_rules", "How long syncs took")
        self.full_syncs = self._durations(
            "sync_full_proxy_rules", "How long syncs took that verified all rules"
        )
        self.partial_syncs = self._durations("sync_partial_proxy_rules", "How long the other syncs took")
        self.reconciliations = self._durations(
            "conntrack_reconciler_sync", "How long it took to remove stale conntrack entries"
        )
        self.programming = self._durations(
            "network_programming",
            "From a change of a pod or Service to the rules in the kernel",
            _PROGRAMMING_S,
        )
        self.last_sync = self._labelled(
            _gauge("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "Last successful sync", (FAMILY,))
        )
        self.last_queued = self._labelled(
            _gauge("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "Last change", (FAMILY,))
        )
        self.last_rules = self._labelled(
            _gauge(
                "kubeproxy_sync_proxy_rules_iptables_last",
                "Rules written by the last sync",
                (FAMILY, "table"),
            ),
            TABLES,
        )

        self.without_local_endpoints = self._labelled(
            _gauge(
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                "Service ports of policy Local that have endpoints, but none on this node",
                (FAMILY, "traffic_policy"),
            ),
            ("internal", "external"),
        )

    def _define_changes(self) -> None:
        self.changes: Mapping[Kind, Counter] = {
            kind: self._plain(
                _counter(f"kubeproxy_sync_proxy_rules_{name}_changes_total", f"Changes of {name}s")
            )
            for kind, name in _CHANGING.items()
        }
        self.pending: Mapping[Kind, Gauge] = {
            kind: self._plain(
                _gauge(
                    f"kubeproxy_sync_proxy_rules_{name}_changes_pending",
                    f"Changes of {name}s that are not in the kernel yet",
                )
            )
            for kind, name in _CHANGING.items()
        }

    def _define_failures(self) -> None:
        self.failures = self._count("sync_proxy_rules_iptables_restore_failures", "Syncs that failed")
        self.partial_failures = self._count(
            "sync_proxy_rules_iptables_partial_restore_failures", "Syncs that failed and were not to verify"
        )
        self.nftables_failures = self._count(
            "sync_proxy_rules_nftables_sync_failures", "Syncs that failed in mode nftables"
        )
        self.nftables_leftovers = self._count(
            "sync_proxy_rules_nftables_cleanup_failures",
            "Syncs that left in mode nftables what they should remove",
        )
        self.deleted_flows = self._count(
            "conntrack_reconciler_deleted_entries", "Stale conntrack entries that were removed"
        )
        self.probes: Mapping[str, Counter] = {
            name: self._plain(_counter(f"kubeproxy_proxy_{name}_total", f"Answers of /{name}", ("code",)))
            for name in PROBES
        }
        for probe in self.probes.values():
            for status in _ANSWERS:
                probe.labels(str(status.value))

    def _define_ours(self) -> None:
        self.stages = self._labelled(
            _histogram(
                "kproxy_sync_stage_duration_seconds",
                "How long each stage of a sync took; lock_wait is for other programs that hold iptables-legacy's lock",
                (FAMILY, "stage"),
                buckets=_DURATIONS_S,
            ),
            STAGES,
        )
        self.drift_found = self._labelled(
            _counter(
                "kproxy_drift_found_total", "Chains and jumps of ours that somebody else changed", (FAMILY,)
            )
        )
        self.drift_repaired = self._labelled(
            _counter("kproxy_drift_repaired_total", "Those of them that were put right", (FAMILY,))
        )
        self.quarantined = self._plain(
            _gauge(
                "kproxy_quarantined_objects",
                "Objects of which all, a field or the newest change is left out",
                ("kind",),
            )
        )
        for kind in QUARANTINED_KINDS:
            self.quarantined.labels(kind)

    def _durations(self, name: str, text: str, buckets: Iterable[float] = _DURATIONS_S) -> Histogram:
        return self._labelled(
            _histogram(f"kubeproxy_{name}_duration_seconds", text, (FAMILY,), buckets=tuple(buckets))
        )

    def _count(self, name: str, text: str) -> Counter:
        return self._labelled(_counter(f"kubeproxy_{name}_total", text, (FAMILY,)))

    def _labelled(self, metric: _Metric, seconds: Iterable[str] = ()) -> _Metric:
        """The metric, registered, with a series for each family, and for each value of a second label if it has one."""
        for family in self._families:
            for second in tuple(seconds) or (None,):
                metric.labels(family, *([second] if second else ()))
        return self._plain(metric)

    def _plain(self, metric: _Metric) -> _Metric:
        self.registry.register(metric)
        return metric
