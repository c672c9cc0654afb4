"""The requests of one list/watch loop, over one connection until the connection is closed."""

from collections.abc import Callable, Mapping

from kproxy.client.answer import Answer
from kproxy.client.connection import Connection
from kproxy.client.failures import refusal
from kproxy.errors import ApiFailed
from kproxy.sources.listing import Resource
from kproxy.state.encodings.envelopes import Status


class Asker:
    """Asks for one resource, in one thread. Only `sever` may be called from another thread.

    `wait(seconds)` spends the time until a request has its turn, and returns true if the wait was cut short.
    """

    def __init__(
        self, resource: Resource, connect: Callable[[], Connection], wait: Callable[[float], object]
    ) -> None:
        self._resource = resource
        self._connect = connect
        self._wait = wait
        self._connection: Connection | None = None
        self._answer: Answer | None = None
        self._is_severed = False

    def begin_with(self, connection: Connection) -> None:
        """Use this connection first. Later connections come from `connect`."""
        self._connection = connection

    def get(self, query: Mapping[str, str], read_timeout_s: float) -> Answer:
        """Ask with the query and the resource's selectors; otherwise as `Connection.get`."""
        path, selected = self._resource.path, self._resource.query(query)
        self._answer = self._connected().get(path, selected, read_timeout_s=read_timeout_s)
        if self._is_severed:
            self._answer.sever()  # `sever` may have run before there was an answer
        return self._answer

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
