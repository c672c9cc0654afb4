"""From options to a running agent: which source, which variant, which families."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from kproxy import process
from kproxy.agent.assembly import Assembly, assemble, start_optional
from kproxy.agent.configuration_watch import ConfigurationFile, ConfigurationWatch
from kproxy.agent.iptables_proxy import IptablesProxy
from kproxy.agent.loop import Agent
from kproxy.agent.mode_change import Successor
from kproxy.agent.nftables_proxy import NftablesProxy
from kproxy.agent.observers.observer import tell_all
from kproxy.agent.observers.silent_services import SilentServices
from kproxy.agent.proxy import Proxy
from kproxy.agent.schedule import Schedule
from kproxy.agent.shutdown import end_on_signals
from kproxy.agent.system import open_localhost, set_oom_score, set_up_conntrack
from kproxy.agent.watches import Watches
from kproxy.cleanup.clean_up import end_iptables_mode, end_other_variant_and_nftables_mode
from kproxy.client.accept import accepted
from kproxy.client.connection import Connection, Noted, connect
from kproxy.client.credentials.exec_facts import watch_plugins
from kproxy.client.rate import rate_limiter
from kproxy.configuration import Configuration, Mode
from kproxy.configuration.rules import rule_settings
from kproxy.configuration.units import WATCH_LIST_GATE
from kproxy.errors import EnvironmentLacking, InputError, KproxyError
from kproxy.kernel.netlink.accounting import ensure_counters
from kproxy.kernel.node import addresses, descriptors, sysctl
from kproxy.kernel.node.privilege import require_net_admin
from kproxy.kernel.programs.iptables import Iptables, Variant
from kproxy.kernel.programs.nft import NftTable
from kproxy.kernel.programs.nft_probe import require_expressions
from kproxy.kernel.programs.nft_version import require_versions
from kproxy.kernel.programs.variant import find_variant
from kproxy.model.settings import Settings
from kproxy.observed.iptables_kernel import KernelChains
from kproxy.observed.iptables_legacy import LegacyChains
from kproxy.observed.iptables_nft import NftChains
from kproxy.observed.nftables import Commits
from kproxy.observed.record import Record
from kproxy.render.templates import rule_templates
from kproxy.ruleset.inputs import Render
from kproxy.ruleset.layout import AUTO, Layout
from kproxy.sources.freshness import Freshness
from kproxy.sources.kube import KubeSource, node_names
from kproxy.sources.manifest_directory import ManifestDirectory
from kproxy.sources.pace import Pace
from kproxy.sources.recorder import EventRecorder, Happening
from kproxy.sources.streamed import lists_are_streamed
from kproxy.state.events import Event
from kproxy.state.objects import Kind
from kproxy.threads import when_hopeless
from kproxy.values import Family

_log = logging.getLogger(__name__)

_CLUSTER_KINDS = (Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.NODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the agent is asked to do. `manifests` is the source if set, else a cluster is.

    Without `kubeconfig` and `master` the cluster is the one this pod runs in. `variant` None means the one
    that this host uses. `configuration_file` is where the configuration is from, if from a file. `other_flags` are
    those that stand for no field of the configuration, fit for a page: without secrets.
    """

    configuration: Configuration
    node_name: str
    configuration_file: ConfigurationFile | None = None
    manifests: Path | None = None
    kubeconfig: Path | None = None
    master: str = ""
    variant: Variant | None = None
    layout: Layout = AUTO
    templates: Path | None = None
    state_directory: Path = Path("/run/kproxy")
    init_only: bool = False
    other_flags: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Where events come from; `start` returns at once."""

    @property
    def freshness(self) -> Sequence[Freshness]: ...
    def outdated(self) -> tuple[str, ...]: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


def run(options: Options) -> None:
    """Keep this node's rules at the newest state until SIGTERM or SIGINT; the rules stay.

    EnvironmentLacking where the node lacks a program or the process a privilege, InputError for a
    source that cannot be used, KproxyError where the configuration file changed.
    """
    require_net_admin()
    descriptors.raise_limit()
    mode = options.configuration.mode
    if mode is Mode.NFTABLES:
        require_versions()
    variant = None if mode is Mode.NFTABLES else options.variant or find_variant()
    settings = _set_up(options.configuration)
    if options.init_only:
        _log.info("the kernel is set up; --init-only asks for no more")
        return
    parts = _assemble(options, settings, variant)
    end = end_on_signals(parts.agent.stop)
    _log.info(
        "node %s: %s, from %s",
        options.node_name,
        f"{mode} rules by iptables-{variant}" if variant else f"{mode} rules",
        options.manifests or "the cluster",
    )
    with ExitStack() as running:
        if parts.record:
            running.callback(parts.record.close)
        if options.manifests is None:
            running.callback(parts.recorder.stop)
            start_optional("the posting of Events", parts.recorder.start)
        running.callback(watch_plugins(parts.around.metrics.client.plugin_noted))
        running.callback(parts.around.stop)
        parts.around.start()
        if not _begins(parts.source):
            return
        running.callback(parts.source.stop)
        # the recorder ends while the source is waited for, and is waited for last
        running.callback(parts.recorder.end)
        parts.recorder.record(Happening("Starting", "StartKubeProxy", warning=False))
        _run_while_sound(parts.agent.run, options.configuration_file, end)
    _log.info("stopped; the rules stay in place")


def _begins(source: Source) -> bool:
    """False where this process was asked to end while the source waited for a file. Raises what `source.start` raises."""
    try:
        source.start()
    except InputError:
        if process.is_ending():
            return False
        raise
    return True


class _Parts(NamedTuple):
    source: Source
    agent: Agent
    around: Assembly
    recorder: EventRecorder
    record: Record | None


def _assemble(options: Options, settings: Settings, variant: Variant | None) -> _Parts:
    """All that runs, connected; nothing of it is started. Without a variant, in nftables mode."""
    families = _families(variant)
    asking = options.configuration.client_connection
    accept = accepted(asking.content_type, asking.accept_content_types)
    limiter = rate_limiter(asking.qps, asking.burst)

    def note(noted: Noted) -> None:
        tell_all((around.metrics,), lambda metrics: metrics.client.noted(noted))

    def connect_noted() -> Connection:
        tell_all((around.metrics,), lambda metrics: metrics.client.transport_created())
        return connect(options.kubeconfig, options.master, note, accept, limiter=limiter)

    def emit(event: Event) -> None:
        tell_all((around.health,), lambda health: health.heard(event))
        agent.emit(event)

    source = _source(options, emit, connect_noted)
    recorder = EventRecorder(connect_noted, options.node_name)
    watches = Watches(lambda: source.freshness, source.outdated)

    def other_nodes() -> tuple[str, ...]:
        connection = connect_noted()
        try:
            return node_names(connection)
        finally:
            connection.close()

    around = assemble(
        options.configuration,
        families,
        options.node_name,
        watches,
        recorder.record,
        None if options.manifests else other_nodes,
        options.other_flags,
    )
    record = _record(options.state_directory) if variant is Variant.NFT else None
    agent = _agent(options, settings, variant, families, around, record)
    return _Parts(source, agent, around, recorder, record)


def _set_up(configuration: Configuration) -> Settings:
    """What needs privileges beyond rules; and what of this kernel decides about rules."""
    set_oom_score(configuration.oom_score_adj)
    set_up_conntrack(configuration.conntrack)
    settings = rule_settings(
        configuration,
        accounting=configuration.mode is Mode.IPTABLES and ensure_counters(),
        conntrack_tcp_be_liberal=sysctl.read(sysctl.CONNTRACK_TCP_BE_LIBERAL) == "1",
    )
    open_localhost(settings)
    return settings


def _run_while_sound(
    run_agent: Callable[[], None], file: ConfigurationFile | None, end: Callable[[], None]
) -> None:
    """KproxyError if the agent ended because a thread that the rules need does not stay alive, or the file changed."""
    reasons: list[str] = []

    def end_because(reason: str) -> None:
        reasons.append(reason)
        end()

    forget = when_hopeless(end_because)
    try:
        _run_until_reconfigured(run_agent, file, end)
    finally:
        forget()
    if reasons:
        raise KproxyError(reasons[0])


def _run_until_reconfigured(
    run_agent: Callable[[], None], file: ConfigurationFile | None, end: Callable[[], None]
) -> None:
    """KproxyError if the agent ended because the file changed."""
    if file is None:
        run_agent()
        return
    watch = ConfigurationWatch(file, end)
    watch.start()
    try:
        run_agent()
    finally:
        watch.stop()
    if watch.has_changed:
        raise KproxyError(
            f"{file.path} has changed; the agent ends to be started again with it, and the rules stay"
        )


def _agent(
    options: Options,
    settings: Settings,
    variant: Variant | None,
    families: Sequence[Family],
    around: Assembly,
    record: Record | None,
) -> Agent:
    timing = options.configuration.rule_options
    return Agent(
        _proxies(
            rule_templates(options.templates, options.configuration.mode), variant, families, around, record
        ),
        Schedule(timing.min_sync_period_s, timing.sync_period_s),
        settings,
        node_name=options.node_name,
        kinds=tuple(Kind) if options.manifests else _CLUSTER_KINDS,
        layout=options.layout,
        read_addresses=addresses.local_addresses,
        observers=(*around.observers, *_silent_services(options)),
    )


def _proxies(
    render: Render,
    variant: Variant | None,
    families: Sequence[Family],
    around: Assembly,
    record: Record | None,
) -> Sequence[Proxy]:
    if variant is None:
        ours = Commits()
        by_nft = [NftablesProxy(NftTable(family), render, ours) for family in families]
        return [Successor(proxy, end_iptables_mode) for proxy in by_nft]
    by_iptables = [
        IptablesProxy(Iptables(variant, family), _rules(family, record), render) for family in families
    ]
    around.watch_programmed({proxy.family: proxy.desired for proxy in by_iptables})
    end_others = partial(end_other_variant_and_nftables_mode, variant)
    return [Successor(proxy, end_others) for proxy in by_iptables]


def _silent_services(options: Options) -> list[SilentServices]:
    """In a cluster, Services without rules or endpoints are usual: only verbose logs tell of them."""
    if options.manifests:
        return [SilentServices(logging.INFO)]
    configured = options.configuration.logging
    return [SilentServices(logging.DEBUG)] if configured.verbosity or configured.vmodule else []


def _rules(family: Family, record: Record | None) -> KernelChains:
    """The reader of a family's rules in the kernel; that of iptables-legacy has no record."""
    return NftChains(family, record) if record else LegacyChains(family)


