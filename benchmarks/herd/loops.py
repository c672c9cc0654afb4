"""kproxy's own list/watch loops, as they run in an agent, with a model of an API server at the other end."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Self

from benchmarks.herd.fleet import SERVED, WATCH_WORK, Fleet, Served
from benchmarks.herd.server import BOOKMARK_S, ApiServer, Condition
from kproxy.client.failures import Peer
from kproxy.errors import ApiFailed
from kproxy.sources.kube import ENDPOINT_SLICES, SERVICE_CIDRS, SERVICES, node
from kproxy.sources.listwatch import ListWatch
from kproxy.sources.timing import Timing
from kproxy.state.encodings.as_json import JSON

_BY_NAME = {each.name: each for each in SERVED}
_END_OF_LIST = {"annotations": {"k8s.io/initial-events-end": "true"}}
_RESOURCES = SERVICES, ENDPOINT_SLICES, node("a"), SERVICE_CIDRS


def start_agent(fleet: Fleet, number: int, at_s: float, timing: Timing) -> None:
    """Run the loops of one agent from this time on, each with its own connection, as `KubeSource` starts them.

    `timing.wait` has to spend time of this world.
    """
    world = fleet.world
    timed = replace(timing, clock=world.clock)
    for resource in _RESOURCES:

        def connect() -> Any:
            return _Connection(fleet, number)

        loop = ListWatch(resource, connect, lambda _: None, timed)
        world.spawn(loop.run, at_s=at_s)


class _Connection:
    """The part of a `Connection` that `ListWatch` uses."""

    peer = Peer("https://api.example:6443", "a simulation")

    def __init__(self, fleet: Fleet, agent: int) -> None:
        self._fleet = fleet
        self._agent = agent
        self._server: ApiServer | None = None
        self._born = 0

    def get(self, path: str, query: Mapping[str, str], *, read_timeout_s: float) -> "_Watch | _Page":
        if self._server is None or self._server.born != self._born:
            self._server, takes_s = self._fleet.connected()
            self._born = self._server.born
            self._fleet.world.sleep(takes_s)
        served = _BY_NAME[path.rpartition("/")[2]]
        if "watch" not in query:
            return _page(served, query, self._server)
        is_list = "sendInitialEvents" in query
        self._server.serve(served.work if is_list else WATCH_WORK, is_list=is_list)
        return _Watch(self._fleet, self._agent, self._server, query, read_timeout_s)

    def close(self) -> None:
        """The next request goes to a server that is there."""
        self._server = None


class _Answer:
    encoding = JSON

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to do: the connection holds nothing."""

    def sever(self) -> None:
        """Nothing to do: no loop of a simulation is asked to stop."""


class _Page(_Answer):
    def __init__(self, body: object) -> None:
        self._body = json.dumps(body).encode()

    def body(self, _most_bytes: int) -> bytes:
        return self._body


def _page(served: Served, query: Mapping[str, str], server: ApiServer) -> _Page:
    """Part of a list; the API server uses `limit` only if its cache does not serve the list."""
    limit = int(query.get("limit", "0"))
    if not limit or "resourceVersion" in query:
        limit = served.objects
    first = int(query.get("continue", "0"))
    share = min(limit, served.objects - first) / served.objects
    server.serve(served.work._replace(seconds=served.work.seconds * share), is_list=not first)
    rest = str(first + limit) if first + limit < served.objects else ""
    return _Page({"metadata": {"resourceVersion": str(server.revision), "continue": rest}, "items": []})


class _Watch(_Answer):
    """A watch without changes, after a list if that was asked for.

    Its bookmarks come together, at its end: nothing asks for them before.
    """

    def __init__(
        self, fleet: Fleet, agent: int, server: ApiServer, query: Mapping[str, str], idle_s: float
    ) -> None:
        self._fleet = fleet
        self._agent = agent
        self._server = server
        self._seconds = float(query["timeoutSeconds"])
        self._has_list = "sendInitialEvents" in query
        self._from = 0 if self._has_list else int(query["resourceVersion"])
        self._idle_s = idle_s

    def wait_at_most(self, seconds: float) -> None:
        self._idle_s = seconds

    def chunks(self) -> Iterator[bytes]:
        world, tally = self._fleet.world, self._fleet.tally
        if self._has_list:
            yield _line(
                "BOOKMARK", {"metadata": {"resourceVersion": str(self._server.revision)} | _END_OF_LIST}
            )
        elif self._server.expired(self._from):
            yield _line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
            return
        began_at = world.now
        tally.opened(self._agent, world.now)
        end = self._server.watch(self._seconds)
        heard_at = began_at + (world.now - began_at) // BOOKMARK_S * BOOKMARK_S
        if end is Condition.GONE:
            world.sleep(heard_at + self._idle_s - world.now)
        tally.closed(self._agent, world.now)
        if end in (Condition.UP, Condition.DRAINED):
            heard_at = world.now
        if heard_at > began_at:
            yield _line("BOOKMARK", {"metadata": {"resourceVersion": str(int(heard_at) + 1)}})
        if end not in (Condition.UP, Condition.DRAINED):
            raise ApiFailed(end)


def _line(event_type: str, thing: object) -> bytes:
    return json.dumps({"type": event_type, "object": thing}).encode() + b"\n"
