"""Lists that a server sends as the beginning of a watch (KEP-3157), which costs it less memory than a list.

    ADDED ADDED ... ADDED BOOKMARK(initial-events-end) | MODIFIED DELETED ... as in any watch

Not every server does so. One that cannot says it in an ERROR event or with a status, and one that does not know
`sendInitialEvents` refuses the `resourceVersionMatch` beside it, which is not allowed in other watches. One that passes
over both shows that by an ordinary bookmark, or by silence. The list is asked for in the ordinary way then.
"""

import logging
from collections.abc import Callable, Mapping
from functools import cache
from http import HTTPStatus

from kproxy.errors import ApiFailed, Malformed
from kproxy.sources.listing import Found, Resource
from kproxy.sources.pace import Pace
from kproxy.sources.position import OVERLOADED
from kproxy.state.encodings import Encoding
from kproxy.state.encodings.envelopes import Meta, Raw
from kproxy.state.events import Listed
from kproxy.state.validate import plain_word

_log = logging.getLogger(__name__)

GATE = "KUBE_FEATURE_WatchListClient"
"""client-go features/envvar.go: this environment variable decides whether lists are asked for as streams."""

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
"""As Go's strconv.ParseBool reads them."""

MOST_BYTES = 1 << 30
"""Of events until the list is complete, which is eight times the largest answer to an ordinary list: their objects are
decoded one by one, so that memory holds only what rules are made of."""

LONGEST_S = 300.0
"""Until the list is complete: as long as the shortest watch, so that no list is longer than its stream."""

_MEANS_NO_STREAMS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
"""How servers refuse a query that they do not understand; 422 is what Kubernetes says from 1.19 on."""

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
"""An ordinary list would be refused with these as well."""

MOST_FAILURES = 3
"""Refusals in a row other than for overload, after which an ordinary list is tried: something in between may let lists
pass and no streams."""

_WORDS = ("sendInitialEvents", "a watch stream was requested")
"""Of Kubernetes' refusals, whatever their status (apimachinery, internalversion/validation; apiserver, cacher)."""


class NoStream(ApiFailed):
    """The server does not give its list as a stream; an ordinary list may succeed."""


def lists_are_streamed(environment: Mapping[str, str], gate: bool | None = None) -> bool:  # a setting
    """Whether lists are asked for as streams, which is so unless the configuration's feature gate says no.

    Without a `gate` there, the environment decides, as for other programs with client-go. Source: client-go 1.35.
    """
    if gate is not None:
        return gate
    said = environment.get(GATE, "")
    if said and said not in _TRUE | _FALSE:
        _tell_once(said)
    return said not in _FALSE


@cache
def _tell_once(said: str) -> None:
    _log.warning("%s=%r is neither true nor false and is ignored; write %s=false", GATE, said, GATE)


def says_no_streams(failure: ApiFailed, *, begun: bool) -> bool:
    """Whether the server refused the stream as such, so that an ordinary list is worth a request at once.

    `begun` says that the answer was 200, and the refusal an event in it.
    """
    if any(words in str(failure) for words in _WORDS):
        return True
    return failure.status in _MEANS_NO_STREAMS or (
        begun and bool(failure.status) and failure.status not in _NOT_ABOUT_STREAMS
    )


def is_about_streams(failure: ApiFailed, *, begun: bool) -> bool:
    """Whether an ordinary list is worth a try the next time: after a stream that broke off, and any odd refusal."""
    return failure.status not in _NOT_ABOUT_STREAMS if failure.status else begun


class Streams:
    """Whether the next list is asked for as a stream, after what the server made of those before."""

    def __init__(self, resource: Resource, pace: Pace) -> None:
        self._resource = resource
        self._pace = pace
        self._due_at = pace.clock()
        self._failures = 0

    @property
    def are_due(self) -> bool:
        return self._pace.streams and self._pace.clock() >= self._due_at

    def succeeded(self) -> None:
        """There is a list, by a stream or in the ordinary way."""
        self._failures = 0

    def give_way(self, failure: ApiFailed, *, begun: bool) -> bool:
        """After this failure of a stream: whether an ordinary list is worth a request at once.

        `begun` says that the answer was 200, and the failure in it.
        """
        if failure.status and failure.status not in OVERLOADED:
            self._failures += 1
        is_odd = isinstance(failure, NoStream) or is_about_streams(failure, begun=begun)
        if is_odd or self._failures >= MOST_FAILURES:
            self._due_at = self._pace.clock() + self._pace.streams_again_s
        gives_way = isinstance(failure, NoStream) or says_no_streams(failure, begun=begun)
        if gives_way:
            _log.info(
                "%s: no list as a stream (%s); listing in the ordinary way", self._resource.name, failure
            )
        return gives_way


class InitialEvents:
    """The list at the beginning of a watch, while it comes in.

    NoStream where it shows that the server does not know such lists, or that this one has no end: for `idle_s` there
    was no further object, whatever else happened.
    """

    def __init__(self, resource: Resource, clock: Callable[[], float], idle_s: float) -> None:
        self._resource = resource
        self._clock = clock
        self._idle_s = idle_s
        self._ends_at = clock() + LONGEST_S
        self._due_at = clock() + idle_s
        self._found = Found(resource)
        self._bytes = 0

    def take(self, encoding: Encoding, frame: bytes, refused: Callable[[Raw], ApiFailed]) -> Meta | None:
        """The next event; the metadata of the bookmark that ends the list, if it is that.

        Raises what `refused` makes of an ERROR event. An object that cannot be used costs itself alone.
        """
        self._bytes += len(frame)
        now = self._clock()
        if self._bytes > MOST_BYTES or now > min(self._due_at, self._ends_at):
            raise NoStream(
                f"the stream of {self._resource.name} has no end after {self._bytes >> 20} MB; it is given up"
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
        """Once the end has come."""
        return self._found.listed()

    def _end(self, meta: Meta) -> Meta:
        if not meta.ends_initial_events:
            raise NoStream(f"the server takes the list of {self._resource.name} as a stream for a watch")
        return meta

    def _change(self, encoding: Encoding, event_type: str, raw: Raw) -> None:
        if event_type not in ("ADDED", "MODIFIED", "DELETED"):
            raise Malformed(f"event type {plain_word(event_type)}")
        if event_type != "ADDED":
            # what happens while the list is on its way
            key = encoding.meta(raw).key
            if key is not None:
                self._found.drop(key)
        if event_type != "DELETED":
            self._found.take(encoding, raw)
