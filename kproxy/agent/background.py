"""Everything that runs beside the loop: the observers of its syncs, and the servers that answer for the agent.

No part of it is needed for rules. A part that cannot start is logged, and the agent keeps its rules up to date without.
"""

import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from kproxy.agent.http.servers import AddressRefused, Servers
from kproxy.agent.http.web import WebServer
from kproxy.agent.metrics.build_info import About
from kproxy.agent.metrics.scraped_metrics import PacketCounts, WatchAges
from kproxy.agent.observers.health import Health
from kproxy.agent.observers.health_check_ports import HealthCheckPorts
from kproxy.agent.observers.local_policy_gauge import LocalPolicyGauge
from kproxy.agent.observers.node_presence import Presence
from kproxy.agent.observers.observer import Observer
from kproxy.agent.observers.quarantine import Quarantine
from kproxy.agent.observers.silent_services import SilentServices
from kproxy.agent.observers.sync_metrics import Metrics
from kproxy.agent.observers.udp_flows import FlowCleaner
from kproxy.agent.options import Options
from kproxy.agent.pages.health_pages import probe_pages
from kproxy.agent.pages.metrics_pages import metrics_pages
from kproxy.agent.watches import Watches
from kproxy.configuration import Configuration, Mode
from kproxy.configuration.flags import configuration_to_flags
from kproxy.configuration.units import WATCH_LIST_GATE
from kproxy.errors import KproxyError
from kproxy.kernel.netlink.accounting import packets
from kproxy.kernel.node.addresses import local_addresses
from kproxy.sources.recorder import ClusterEvent
from kproxy.sources.streamed import lists_are_streamed
from kproxy.threads import Need, lacking, log_defect
from kproxy.values import Family

_log = logging.getLogger(__name__)

Post = Callable[[ClusterEvent], bool]
"""Posts an Event, or answers False if it cannot now."""


@dataclass(frozen=True, slots=True)
class Background:
    """The parts, which work from `start` to `stop`. `observers` are told of each sync, in this order.

    Three web servers, since a crowd at one of them, or a large page of metrics, must hold up no probe of the others.
    """

    configuration: Configuration
    flags: Mapping[str, str]
    health: Health
    metrics: Metrics
    quarantine: Quarantine
    flows: FlowCleaner
    observers: tuple[Observer, ...]
    node_ports: WebServer
    health_servers: Servers
    metrics_servers: Servers

    def start(self) -> None:
        """Start all parts; AddressRefused if an address is taken and bindAddressHardFail asks for that."""
        for part, start in (
            ("the removal of stale UDP flows", self.flows.start),
            ("the health-check node ports", self.node_ports.start),
            ("the health server", self.health_servers.web.start),
            ("the metrics server", self.metrics_servers.web.start),
            ("the health server", self._open_health),
            ("the metrics server", self._open_metrics),
        ):
            start_optional(part, start)

    def stop(self) -> None:
        self.health_servers.stop()
        self.metrics_servers.stop()
        for web in (self.health_servers.web, self.metrics_servers.web, self.node_ports):
            web.stop()
        self.flows.stop()

    def _open_health(self) -> None:
        self.health_servers.open(
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


def start_optional(part: str, start: Callable[[], None]) -> None:
    """Start a part that the rules do not need: what goes wrong with it is only logged. AddressRefused passes."""
    try:
        start()
    except AddressRefused:
        raise
    except KproxyError as failed:
        _log.error("%s cannot start; the rules are kept up to date all the same: %s", part, failed)
    except Exception:  # noqa: BLE001 # whatever it is, rules come first
        log_defect(
            _log, "a defect in kproxy: %s cannot start; the rules are kept up to date all the same", part
        )


def make_metrics(configuration: Configuration, families: Collection[Family]) -> Metrics:
    """The metrics of an agent, without those of its watches and of its desired rules."""
    nftables = configuration.mode is Mode.NFTABLES
    metrics = Metrics(families, nftables=nftables)
    streams = {WATCH_LIST_GATE: lists_are_streamed(os.environ)}
    metrics.series.registry.register(About(streams | configuration.feature_gates))
    if not nftables:
        metrics.series.registry.register(PacketCounts(packets))
    return metrics


def make_background(
    options: Options,
    families: Collection[Family],
    metrics: Metrics,
    watches: Watches,
    post: Post,
    other_nodes: Callable[[], Collection[str]] | None,
) -> Background:
    """All parts for these families; nothing listens yet.

    `other_nodes` asks the cluster for the names of its Nodes, and is None for a directory of manifests.
    """
    configuration = options.configuration
    metrics.series.registry.register(WatchAges(watches.ages_s))
    presence = _presence(options, post, other_nodes)
    health = _health(options, families, watches, presence)
    node_ports = WebServer("web-services")
    quarantine = Quarantine(post, metrics.quarantined)
    flows = FlowCleaner(metrics.reconciled, local_addresses)
    return Background(
        configuration=configuration,
        flags={**configuration_to_flags(configuration), **options.other_flags},
        health=health,
        metrics=metrics,
        quarantine=quarantine,
        flows=flows,
        observers=(
            health,
            presence,
            metrics,
            quarantine,
            _health_check_ports(node_ports, health, post),
            flows,
            LocalPolicyGauge(metrics.lacks_local_endpoints),
            *_silent_services(options),
        ),
        node_ports=node_ports,
        health_servers=_servers(WebServer("web-health"), configuration, post),
        metrics_servers=_servers(WebServer("web-metrics"), configuration, post),
    )


def _presence(options: Options, post: Post, other_nodes: Callable[[], Collection[str]] | None) -> Presence:
    return Presence(
        options.node_name,
        lambda told: post(ClusterEvent("NodeNotFound", "StartKubeProxy", told)),
        other_nodes,
    )


def _health(options: Options, families: Collection[Family], watches: Watches, presence: Presence) -> Health:
    return Health(
        families,
        options.node_name,
        2 * options.configuration.rule_options.sync_period_s,
        stuck=lambda: (*watches.stuck(), *lacking(Need.RULES)),
        outdated=lambda: (*watches.outdated(), *presence.missing(), *lacking(Need.NODE)),
    )


def _health_check_ports(web: WebServer, health: Health, post: Post) -> HealthCheckPorts:
    return HealthCheckPorts(
        web,
        lambda: health.condition().healthy,
        lambda service, told: post(ClusterEvent("FailedToStartServiceHealthcheck", "Listen", told, service)),
    )


def _silent_services(options: Options) -> list[SilentServices]:
    """In a cluster, Services without rules or endpoints are usual: only verbose logs tell of them."""
    if options.manifests:
        return [SilentServices(logging.INFO)]
    configured = options.configuration.logging
    return [SilentServices(logging.DEBUG)] if configured.verbosity or configured.vmodule else []


def _servers(web: WebServer, configuration: Configuration, post: Post) -> Servers:
    return Servers(
        web,
        configuration.bind_address_hard_fail,
        lambda reason, told: post(ClusterEvent(reason, "StartKubeProxy", told)),
    )
