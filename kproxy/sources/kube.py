"""The cluster as a source: a loop for each kind keeps Services, EndpointSlices and one Node current."""

import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus

from kproxy.client.answer import Answer
from kproxy.client.connection import Connection
from kproxy.errors import ApiFailed, InvalidField, Malformed
from kproxy.sources.failure_log import FailureLog
from kproxy.sources.freshness import Freshness
from kproxy.sources.listing import Resource, list_resource
from kproxy.sources.listwatch import ListWatch
from kproxy.sources.timing import Timing
from kproxy.state.events import Event, Listed
from kproxy.state.metadata import HEADLESS_LABEL, PROXY_NAME_LABEL
from kproxy.state.objects import Kind
from kproxy.state.validate import dns_subdomain

SERVICES = Resource(Kind.SERVICE, "/api/v1/services", (("labelSelector", f"!{PROXY_NAME_LABEL}"),))
"""Services for another proxy are not asked for."""

ENDPOINT_SLICES = Resource(
    Kind.ENDPOINT_SLICE,
    "/apis/discovery.k8s.io/v1/endpointslices",
    (("labelSelector", f"!{HEADLESS_LABEL},!{PROXY_NAME_LABEL}"),),
)
"""Slices of headless Services, and slices for another proxy, are not asked for."""

SERVICE_CIDRS = Resource(
    Kind.SERVICE_CIDR,
    "/apis/networking.k8s.io/v1/servicecidrs",
    without_it=(
        "packets to cluster IPs that no Service has are not dropped; Kubernetes 1.33 and newer has them, "
        "and lets the ClusterRole system:node-proxier list them"
    ),
)
"""For nftables mode.

Before Kubernetes 1.33 a server answers 404, or 403 if our role does not know the resource either.
"""

_STOP_WITHIN_S = 1.0
"""Seconds. An agent ends within three seconds after the request to end, whatever the server does."""

_MOST_NAMES = 500
"""Nodes, as on one page of any list: some MB, and only if our Node does not exist."""

_MOST_NAME_BYTES = 64 << 20
"""A Node has about 20 kB. A Node with 250 images of long names has six times as much."""


def node(name: str) -> Resource:
    """The resource for the Node of this name."""
    return Resource(Kind.NODE, "/api/v1/nodes", (("fieldSelector", f"metadata.name={name}"),))


def node_names(connection: Connection) -> tuple[str, ...]:
    """The names of a cluster's Nodes, for a person who chose a wrong name. Of a large cluster, only some of them.

    ApiFailed if the list cannot be fetched.
    """
    query = {"limit": str(_MOST_NAMES)}
    with connection.get("/api/v1/nodes", query, read_timeout_s=Timing().list_timeout_s) as answer:
        body, encoding = answer.body(_MOST_NAME_BYTES), answer.encoding
    try:
        names = [encoding.meta(item).name for item in encoding.page(body).items]
    except Malformed as error:
        raise ApiFailed(f"the list of nodes cannot be understood: {error}") from error
    return tuple(filter(_is_name, names))


def _is_name(text: str) -> bool:
    try:
        dns_subdomain(text)
    except InvalidField:
        return False
    return True


def list_once(connection: Connection, node_name: str, *, service_cidrs: bool = False) -> Iterator[Listed]:
    """The complete list of each kind, without watching. ApiFailed if a list fails."""
    for resource in _resources(node_name, service_cidrs=service_cidrs):

        def get(asked: Mapping[str, str], resource: Resource = resource) -> Answer:
            return connection.get(
                resource.path, resource.query(asked), read_timeout_s=Timing().list_timeout_s
            )

        try:
            yield list_resource(get, resource, Timing().page_size)[0]
        except ApiFailed as failed:
            if resource is not SERVICE_CIDRS or failed.status != HTTPStatus.NOT_FOUND:
                raise


def _resources(node_name: str, *, service_cidrs: bool) -> tuple[Resource, ...]:
    needed = SERVICES, ENDPOINT_SLICES, node(node_name)
    return (*needed, SERVICE_CIDRS) if service_cidrs else needed


class KubeSource:
    """Calls `emit` with the events that a proxy needs, from `start` to `stop`.

    `emit` is called from several threads, one for each kind, and must be quick. The first event of each kind is a
    `Listed`. Each connection comes from `connect`: one for each kind at the start, and more after failures.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        emit: Callable[[Event], None],
        *,
        node_name: str,
        service_cidrs: bool = False,
        timing: Timing | None = None,
    ) -> None:
        self._connect = connect
        timing = timing or Timing()
        failure_log = FailureLog(timing.clock)
        self._loops = tuple(
            ListWatch(resource, connect, emit, timing, failure_log)
            for resource in _resources(node_name, service_cidrs=service_cidrs)
        )

    def start(self) -> None:
        """Start the loops in the background. Raises the errors of `connect` for a configuration that cannot be used."""
        connections = [self._connect() for _ in self._loops]
        for loop, connection in zip(self._loops, connections, strict=True):
            loop.start(connection)

    def stop(self) -> None:
        """End all loops, within a second even if the server is silent. Nothing is emitted afterwards."""
        for loop in self._loops:
            loop.stop()
        deadline = time.monotonic() + _STOP_WITHIN_S
        for loop in self._loops:
            loop.join(max(0.0, deadline - time.monotonic()))

    def outdated(self) -> tuple[str, ...]:
        """Always empty: `freshness` has everything."""
        return ()

    @property
    def freshness(self) -> tuple[Freshness, ...]:
        """How current each kind is that every cluster has. Any thread may read it."""
        known = (loop.freshness for loop in self._loops)
        return tuple(each for each in known if each.kind is not SERVICE_CIDRS.kind)
