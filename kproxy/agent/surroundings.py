"""What surrounds the syncs: who is told of them, and the servers that answer for the agent."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from kproxy.agent.collected import CountedPackets, Programmed, WatchAges
from kproxy.agent.flows import FlowCleaner
from kproxy.agent.follower import Follower
from kproxy.agent.health import Health
from kproxy.agent.healthchecks import HealthCheckPorts
from kproxy.agent.metrics import Metrics
from kproxy.agent.pages import metrics_pages
from kproxy.agent.probes import probe_pages
from kproxy.agent.quarantine import Quarantine
from kproxy.agent.servers import Servers
from kproxy.agent.unserved import UnservedPorts
from kproxy.agent.watches import Watches
from kproxy.agent.web import WebServer
from kproxy.configuration import Configuration, Mode
from kproxy.kernel.accounting import packets
from kproxy.kernel.addresses import local_addresses
from kproxy.ruleset.desired import DesiredRuleset
from kproxy.sources.recorder import Happening
from kproxy.values import Family


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`followers` go along with the syncs; the servers answer from `start` to `stop`."""

    configuration: Configuration
    health: Health
    metrics: Metrics
    quarantine: Quarantine
    followers: tuple[Follower, ...]
    flows: FlowCleaner
    node_ports: WebServer
    web: WebServer
    servers: Servers

    def start(self) -> None:
        """EnvironmentLacking where bindAddressHardFail is set and an address cannot be had."""
        self.flows.start()
        self.node_ports.start()
        self.web.start()
        self.servers.open(
            "health",
            self.configuration.healthz_bind_address,
            probe_pages(self.health, self.metrics.probed),
            failure="FailedToStartProxierHealthcheck",
        )
        self.servers.open(
            "metrics",
            self.configuration.metrics_bind_address,
            metrics_pages(self.configuration, self.metrics.page, self.quarantine.page),
            failure="FailedToStartMetricServer",
        )

    def stop(self) -> None:
        self.servers.stop()
        self.web.stop()
        self.node_ports.stop()
        self.flows.stop()

    def watch_programmed(self, desired: Mapping[Family, DesiredRuleset]) -> None:
        """Let metrics count what the agent wants in the kernel."""
        self.metrics.series.registry.register(Programmed(desired))


def surround(
    configuration: Configuration,
    families: Collection[Family],
    node_name: str,
    watches: Watches,
    record: Callable[[Happening], bool],
) -> Surroundings:
    """All of it for an agent that is going to run; nothing listens yet. `record` is how Events are made."""
    nftables = configuration.mode is Mode.NFTABLES
    health = Health(
        families,
        node_name,
        2 * configuration.rule_options.sync_period_s,
        stuck=watches.stuck,
        outdated=watches.outdated,
    )
    metrics = Metrics(families, nftables=nftables)
    metrics.series.registry.register(WatchAges(watches.ages_s))
    if not nftables:
        metrics.series.registry.register(CountedPackets(packets))
    web, node_ports = WebServer(), WebServer()  # whoever crowds the ones holds up no probe of the others
    checks = HealthCheckPorts(
        node_ports,
        lambda: health.condition().healthy,
        lambda service, told: record(Happening("FailedToStartServiceHealthcheck", "Listen", told, service)),
    )
    quarantine = Quarantine(record, metrics.quarantined)
    flows = FlowCleaner(metrics.reconciled, local_addresses)
    return Surroundings(
        configuration=configuration,
        health=health,
        metrics=metrics,
        quarantine=quarantine,
        followers=(health, metrics, quarantine, checks, flows, UnservedPorts(metrics.lacks_local_endpoints)),
        flows=flows,
        node_ports=node_ports,
        web=web,
        servers=Servers(
            web,
            configuration.bind_address_hard_fail,
            lambda reason, told: record(Happening(reason, "StartKubeProxy", told)),
        ),
    )
