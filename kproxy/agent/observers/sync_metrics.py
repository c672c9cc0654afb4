"""Counts what the agent does, for Prometheus."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from http import HTTPStatus

from prometheus_client import generate_latest

from kproxy.agent.http.page import Page
from kproxy.agent.metrics.client_metrics import ClientMetrics
from kproxy.agent.metrics.series import QUARANTINED_KINDS, Series
from kproxy.agent.observers.observer import Observer, SyncOutcome
from kproxy.agent.proxy import SyncReport
from kproxy.state.events import Changed, Deleted, Event, Listed, Refused
from kproxy.state.objects import KIND_OF, EndpointSlice, Kind
from kproxy.state.store import Store
from kproxy.values import Family, NamespacedName

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Observer):
    """Follows the syncs in the agent's thread; the rest may be told, and the page read, from any thread.

    `nftables` says which of kube-proxy's metrics counts a sync that failed. `now` is in seconds since the epoch.
    """

    def __init__(
        self, families: Collection[Family], *, nftables: bool, now: Callable[[], float] = time.time
    ) -> None:
        self.series = Series(families)
        self.client = ClientMetrics(self.series.registry, now)
        self._families = families
        self._nftables = nftables
        self._now = now
        self._began_at = now()
        self._pending: Counter[Kind] = Counter()
        self._programming: dict[Family, dict[NamespacedName, float]] = {family: {} for family in Family}

    def page(self) -> Page:
        return Page(generate_latest(self.series.registry).decode(), content_type=_CONTENT_TYPE)

    def probed(self, page: str, status: HTTPStatus) -> None:
        if page in self.series.probes:
            self.series.probes[page].labels(str(status.value)).inc()

    def reconciled(self, family: Family, took_s: float, deleted: int) -> None:
        """Stale conntrack entries of the family were looked for."""
        self.series.reconciliations.labels(family).observe(took_s)
        self.series.deleted_flows.labels(family).inc(deleted)

    def quarantined(self, objects: Mapping[str, int]) -> None:
        """How many objects of each kind are in quarantine."""
        for kind in QUARANTINED_KINDS:
            self.series.quarantined.labels(kind).set(objects.get(kind, 0))

    def lacks_local_endpoints(self, family: Family, policy: str, ports: int) -> None:
        self.series.without_local_endpoints.labels(family, policy).set(ports)

    def stored(self, event: Event) -> None:
        kind, count = _changes(event)
        if kind in self.series.changes:
            self._pending[kind] += count
            self.series.changes[kind].inc(count)
            self.series.pending[kind].set(self._pending[kind])
        for family in self._families:
            self.series.last_queued.labels(family).set(self._now())
        match event:
            case Changed(object=EndpointSlice(family=family, key=key, changed_at=text)):
                changed_at = _epoch(text)
                if family in self._families and changed_at >= self._began_at:
                    self._programming[family].setdefault(key, changed_at)
            case _:
                pass

    def synced(
        self, store: Store, dirty: AbstractSet[NamespacedName], outcomes: Mapping[Family, SyncOutcome]
    ) -> None:
        del store, dirty
        for family, outcome in outcomes.items():
            self._count_sync(family, outcome)
        if all(outcome.succeeded for outcome in outcomes.values()):
            self._pending.clear()
            for gauge in self.series.pending.values():
                gauge.set(0)

    def _count_sync(self, family: Family, outcome: SyncOutcome) -> None:
        series, report = self.series, outcome.report
        if report is not None:
            self._count_report(family, report, verified=outcome.verified)
        if report and report.left_something:
            series.nftables_leftovers.labels(family).inc()
        if not outcome.succeeded:
            if self._nftables:
                series.nftables_failures.labels(family).inc()
                return
            series.failures.labels(family).inc()
            if not outcome.verified:
                series.partial_failures.labels(family).inc()
            return
        now = self._now()
        series.last_sync.labels(family).set(now)
        for at in self._programming[family].values():
            series.programming.labels(family).observe(max(now - at, 0.0))
        self._programming[family].clear()

    def _count_report(self, family: Family, report: SyncReport, *, verified: bool) -> None:
        series = self.series
        for histogram in (series.syncs, series.full_syncs if verified else series.partial_syncs):
            histogram.labels(family).observe(report.took_s)
        for stage, took_s in report.stages_s.items():
            series.stages.labels(family, stage).observe(took_s)
        for table, count in report.rules_by_table.items():
            series.last_rules.labels(family, table).set(count)
        series.drift_found.labels(family).inc(report.drifted)
        if report.error is None:
            series.drift_repaired.labels(family).inc(report.drifted)


def _epoch(text: str) -> float:
    """Seconds since the epoch; 0 for text that is no time: then one measurement is missing."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _changes(event: Event) -> tuple[Kind, int]:
    """The kind and the number of changes in an event; a list counts each of its objects."""
    match event:
        case Changed(object=thing):
            return KIND_OF[type(thing)], 1
        case Deleted(kind=kind) | Refused(kind=kind):
            return kind, 1
        case Listed(kind=kind, objects=objects):
            return kind, len(objects)
