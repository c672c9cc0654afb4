"""The requests of one list/watch loop, over one connection until the connection is closed."""

import threading
from collections.abc import Callable, Iterator, Mapping

from kproxy.client.answer import Answer
from kproxy.client.connection import Connection
from kproxy.client.failures import refusal
from kproxy.errors import ApiFailed
from kproxy.sources.backoff import Backoff
from kproxy.sources.freshness import Times
from kproxy.sources.listing import Resource
from kproxy.sources.position import OVERLOADED
from kproxy.sources.timing import Timing
from kproxy.state.encodings.envelopes import Status

_LONGEST_EVENT_BYTES = 32 << 20
"""An object has at most 1.5 MB in etcd. As JSON it may have several times as much."""

_MOST_TRIES = 10
"""Tries of one page of a list, as in client-go (rest/request.go). To restart the list would cost the server more."""


class Asker:
    """Asks for one resource, in one thread. Only `sever` may be called from another thread.

    `wait(seconds)` spends the time until a request has its turn, and returns true if the wait was cut short. `times`
    notes each request and each piece of an answer.
    """

    def __init__(
        self,
        resource: Resource,
        connect: Callable[[], Connection],
        wait: Callable[[float], object],
        times: Times,
    ) -> None:
        self._resource = resource
        self._connect = connect
        self._wait = wait
        self._times = times
        self._connection: Connection | None = None
        self._answer: Answer | None = None
        self._is_severed = False

    def begin_with(self, connection: Connection) -> None:
        """Use this connection first. Later connections come from `connect`."""
        self._connection = connection

    def get(self, query: Mapping[str, str], read_timeout_s: float) -> Answer:
        """Ask with the query and the resource's selectors; otherwise as `Connection.get`."""
        self._times.tried()
        path, selected = self._resource.path, self._resource.query(query)
        self._answer = self._connected().get(path, selected, read_timeout_s=read_timeout_s)
        if self._is_severed:
            self._answer.sever()  # `sever` may have run before there was an answer
        self._times.heard()
        return self._answer

    def frames(self, answer: Answer) -> Iterator[bytes]:
        """The watch events of an answer. InputError for an event that is too large."""
        return answer.encoding.frames(self._noting_time(answer.chunks()), _LONGEST_EVENT_BYTES)

    def _noting_time(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._times.heard()
            yield chunk

    def refusal(self, verb: str, said: Status) -> ApiFailed:
        """The error for an ERROR event, which ends its stream."""
        return refusal(self._connected().peer, verb, self._resource.name, said)

    def sever(self) -> None:
        """End the answer that is being read, and each later answer."""
        self._is_severed = True
        answer = self._answer
        if answer is not None:
            answer.sever()

    def close(self) -> None:
        """Close the connection.

        The next request reads the configuration again, with changed credentials and certificates.
        """
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.wait = self._wait
        return self._connection


class Pages:
    """Requests for the pages of a list. A page after the first is asked for again if the server says when."""

    def __init__(self, asker: Asker, timing: Timing, backoff: Backoff, stopping: threading.Event) -> None:
        self._asker = asker
        self._timing = timing
        self._backoff = backoff
        self._stopping = stopping

    def get(self, query: Mapping[str, str]) -> Answer:
        """The answer with one page. ApiFailed if it cannot be had, or if `stopping` was set during a pause."""
        for _ in range(_MOST_TRIES - 1):
            try:
                return self._asker.get(query, self._timing.list_timeout_s)
            except ApiFailed as failure:
                if not ("continue" in query and failure.status in OVERLOADED and failure.retry_after_s):
                    raise
                wished_s = min(failure.retry_after_s, self._timing.retry_after_cap_s)
                self._timing.wait(self._stopping, self._backoff.honoured_s(wished_s))
                if self._stopping.is_set():
                    raise
        return self._asker.get(query, self._timing.list_timeout_s)


def watch_query(lasts_s: int) -> dict[str, str]:
    """The query for a watch that the server ends after so many seconds."""
    return {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(lasts_s)}
