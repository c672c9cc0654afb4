"""From options to a running agent: which source, which backend, which families."""

import logging
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from kproxy.agent.family import FamilyProxy, Rules
from kproxy.agent.loop import Agent
from kproxy.agent.schedule import Schedule
from kproxy.agent.surroundings import Surroundings, surround
from kproxy.agent.watches import Watches
from kproxy.configuration import Configuration
from kproxy.configuration.rules import rule_settings
from kproxy.errors import EnvironmentLacking
from kproxy.kernel import addresses, process, sysctl
from kproxy.kernel.accounting import ensure_counters
from kproxy.kernel.iptables import Backend, Iptables, find_backend
from kproxy.kernel.privilege import require_net_admin
from kproxy.kernel.recorded import Record, RecordedRules
from kproxy.kernel.saved import SavedRules
from kproxy.model.node import node_port_dispatch
from kproxy.model.settings import Settings
from kproxy.render.templates import rule_templates
from kproxy.ruleset.tree import AUTO, Layout
from kproxy.sources.connection import Asked
from kproxy.sources.listwatch import Freshness
from kproxy.sources.manifests import ManifestDirectory
from kproxy.state.events import Event
from kproxy.state.objects import Kind
from kproxy.values import Family, NamespacedName

_log = logging.getLogger(__name__)

_PATIENCE_S = 3.0
"""How long a program may still work when the agent is asked to stop."""

_CLUSTER_KINDS = (Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.NODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the agent is asked to do. `manifests` is the source if set, else a cluster is.

    Without `kubeconfig` and `master` the cluster is the one this pod runs in. `backend` None means the one
    that this host uses.
    """

    configuration: Configuration
    node_name: str
    manifests: Path | None = None
    kubeconfig: Path | None = None
    master: str = ""
    backend: Backend | None = None
    layout: Layout = AUTO
    templates: Path | None = None
    state_directory: Path = Path("/run/kproxy")


class Source(Protocol):
    """Where events come from; `start` returns at once."""

    @property
    def freshness(self) -> Sequence[Freshness]: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


def run(options: Options) -> None:
    """Keep this node's rules at the newest state until SIGTERM or SIGINT; the rules stay.

    EnvironmentLacking where the node lacks a program or the process a privilege, InputError for a
    source that cannot be used.
    """
    require_net_admin()
    backend = options.backend or find_backend()
    if options.configuration.conntrack.tcp_be_liberal:
        _set(
            sysctl.CONNTRACK_TCP_BE_LIBERAL,
            "packets that conntrack calls invalid are not rewritten, and may reset connections",
        )
    liberal = sysctl.read(sysctl.CONNTRACK_TCP_BE_LIBERAL) == "1"
    settings = rule_settings(
        options.configuration, accounting=ensure_counters(), conntrack_tcp_be_liberal=liberal
    )
    _open_localhost(settings)
    families = _families()

    watches = Watches(lambda: source.freshness)
    around = surround(options.configuration, families, options.node_name, watches, _complain)
    agent = _agent(options, settings, backend, families, around)

    def emit(event: Event) -> None:
        around.health.heard(event)
        agent.emit(event)

    source = _source(options, emit, around.metrics.requested)
    _stop_on_signals(agent.stop)
    _log.info(
        "node %s: %s rules by iptables-%s, from %s",
        options.node_name,
        options.configuration.mode,
        backend,
        options.manifests or "the cluster",
    )
    try:
        around.start()
        source.start()
        agent.run()
    finally:
        source.stop()
        around.stop()
    _log.info("stopped; the rules stay in place")


def _agent(
    options: Options,
    settings: Settings,
    backend: Backend,
    families: Sequence[Family],
    around: Surroundings,
) -> Agent:
    render = rule_templates(options.templates)
    timing = options.configuration.iptables
    rules_of = _rules(options.state_directory, backend)
    proxies = [FamilyProxy(Iptables(backend, family), rules_of(family), render) for family in families]
    around.watch_programmed({proxy.family: proxy.desired for proxy in proxies})
    return Agent(
        proxies,
        Schedule(timing.min_sync_period_s, timing.sync_period_s),
        settings,
        node_name=options.node_name,
        kinds=tuple(Kind) if options.manifests else _CLUSTER_KINDS,
        layout=options.layout,
        read_addresses=addresses.local_addresses,
        followers=around.followers,
    )


def _rules(directory: Path, backend: Backend) -> Callable[[Family], Rules]:
    """How the rules of each family that are in the kernel are told."""
    if backend is Backend.LEGACY:
        return SavedRules
    try:
        record = Record(directory / "iptables-nft.sqlite")
    except EnvironmentLacking as lacking:
        _log.warning("%s; an agent that starts again writes all rules anew", lacking)
        record = Record(None)
    return lambda family: RecordedRules(family, record)


def _source(options: Options, emit: Callable[[Event], None], note: Callable[[Asked], None]) -> Source:
    if options.manifests:
        return ManifestDirectory(options.manifests, emit)
    from kproxy.sources.connection import connect
    from kproxy.sources.kube import KubeSource

    return KubeSource(
        lambda: connect(options.kubeconfig, options.master, note), emit, node_name=options.node_name
    )


def _families() -> list[Family]:
    """Both, unless this kernel was started without IPv6."""
    if Path("/proc/net/if_inet6").exists():
        return list(Family)
    _log.info("this kernel has no IPv6; only IPv4 rules are programmed")
    return [Family.IPV4]


def _open_localhost(settings: Settings) -> None:
    if node_port_dispatch(settings, None, (), Family.IPV4).on_localhost:
        _set(sysctl.ROUTE_LOCALNET, "node ports do not answer on 127.0.0.1, all else works")


def _set(name: str, consequence: str) -> None:
    try:
        sysctl.ensure(name, "1", consequence=consequence)
    except EnvironmentLacking as lacking:
        _log.warning("%s", lacking)


def _complain(reason: str, told: str, service: NamespacedName | None) -> None:
    _log.error("%s: %s%s", reason, f"Service {service}: " if service else "", told)


def _stop_on_signals(stop: Callable[[], None]) -> None:
    def handle(number: int, _frame: FrameType | None) -> None:
        _log.info("%s received", signal.Signals(number).name)
        stop()
        impatient = threading.Timer(_PATIENCE_S, process.end_all)
        impatient.daemon = True
        impatient.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
