"""The loop that keeps one resource current: it lists, watches, and comes back after every failure.

    connect -> list -> watch -> watch -> ...      each watch continues at the last resourceVersion
       ^        ^        |
       |        +--------+  410, an ERROR event, or unreadable bytes: list again
       +-----------------+  no answer, 401, any other failure: a new connection, then continue at the same place

All ways back use one backoff, except the end of a watch at its time. If the server can, the list is the beginning of
the first watch.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus

from kproxy.client.answer import Answer
from kproxy.client.connection import Connection
from kproxy.errors import ApiFailed, InputError, KproxyError, Malformed
from kproxy.sources.asker import Asker, Pages, watch_query
from kproxy.sources.backoff import Backoff
from kproxy.sources.failure_log import FailureLog
from kproxy.sources.freshness import Freshness, Times
from kproxy.sources.listing import Resource, list_resource
from kproxy.sources.position import Next, Position, as_logged
from kproxy.sources.streamed import InitialEvents, Streams
from kproxy.sources.timing import Timing
from kproxy.sources.watch_events import to_event
from kproxy.sources.watch_history import WatchHistory
from kproxy.state.encodings import Encoding
from kproxy.state.events import Event, Listed
from kproxy.threads import KeptThread, Need

logger = logging.getLogger(__name__)

_LACKING = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)

_EARLY_S = 1.0
"""Seconds. If a watch ends so long before its time, the server shuts down or ends each watch at once."""


class ListWatch:
    """Keeps one resource current in a thread of its own, and calls `emit` with the changes.

    `emit` is called in this thread, in the server's order: first a `Listed`, and another `Listed` whenever changes may
    have been missed. Failures are logged, unless another loop with the same failure log has just logged the cause.
    Failures never end the loop; `stop` does.
    """

    def __init__(
        self,
        resource: Resource,
        connect: Callable[[], Connection],
        emit: Callable[[Event], None],
        timing: Timing,
        failure_log: FailureLog | None = None,
    ) -> None:
        self._resource = resource
        self._tell = emit
        self._timing = timing
        self._failure_log = failure_log or FailureLog(timing.clock)
        self._backoff = Backoff(
            base_s=timing.backoff_base_s,
            first_s=timing.backoff_first_s,
            cap_s=timing.backoff_cap_s,
            healthy_s=timing.healthy_s,
            uniform=timing.uniform,
        )
        self._stopping = threading.Event()
        self._thread = KeptThread(f"watch-{resource.name}", self.run, Need.RULES)
        self._times = Times(timing.clock)
        self._asker = Asker(resource, connect, partial(timing.wait, self._stopping), self._times)
        self._pages = Pages(self._asker, timing, self._backoff, self._stopping)
        self._position = Position()
        self._streams = Streams(resource, timing)
        self._history = WatchHistory(timing.clock)
        self._is_lacking = False
        self._has_failed = False

    @property
    def freshness(self) -> Freshness:
        """How current the resource is. Any thread may read it."""
        return self._times.freshness(self._resource.kind, self._position.resource_version)

    def start(self, connection: Connection) -> None:
        """Start with `connection`. Later connections come from `connect`."""
        self._asker.begin_with(connection)
        self._thread.start()

    def stop(self) -> None:
        """Ask the loop to end, and interrupt a blocked read. `join` waits for the end."""
        self._stopping.set()
        self._thread.end()
        self._asker.sever()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread. It may still be waiting for an answer, but emits nothing more."""
        self._thread.join(timeout_s)

    def run(self) -> None:
        """Keep the resource current in the calling thread, until `stop`. `start` runs it in a thread."""
        while not self._stopping.is_set():
            try:
                self._advance()
            except KproxyError as failure:
                self._recover(failure)
            except Exception as defect:  # a dead thread would leave the rules stale for ever
                logger.exception("%s: a defect in kproxy", self._resource.name)
                self._position.lost()
                self._recover(KproxyError(f"unexpected {type(defect).__name__}: {defect}"))
        self._asker.close()

    def _advance(self) -> None:
        """Do one list if one is needed, otherwise one watch to its end."""
        if self._position.next is Next.WATCH:
            self._watch()
        elif self._streams.are_due:
            self._stream()
        else:
            self._list()

    def _list(self) -> None:
        since = self._position.oldest_list
        self._take_list(*list_resource(self._pages.get, self._resource, self._timing.page_size, since))

    def _take_list(self, listed: Listed, resource_version: str) -> None:
        self._history.heard()
        self._streams.succeeded()
        self._is_lacking = self._has_failed = False
        logger.info(
            "%s: listed %d, left out %d, resourceVersion %s",
            self._resource.name,
            len(listed.objects),
            len(listed.rejections),
            as_logged(resource_version),
        )
        if self._position.would_go_back(resource_version):
            logger.warning(
                "%s: the resourceVersion goes back from %s, as after a restore of etcd; the list is used",
                self._resource.name,
                as_logged(self._position.resource_version),
            )
        self._position.listed(resource_version)
        self._times.understood()
        self._emit(listed)
        if not resource_version:
            raise ApiFailed("the list has no resourceVersion from which a watch could go on")

    def _watch(self) -> None:
        began_at = self._timing.clock()
        lasts_s = self._timing.watch_lifetime_s()
        query = watch_query(lasts_s) | {"resourceVersion": self._position.resource_version}
        with self._asker.get(query, self._timing.idle_s) as answer:
            self._history.silent()
            self._history.began(began_at)
            self._tell_return()
            # the server continues at the end of the list or the last event
            self._times.understood()
            self._follow(answer.encoding, self._frames(answer))
        self._doubt_end(began_at + lasts_s)
        self._doubt_silence()

    def _doubt_end(self, due_at: float) -> None:
        """ApiFailed for a watch that ended before its time."""
        if self._timing.clock() < due_at - _EARLY_S:
            raise ApiFailed("the server ends the watch before its time")

    def _tell_return(self) -> None:
        """Log that the server is back. After a list, the line about the list says so."""
        if self._has_failed:
            self._has_failed = False
            at = as_logged(self._position.resource_version)
            logger.info(
                "%s: the server answers again, watching on from resourceVersion %s", self._resource.name, at
            )

    def _follow(self, encoding: Encoding, frames: Iterator[bytes]) -> None:
        for frame in frames:
            self._history.heard()
            self._take(encoding, frame)
            self._times.understood()

    def _stream(self) -> None:
        """Fetch a list and a watch in one answer. Nothing is emitted before the list is complete."""
        began_at, lasts_s = self._timing.clock(), self._timing.watch_lifetime_s()
        query = watch_query(lasts_s) | {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        if self._position.oldest_stream:
            query["resourceVersion"] = self._position.oldest_stream
        answer: Answer | None = None
        with ExitStack() as streaming:
            try:
                answer = streaming.enter_context(self._asker.get(query, self._timing.stream_idle_s))
                encoding, frames = answer.encoding, self._frames(answer)
                listed, resource_version = self._initial(encoding, frames)
            except ApiFailed as failure:
                if answer is not None and failure.status:
                    answer.drain()
                if not self._leads_on(failure, begun=answer is not None):
                    raise
                return
            answer.wait_at_most(self._timing.idle_s)
            self._take_list(listed, resource_version)
            self._history.began(self._timing.clock())
            self._follow(encoding, frames)
        self._doubt_end(began_at + lasts_s)

    def _leads_on(self, failure: ApiFailed, *, begun: bool) -> bool:
        """Whether another request may succeed at once: for the newest stream, or for an ordinary list."""
        if self._position.oldest_stream and (failure.status == HTTPStatus.GONE or failure.is_ahead):
            self._position.lost()
            return True
        return self._streams.give_way(failure, begun=begun)

    def _initial(self, encoding: Encoding, frames: Iterator[bytes]) -> tuple[Listed, str]:
        """The list at the beginning of a stream.

        ApiFailed, or NoStream, if the stream ends before the list is complete.
        """
        initial = InitialEvents(self._resource, self._timing.clock, self._timing.stream_idle_s)
        for frame in frames:
            end = initial.take(encoding, frame, lambda raw: self._asker.refusal("list", encoding.status(raw)))
            if end is not None:
                return initial.listed(), end.resource_version
        raise ApiFailed(f"the stream of {self._resource.name} ended before its list was complete")

    def _frames(self, answer: Answer) -> Iterator[bytes]:
        """The watch events. For an event that is too large, a new list is fetched instead."""
        try:
            yield from self._asker.frames(answer)
        except InputError as too_long:
            self._position.lost()
            raise ApiFailed(f"a watch event cannot be read: {too_long}") from too_long

    def _doubt_silence(self) -> None:
        if self._history.takes_silence():
            logger.info("%s: several watches without an event; listing again", self._resource.name)
            self._position.lost()

    def _take(self, encoding: Encoding, frame: bytes) -> None:
        """Handle one watch event. Only an event that was understood advances the resourceVersion."""
        try:
            event = encoding.event(frame)
            if event.type == "ERROR":
                failure = self._asker.refusal("watch", encoding.status(event.object))
                self._position.missed(failure)
                raise failure
            meta = encoding.meta(event.object)
            if (means := to_event(self._resource, encoding, event, meta)) is not None:
                self._emit(means)
        except Malformed as error:
            self._position.lost()
            raise ApiFailed(f"a watch event cannot be understood: {error}") from error
        self._position.moved(meta.resource_version)

    def _emit(self, event: Event) -> None:
        if not self._stopping.is_set():
            self._tell(event)

    def _recover(self, failure: KproxyError) -> None:
        if self._stopping.is_set():
            return
        wished_s = 0.0
        if isinstance(failure, ApiFailed):
            wished_s = min(failure.retry_after_s, self._timing.retry_after_cap_s)
            self._position.refused(failure)
        self._times.tried()
        self._doubt_silence()
        if not isinstance(failure, ApiFailed) or failure.status != HTTPStatus.TOO_MANY_REQUESTS:
            self._asker.close()  # an overloaded server would have to do TLS again for each request that it refuses
        if self._resource.without_it and isinstance(failure, ApiFailed) and failure.status in _LACKING:
            self._do_without(failure.status)
            return
        pause_s = self._backoff.next_pause_s(wished_s, worked_s=self._history.worked_s)
        self._history.failed()
        self._has_failed = True
        at = as_logged(self._position.resource_version) if self._position.next is Next.WATCH else ""
        logger.log(
            logging.WARNING if self._failure_log.is_new(self._resource.name, failure) else logging.DEBUG,
            "%s: %s; the last known state stays in force, %s in %.1f s",
            self._resource.name,
            failure,
            f"watching on from resourceVersion {at}" if at else "listing again",
            pause_s,
        )
        self._timing.wait(self._stopping, pause_s)

    def _do_without(self, status: int) -> None:
        """Wait, and try again later: the cluster may get this resource some day. One warning is enough until then."""
        logger.log(
            logging.DEBUG if self._is_lacking else logging.WARNING,
            "%s: the API server answers %d, so %s",
            self._resource.name,
            status,
            self._resource.without_it,
        )
        self._is_lacking = True
        self._timing.wait(self._stopping, self._timing.lacking_s)