def _record(directory: Path) -> Record:
    """The record in this directory, or in memory if the directory cannot hold it."""
    try:
        return Record(directory / "iptables-nft.sqlite")
    except EnvironmentLacking as lacking:
        _log.warning("%s; an agent that starts again reads all rules from the kernel", lacking)
        return Record(None)


def _source(
    options: Options, emit: Callable[[Event], None], connect_noted: Callable[[], Connection]
) -> Source:
    if options.manifests:
        return ManifestDirectory(options.manifests, emit)
    return KubeSource(
        connect_noted,
        emit,
        node_name=options.node_name,
        service_cidrs=options.configuration.mode is Mode.NFTABLES,
        pace=Pace(
            streams=lists_are_streamed(os.environ, options.configuration.feature_gates.get(WATCH_LIST_GATE))
        ),
    )


def _families(variant: Variant | None) -> list[Family]:
    """Those that this kernel has and this host has programs for; EnvironmentLacking if there is none."""
    refusals = {family: _refusal(variant, family) for family in Family}
    for family, refusal in refusals.items():
        if refusal:
            _log.warning("%s: no rules are programmed: %s", family, refusal)
    usable = [family for family, refusal in refusals.items() if not refusal]
    if not usable:
        raise EnvironmentLacking(f"no address family can be programmed: {refusals[Family.IPV4]}")
    return usable


def _refusal(variant: Variant | None, family: Family) -> str:
    if family is Family.IPV6 and not Path("/proc/net/if_inet6").exists():
        return "this kernel was started without IPv6"
    if variant:
        return Iptables(variant, family).refusal()
    try:
        require_expressions(NftTable(family))
    except EnvironmentLacking as lacking:
        return str(lacking)
    return ""
