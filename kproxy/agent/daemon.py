"""The agent from its options to its end: prepare the node, assemble the parts, run them until a signal comes."""

import logging
from collections.abc import Callable
from contextlib import ExitStack

from kproxy.agent.assembly import Assembly, assemble
from kproxy.agent.background import start_optional
from kproxy.agent.configuration_watch import ConfigurationFile, ConfigurationWatch
from kproxy.agent.options import Options
from kproxy.agent.preparation import PreparedNode, prepare
from kproxy.agent.shutdown import end_on_signals
from kproxy.agent.source import started
from kproxy.client.credentials.exec_facts import watch_plugins
from kproxy.errors import KproxyError
from kproxy.sources.recorder import ClusterEvent
from kproxy.threads import when_hopeless

_log = logging.getLogger(__name__)


def run(options: Options) -> None:
    """Keep this node's rules at the newest state until SIGTERM or SIGINT; the rules stay.

    EnvironmentLacking if the node lacks a program or the process lacks a privilege, InputError for a source that cannot
    be used, KproxyError if the configuration file changed.
    """
    node = prepare(options)
    if options.init_only:
        _log.info("the kernel is set up; --init-only asks for no more")
        return
    parts = assemble(options, node)
    end = end_on_signals(parts.loop.stop)
    _log.info("node %s: %s", options.node_name, _task(options, node))
    with ExitStack() as running:
        if not _start(parts, running, posts_events=options.manifests is None):
            return
        _run_while_sound(parts.loop.run, options.configuration_file, end)
    _log.info("stopped; the rules stay in place")


def _task(options: Options, node: PreparedNode) -> str:
    mode = options.configuration.mode
    rules = f"{mode} rules by iptables-{node.variant}" if node.variant else f"{mode} rules"
    return f"{rules}, from {options.manifests or 'the cluster'}"


def _start(parts: Assembly, running: ExitStack, *, posts_events: bool) -> bool:
    """Start all parts but the loop, and let `running` stop them; False if the agent was asked to end meanwhile."""
    if parts.record:
        running.callback(parts.record.close)
    if posts_events:
        running.callback(parts.recorder.stop)
        start_optional("the posting of Events", parts.recorder.start)
    running.callback(watch_plugins(parts.background.metrics.client.plugin_noted))
    running.callback(parts.background.stop)
    parts.background.start()
    if not started(parts.source):
        return False
    running.callback(parts.source.stop)
    # the recorder ends while we wait for the source; we wait for the recorder last
    running.callback(parts.recorder.end)
    parts.recorder.record(ClusterEvent("Starting", "StartKubeProxy", warning=False))
    return True


def _run_while_sound(
    run_loop: Callable[[], None], file: ConfigurationFile | None, end: Callable[[], None]
) -> None:
    """KproxyError if the loop ended because a thread that the rules need does not stay alive, or the file changed."""
    reasons: list[str] = []

    def end_because(reason: str) -> None:
        reasons.append(reason)
        end()

    forget = when_hopeless(end_because)
    try:
        _run_until_reconfigured(run_loop, file, end)
    finally:
        forget()
    if reasons:
        raise KproxyError(reasons[0])


def _run_until_reconfigured(
    run_loop: Callable[[], None], file: ConfigurationFile | None, end: Callable[[], None]
) -> None:
    """KproxyError if the loop ended because the file changed."""
    if file is None:
        run_loop()
        return
    watch = ConfigurationWatch(file, end)
    watch.start()
    try:
        run_loop()
    finally:
        watch.stop()
    if watch.has_changed:
        raise KproxyError(
            f"{file.path} has changed; the agent ends to be started again with it, and the rules stay"
        )
