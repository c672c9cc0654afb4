"""The source of an agent's events: a cluster, or a directory of manifests."""

import os
from collections.abc import Callable, Sequence
from typing import Protocol

from kproxy import process
from kproxy.agent.observers.observer import tell_all
from kproxy.agent.observers.sync_metrics import Metrics
from kproxy.agent.options import Options
from kproxy.client.accept import accepted
from kproxy.client.connection import Connection, Noted, connect
from kproxy.client.rate import rate_limiter
from kproxy.configuration import Mode
from kproxy.configuration.units import WATCH_LIST_GATE
from kproxy.errors import InputError
from kproxy.sources.freshness import Freshness
from kproxy.sources.kube import KubeSource
from kproxy.sources.manifest_directory import ManifestDirectory
from kproxy.sources.streamed import lists_are_streamed
from kproxy.sources.timing import Timing
from kproxy.state.events import Event


class Source(Protocol):
    """The place where events come from; `start` returns at once."""

    @property
    def freshness(self) -> Sequence[Freshness]: ...
    def outdated(self) -> tuple[str, ...]: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


def make_source(
    options: Options, emit: Callable[[Event], None], new_connection: Callable[[], Connection]
) -> Source:
    """The source that the options name, not started; it hands each event to `emit`."""
    if options.manifests:
        return ManifestDirectory(options.manifests, emit)
    gate = options.configuration.feature_gates.get(WATCH_LIST_GATE)
    return KubeSource(
        new_connection,
        emit,
        node_name=options.node_name,
        service_cidrs=options.configuration.mode is Mode.NFTABLES,
        timing=Timing(streams=lists_are_streamed(os.environ, gate)),
    )


def make_connector(options: Options, metrics: Metrics) -> Callable[[], Connection]:
    """A function that connects to the cluster. All its connections share one rate limit, and are counted."""
    asking = options.configuration.client_connection
    accept = accepted(asking.content_type, asking.accept_content_types)
    limiter = rate_limiter(asking.qps, asking.burst)

    def note(noted: Noted) -> None:
        tell_all((metrics,), lambda told: told.client.noted(noted))

    def connect_counted() -> Connection:
        tell_all((metrics,), lambda told: told.client.transport_created())
        return connect(options.kubeconfig, options.master, note, accept, limiter=limiter)

    return connect_counted


def started(source: Source) -> bool:
    """Start the source; False if this process was asked to end while the source waited for a file.

    Raises as `start` does.
    """
    try:
        source.start()
    except InputError:
        if process.is_ending():
            return False
        raise
    return True
