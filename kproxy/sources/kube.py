"""The cluster as a source: Services, EndpointSlices and one Node, each kept current by its own loop."""

import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus

from kproxy.client.answer import Answer
from kproxy.client.connection import Connection
from kproxy.errors import ApiFailed, InvalidField, Malformed
from kproxy.sources.freshness import Freshness
from kproxy.sources.listing import Resource, list_resource
from kproxy.sources.listwatch import ListWatch
from kproxy.sources.pace import Pace
from kproxy.sources.told import Told
from kproxy.state.events import Event, Listed
from kproxy.state.metadata import HEADLESS_LABEL, PROXY_NAME_LABEL
from kproxy.state.objects import Kind
from kproxy.state.validate import dns_subdomain

SERVICES = Resource(Kind.SERVICE, "/api/v1/services", (("labelSelector", f"!{PROXY_NAME_LABEL}"),))
"""What is meant for another proxy never reaches the node."""

ENDPOINT_SLICES = Resource(
    Kind.ENDPOINT_SLICE,
    "/apis/discovery.k8s.io/v1/endpointslices",
    (("labelSelector", f"!{HEADLESS_LABEL},!{PROXY_NAME_LABEL}"),),
)
"""Nor do the slices of headless Services."""

SERVICE_CIDRS = Resource(
    Kind.SERVICE_CIDR,
    "/apis/networking.k8s.io/v1/servicecidrs",
    without_it=(
        "packets to cluster IPs that no Service has are not dropped; Kubernetes 1.33 and newer has them, "
        "and lets the ClusterRole system:node-proxier list them"
    ),
)
"""For nftables mode. Before Kubernetes 1.33 there may be none: 404, or 403 where our role knows nothing of them either."""

_STOP_WITHIN_S = 1.0
"""An agent that is asked to end is gone within three seconds, whatever the server does."""

_MOST_NAMES = 500
"""So many Nodes are asked for, as in a page of any list: some MB, and only if ours does not exist."""

_MOST_NAME_BYTES = 64 << 20
"""A Node has some 20 kB, one with 250 images of long names six times that."""


def node(name: str) -> Resource:
    """The one Node of this name."""
    return Resource(Kind.NODE, "/api/v1/nodes", (("fieldSelector", f"metadata.name={name}"),))


def node_names(connection: Connection) -> tuple[str, ...]:
    """The names of a cluster's Nodes, of a large one only some: a hint for somebody who has chosen another.

    ApiFailed if the list cannot be had.
    """
    query = {"limit": str(_MOST_NAMES)}
    with connection.get("/api/v1/nodes", query, read_timeout_s=Pace().list_timeout_s) as answer:
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
    """Each kind's complete list, for a look at a cluster without following it; ApiFailed if one fails."""
    for resource in _resources(node_name, service_cidrs=service_cidrs):

        def get(asked: Mapping[str, str], resource: Resource = resource) -> Answer:
            return connection.get(resource.path, resource.query(asked), read_timeout_s=Pace().list_timeout_s)

        try:
            yield list_resource(get, resource, Pace().page_size)[0]
        except ApiFailed as failed:
            if resource is not SERVICE_CIDRS or failed.status != HTTPStatus.NOT_FOUND:
                raise


def _resources(node_name: str, *, service_cidrs: bool) -> tuple[Resource, ...]:
    needed = SERVICES, ENDPOINT_SLICES, node(node_name)
    return (*needed, SERVICE_CIDRS) if service_cidrs else needed


class KubeSource:
    """Tells `emit` what a cluster's proxy needs to know, from `start` to `stop`.

    `emit` is called from several threads, one a kind, and must be quick. Each kind begins with a
    `Listed`; each connection, one a kind at the start and more after failures, comes from `connect`.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        emit: Callable[[Event], None],
        *,
        node_name: str,
        service_cidrs: bool = False,
        pace: Pace | None = None,
    ) -> None:
        self._connect = connect
        pace = pace or Pace()
        told = Told(pace.clock)
        self._loops = tuple(
            ListWatch(resource, connect, emit, pace, told)
            for resource in _resources(node_name, service_cidrs=service_cidrs)
        )

    def start(self) -> None:
        """Begin in the background. A configuration that cannot be used raises what `connect` raises."""
        connections = [self._connect() for _ in self._loops]
        for loop, connection in zip(self._loops, connections, strict=True):
            loop.start(connection)

    def stop(self) -> None:
        """End all loops, within a second even if the server is silent; nothing is emitted afterwards."""
        for loop in self._loops:
            loop.stop()
        deadline = time.monotonic() + _STOP_WITHIN_S
        for loop in self._loops:
            loop.join(max(0.0, deadline - time.monotonic()))

    def outdated(self) -> tuple[str, ...]:
        """Nothing beyond what `freshness` tells."""
        return ()

    @property
    def freshness(self) -> tuple[Freshness, ...]:
        """How current each kind is that no cluster lacks; may be read from any thread."""
        known = (loop.freshness for loop in self._loops)
        return tuple(each for each in known if each.kind is not SERVICE_CIDRS.kind)
