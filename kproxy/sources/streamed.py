"""Lists that a server sends as the beginning of a watch (KEP-3157), which costs it less memory than a list.

    ADDED ADDED ... ADDED BOOKMARK(initial-events-end) | MODIFIED DELETED ... as in any watch

Some servers cannot do this. They say so in an ERROR event or with a status. A server that does not know
`sendInitialEvents` refuses `resourceVersionMatch`, which is not allowed in other watches. A server that ignores both
sends an ordinary bookmark, or nothing. In all these cases an ordinary list is fetched.
"""

import logging
from collections.abc import Callable, Mapping
from functools import cache
from http import HTTPStatus

from kproxy.errors import ApiFailed, Malformed
from kproxy.sources.listing import ListBuilder, Resource
from kproxy.sources.position import OVERLOADED
from kproxy.sources.timing import Timing
from kproxy.state.encodings import Encoding
from kproxy.state.encodings.envelopes import Meta, Raw
from kproxy.state.events import Listed
from kproxy.state.printable import plain_word

_log = logging.getLogger(__name__)

GATE = "KUBE_FEATURE_WatchListClient"
"""client-go features/envvar.go: this environment variable decides whether lists are fetched as streams."""

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
"""The texts that Go's strconv.ParseBool reads as true and as false."""

MOST_BYTES = 1 << 30
"""Bytes of events until the list is complete, eight times the largest answer to an ordinary list.

Objects are decoded one by one, so memory holds only the facts that rules need.
"""

LONGEST_S = 300.0
"""Seconds until the list is complete: the lifetime of the shortest watch, so that no list outlives its stream."""

_MEANS_NO_STREAMS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
"""The statuses with which servers refuse a query that they do not understand; Kubernetes uses 422 from 1.19 on."""

_NOT_ABOUT_STREAMS = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""A server would refuse an ordinary list with these statuses too."""

MOST_FAILURES = 3
"""Refusals in a row, other than for overload, after which an ordinary list is tried.

A proxy may let lists pass and no streams.
"""

_WORDS = ("sendInitialEvents", "a watch stream was requested")
"""Phrases in Kubernetes' refusals of streams, whatever the status.

Source: apimachinery, internalversion/validation; apiserver, cacher.
"""


class NoStream(ApiFailed):
    """The server does not send its list as a stream. An ordinary list may succeed."""


def lists_are_streamed(environment: Mapping[str, str], gate: bool | None = None) -> bool:
    """Whether lists are fetched as streams. They are, unless the configuration's feature gate says no.

    Without a `gate`, the environment decides, as for other programs with client-go. Source: client-go 1.35.
    """
    if gate is not None:
        return gate
    said = environment.get(GATE, "")
    if said and said not in _TRUE | _FALSE:
        _warn_once(said)
    return said not in _FALSE


@cache
def _warn_once(said: str) -> None:
    _log.warning("%s=%r is neither true nor false and is ignored; write %s=false", GATE, said, GATE)


def says_no_streams(failure: ApiFailed, *, begun: bool) -> bool:
    """Whether the server refused the stream as such, so that an ordinary list is worth a request at once.

    `begun` is true if the answer was 200 and the refusal was an event in it.
    """
    if any(words in str(failure) for words in _WORDS):
        return True
    return failure.status in _MEANS_NO_STREAMS or (
        begun and bool(failure.status) and failure.status not in _NOT_ABOUT_STREAMS
    )


def is_about_streams(failure: ApiFailed, *, begun: bool) -> bool:
    """Whether an ordinary list is worth a try next time: after a stream that broke off, or after an unusual refusal."""
    return failure.status not in _NOT_ABOUT_STREAMS if failure.status else begun


class Streams:
    """Decides whether the next list is fetched as a stream, from the results of the streams before."""

    def __init__(self, resource: Resource, timing: Timing) -> None:
        self._resource = resource
        self._timing = timing
        self._due_at = timing.clock()
        self._failures = 0

    @property
    def are_due(self) -> bool:
        return self._timing.streams and self._timing.clock() >= self._due_at

    def succeeded(self) -> None:
        """A list was received, by a stream or in the ordinary way."""
        self._failures = 0

    def give_way(self, failure: ApiFailed, *, begun: bool) -> bool:
        """Note this failure of a stream. Returns whether an ordinary list is worth a request at once.

        `begun` is true if the answer was 200 and the failure came in it.
        """
        if failure.status and failure.status not in OVERLOADED:
            self._failures += 1
        is_odd = isinstance(failure, NoStream) or is_about_streams(failure, begun=begun)
        if is_odd or self._failures >= MOST_FAILURES:
            self._due_at = self._timing.clock() + self._timing.streams_again_s
        gives_way = isinstance(failure, NoStream) or says_no_streams(failure, begun=begun)
        if gives_way:
            _log.info(
                "%s: no list as a stream (%s); listing in the ordinary way", self._resource.name, failure
            )
        return gives_way


class InitialEvents:
    """The list at the beginning of a watch, while it arrives.

    NoStream if the server does not know such lists, or if the list has no end: no further object came for `idle_s`,
    whatever else came.
    """

    def __init__(self, resource: Resource, clock: Callable[[], float], idle_s: float) -> None:
        self._resource = resource
        self._clock = clock
        self._idle_s = idle_s
        self._ends_at = clock() + LONGEST_S
        self._due_at = clock() + idle_s
        self._found = ListBuilder(resource)
        self._bytes = 0

    def take(self, encoding: Encoding, frame: bytes, refused: Callable[[Raw], ApiFailed]) -> Meta | None:
        """Take the next event. Returns the metadata of the bookmark that ends the list, None for other events.

        Raises the result of `refused` for an ERROR event. An unusable object affects only itself.
        """
        self._bytes += len(frame)
        now = self._clock()
        if self._bytes > MOST_BYTES or now > min(self._due_at, self._ends_at):
            raise NoStream(
                f"the stream of {self._resource.name} has no end after {self._bytes >> 20} MB; it is abandoned"
            )
        try:
            event = encoding.event(frame)
            if event.type == "ERROR":
                raise refused(event.object)
            if event.type == "BOOKMARK":
                return self._end(encoding.meta(event.object))
            if event.type == "ADDED":
                self._due_at = now + self._idle_s
            self._change(encoding, event.type, event.object)
        except Malformed as error:
            raise NoStream(
                f"an event of the stream of {self._resource.name} cannot be understood: {error}"
            ) from error
        return None

    def listed(self) -> Listed:
        """The list, after its end has come."""
        return self._found.listed()

    def _end(self, meta: Meta) -> Meta:
        if not meta.ends_initial_events:
            raise NoStream(f"the server answers the stream of {self._resource.name} as an ordinary watch")
        return meta

    def _change(self, encoding: Encoding, event_type: str, raw: Raw) -> None:
        if event_type not in ("ADDED", "MODIFIED", "DELETED"):
            raise Malformed(f"event type {plain_word(event_type)}")
        if event_type != "ADDED":
            # a change while the list was still arriving
            key = encoding.meta(raw).key
            if key is not None:
                self._found.drop(key)
        if event_type != "DELETED":
            self._found.take(encoding, raw)
