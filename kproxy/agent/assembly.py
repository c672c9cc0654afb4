"""What surrounds the syncs: who is told of them, and the servers that answer for the agent."""

import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from kproxy.agent.http.servers import AddressRefused, Servers
from kproxy.agent.http.web import WebServer
from kproxy.agent.metrics.build_info import About
from kproxy.agent.metrics.scraped_metrics import CountedPackets, Programmed, WatchAges
from kproxy.agent.observers.health import Health
from kproxy.agent.observers.health_check_ports import HealthCheckPorts
from kproxy.agent.observers.local_policy_gauge import LocalPolicyGauge
from kproxy.agent.observers.node_presence import Presence
from kproxy.agent.observers.observer import Observer
from kproxy.agent.observers.quarantine import Quarantine
from kproxy.agent.observers.sync_metrics import Metrics
from kproxy.agent.observers.udp_flows import FlowCleaner
from kproxy.agent.pages.health_pages import probe_pages
from kproxy.agent.pages.metrics_pages import metrics_pages
from kproxy.agent.watches import Watches
from kproxy.configuration import Configuration, Mode
from kproxy.configuration.flags import configuration_to_flags
from kproxy.configuration.units import WATCH_LIST_GATE
from kproxy.errors import KproxyError
from kproxy.kernel.netlink.accounting import packets
from kproxy.kernel.node.addresses import local_addresses
from kproxy.ruleset.iptables.desired import DesiredRuleset
from kproxy.sources.recorder import Happening
from kproxy.sources.streamed import lists_are_streamed
from kproxy.threads import Need, lacking, tell_defect
from kproxy.values import Family

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assembly:
    """`observers` go along with the syncs; the servers answer from `start` to `stop`."""

    configuration: Configuration
    flags: Mapping[str, str]
    health: Health
    metrics: Metrics
    quarantine: Quarantine
    observers: tuple[Observer, ...]
    flows: FlowCleaner
    node_ports: WebServer
    web: WebServer
    metrics_web: WebServer
    servers: Servers
    metrics_servers: Servers

    def start(self) -> None:
        """Start all parts; one that cannot start is logged, and costs no rules.

        AddressRefused if bindAddressHardFail asks for that.
        """
        for what, start in (
            ("the removal of stale UDP flows", self.flows.start),
            ("the health-check node ports", self.node_ports.start),
            ("the health server", self.web.start),
            ("the metrics server", self.metrics_web.start),
            ("the health server", self._open_health),
            ("the metrics server", self._open_metrics),
        ):
            start_optional(what, start)

    def stop(self) -> None:
        self.servers.stop()
        self.metrics_servers.stop()
        for web in (self.web, self.metrics_web, self.node_ports):
            web.stop()
        self.flows.stop()

    def _open_health(self) -> None:
        self.servers.open(
            "health",
            self.configuration.healthz_bind_address,
            probe_pages(self.health, self.metrics.probed),
            failure="FailedToStartProxierHealthcheck",
        )

    def _open_metrics(self) -> None:
        self.metrics_servers.open(
            "metrics",
            self.configuration.metrics_bind_address,
            metrics_pages(self.configuration, self.flags, self.metrics.page, self.quarantine.page),
            failure="FailedToStartMetricServer",
        )

    def watch_programmed(self, desired: Mapping[Family, DesiredRuleset]) -> None:
        """Let metrics count what the agent wants in the kernel."""
        self.metrics.series.registry.register(Programmed(desired))


def start_optional(what: str, start: Callable[[], None]) -> None:
    """Start what the rules do not need: an agent without it keeps them up to date. AddressRefused passes."""
    try:
        start()
    except AddressRefused:
        raise
    except KproxyError as failed:
        _log.error("%s cannot start; the rules are kept up to date all the same: %s", what, failed)
    except Exception:  # noqa: BLE001 # whatever it is, rules come first
        tell_defect(
            _log, "a defect in kproxy: %s cannot start; the rules are kept up to date all the same", what
        )


def assemble(
    configuration: Configuration,
    families: Collection[Family],
    node_name: str,
    watches: Watches,
    record: Callable[[Happening], bool],
    other_nodes: Callable[[], Collection[str]] | None = None,
    other_flags: Mapping[str, str] | None = None,
) -> Assembly:
    """All of it for an agent that is going to run; nothing listens yet.

    `record` is how Events are made; `other_nodes` asks the cluster for the names of its Nodes, None for a directory.
    `other_flags` are shown beside those that stand for fields of the configuration.
    """
    presence = Presence(
        node_name,
        lambda told: record(Happening("NodeNotFound", "StartKubeProxy", told)),
        other_nodes,
    )
    health = Health(
        families,
        node_name,
        2 * configuration.rule_options.sync_period_s,
        stuck=lambda: (*watches.stuck(), *lacking(Need.RULES)),
        outdated=lambda: (*watches.outdated(), *presence.missing(), *lacking(Need.NODE)),
    )
    metrics = _metrics(configuration, families, watches)
    # a crowd at one of them, or a large page of metrics, holds up no probe of the others
    web, metrics_web, node_ports = (
        WebServer("web-health"),
        WebServer("web-metrics"),
        WebServer("web-services"),
    )
    checks = HealthCheckPorts(
        node_ports,
        lambda: health.condition().healthy,
        lambda service, told: record(Happening("FailedToStartServiceHealthcheck", "Listen", told, service)),
    )
    quarantine = Quarantine(record, metrics.quarantined)
    flows = FlowCleaner(metrics.reconciled, local_addresses)
    return Assembly(
        configuration=configuration,
        flags={**configuration_to_flags(configuration), **(other_flags or {})},
        health=health,
        metrics=metrics,
        quarantine=quarantine,
        observers=(
            health,
            presence,
            metrics,
            quarantine,
            checks,
            flows,
            LocalPolicyGauge(metrics.lacks_local_endpoints),
        ),
        flows=flows,
        node_ports=node_ports,
        web=web,
        metrics_web=metrics_web,
        servers=_servers(web, configuration, record),
        metrics_servers=_servers(metrics_web, configuration, record),
    )


def _metrics(configuration: Configuration, families: Collection[Family], watches: Watches) -> Metrics:
    nftables = configuration.mode is Mode.NFTABLES
    metrics = Metrics(families, nftables=nftables)
    metrics.series.registry.register(WatchAges(watches.ages_s))
    streams = {WATCH_LIST_GATE: lists_are_streamed(os.environ)}
    metrics.series.registry.register(About(streams | configuration.feature_gates))
    if not nftables:
        metrics.series.registry.register(CountedPackets(packets))
    return metrics


def _servers(of: WebServer, configuration: Configuration, record: Callable[[Happening], bool]) -> Servers:
    return Servers(
        of,
        configuration.bind_address_hard_fail,
        lambda reason, told: record(Happening(reason, "StartKubeProxy", told)),
    )
