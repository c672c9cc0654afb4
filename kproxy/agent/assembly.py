"""The parts of an agent, made and connected; nothing of it is started here."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from kproxy.agent.background import Background, make_background, make_metrics
from kproxy.agent.families import usable_families
from kproxy.agent.loop import Agent
from kproxy.agent.metrics.scraped_metrics import DesiredRuleCounts
from kproxy.agent.observers.observer import Observer, tell_all
from kproxy.agent.observers.sync_metrics import Metrics
from kproxy.agent.options import Options
from kproxy.agent.preparation import PreparedNode
from kproxy.agent.proxies import iptables_proxies, nftables_proxies, open_record, without_other_modes
from kproxy.agent.proxy import Proxy
from kproxy.agent.schedule import Schedule
from kproxy.agent.source import Source, make_connector, make_source
from kproxy.agent.watches import Watches
from kproxy.client.connection import Connection
from kproxy.kernel.node import addresses
from kproxy.kernel.programs.iptables import Variant
from kproxy.observed.record import Record
from kproxy.render.templates import rule_templates
from kproxy.sources.kube import node_names
from kproxy.sources.recorder import EventRecorder
from kproxy.state.events import Event
from kproxy.state.objects import Kind
from kproxy.values import Family

_CLUSTER_KINDS = (Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.NODE)


class Assembly(NamedTuple):
    """Events go from the `source` to the `loop`, whose syncs the `background` observes. `recorder` posts Events.

    `record` holds what was applied in the tables of iptables-nft; None if other tables are used.
    """

    source: Source
    loop: Agent
    background: Background
    recorder: EventRecorder
    record: Record | None


def assemble(options: Options, node: PreparedNode) -> Assembly:
    """Make all parts; EnvironmentLacking where the node can use no address family."""
    families = usable_families(node.variant)
    metrics = make_metrics(options.configuration, families)
    new_connection = make_connector(options, metrics)

    def emit(event: Event) -> None:  # the source calls it once it is started, and all parts are there by then
        tell_all((background.health,), lambda health: health.received(event))
        loop.emit(event)

    source = make_source(options, emit, new_connection)
    recorder = EventRecorder(new_connection, options.node_name)
    watches = Watches(lambda: source.freshness, source.outdated)
    other_nodes = None if options.manifests else _names_of_nodes(new_connection)
    background = make_background(options, families, metrics, watches, recorder.record, other_nodes)
    record = open_record(options.state_directory) if node.variant is Variant.NFT else None
    proxies = _proxies(options, node, families, metrics, record)
    loop = _loop(options, node, proxies, background.observers)
    return Assembly(source, loop, background, recorder, record)


def _names_of_nodes(new_connection: Callable[[], Connection]) -> Callable[[], Collection[str]]:
    def ask() -> tuple[str, ...]:
        connection = new_connection()
        try:
            return node_names(connection)
        finally:
            connection.close()

    return ask


def _proxies(
    options: Options, node: PreparedNode, families: Sequence[Family], metrics: Metrics, record: Record | None
) -> Sequence[Proxy]:
    render = rule_templates(options.templates, options.configuration.mode)
    if node.variant is None:
        return without_other_modes(nftables_proxies(families, render), None)
    proxies = iptables_proxies(node.variant, families, render, record)
    metrics.series.registry.register(DesiredRuleCounts({proxy.family: proxy.desired for proxy in proxies}))
    return without_other_modes(proxies, node.variant)


def _loop(
    options: Options, node: PreparedNode, proxies: Sequence[Proxy], observers: Sequence[Observer]
) -> Agent:
    timing = options.configuration.rule_options
    return Agent(
        proxies,
        Schedule(timing.min_sync_period_s, timing.sync_period_s),
        node.settings,
        node_name=options.node_name,
        kinds=tuple(Kind) if options.manifests else _CLUSTER_KINDS,
        layout=options.layout,
        read_addresses=addresses.local_addresses,
        observers=observers,
    )
