"""Whatever an API server answers: facts, refusals and a fresh list come of it, never a defect or a stuck loop."""

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st
from urllib3 import HTTPResponse

from kproxy.client.connection import Connection
from kproxy.client.credentials.tokens import NoCredentials
from kproxy.client.target import Target, TlsSettings
from kproxy.errors import ApiFailed, Malformed
from kproxy.sources.kube import SERVICES
from kproxy.sources.listing import list_resource
from kproxy.sources.listwatch import ListWatch
from kproxy.sources.timing import Timing
from kproxy.state.encodings.as_json import JSON, split_lines
from kproxy.state.encodings.envelopes import Status
from kproxy.state.events import Changed, Deleted, Event, Listed, Refused
from kproxy.state.store import Store
from kproxy.values import NamespacedName

if TYPE_CHECKING:
    from kproxy.client.transport.route import Route

ENDS_WITHIN_S = 60.0
TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", "web", "default", "7", "a\nb", "\x1b[31m", "\u2028", "ADDED", "ERROR", "BOOKMARK", "Gone", "x" * 300]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 200, 410, 429, 1 << 64, 10**400])
DATA = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def or_odd(plain: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what is valid, so that what is odd in one place is not hidden behind another's refusal."""
    return st.one_of(plain, plain, plain, plain, DATA)


def as_json(data: object) -> bytes:
    return json.dumps(data).encode()


NAMES = st.sampled_from(["web", "cart", "api"])
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "name": or_odd(NAMES),
        "namespace": or_odd(st.just("default")),
        "resourceVersion": or_odd(st.integers(1, 99).map(str)),
        "labels": DATA,
        "annotations": or_odd(st.just({"k8s.io/initial-events-end": "true"})),
    },
)
SERVICE_SPEC = st.fixed_dictionaries(
    {
        "clusterIPs": or_odd(st.just(["10.96.0.1"])),
        "ports": or_odd(st.just([{"port": 80, "protocol": "TCP"}])),
    },
    optional={"type": or_odd(st.just("NodePort"))},
)
SERVICE = st.fixed_dictionaries({"metadata": or_odd(METADATA), "spec": or_odd(SERVICE_SPEC)})
STATUS = st.fixed_dictionaries(
    {},
    optional={
        "message": or_odd(TEXTS),
        "reason": or_odd(TEXTS),
        "code": or_odd(st.sampled_from([400, 403, 410, 429, 500])),
        "details": or_odd(st.fixed_dictionaries({"retryAfterSeconds": NUMBERS})),
    },
)
WATCH_EVENT = st.fixed_dictionaries(
    {
        "type": or_odd(st.sampled_from(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"])),
        "object": SERVICE | SERVICE | STATUS | DATA,
    }
)
PAGE = st.fixed_dictionaries(
    {
        "metadata": or_odd(
            st.fixed_dictionaries(
                {"resourceVersion": or_odd(st.just("5"))}, optional={"continue": or_odd(st.just("next"))}
            )
        ),
        "items": or_odd(st.lists(SERVICE, max_size=3)),
    }
)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """The bytes as they are, or with one of them changed, or cut off, or not ours at all."""
    body = draw(whole)
    at = draw(st.integers(0, len(body)))
    return draw(
        st.sampled_from(
            [
                body,
                body,
                body,
                body[:at],
                body[:at] + draw(st.binary(max_size=3)) + body[at + 1 :],
                b"[" * 5_000 + body,
                b'{"metadata":{},"object":' * 2_000,
                b"\xff\xfe",
                b"<html>busy</html>",
                b"",
            ]
        )
    )


ENDS = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b""])
STREAMS = st.lists(st.tuples(damaged(WATCH_EVENT.map(as_json)), ENDS), max_size=6).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


@dataclass
class Body:
    """Bytes that arrive in pieces; after the last one the stream ends, or breaks."""

    pieces: Sequence[bytes]
    breaks: bool = False
    _left: Iterator[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._left = iter([piece for piece in self.pieces if piece])

    def read1(self, _most: int | None = None) -> bytes:
        piece = next(self._left, b"")
        if not piece and self.breaks:
            raise ConnectionResetError(104, "reset by peer")
        return piece

    def read(self, most: int | None = None) -> bytes:
        return self.read1(most)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Reply:
    """One answer, as drawn; each use makes a response of its own."""

    body: bytes
    cuts: Sequence[int] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    breaks: bool = False

    def response(self) -> HTTPResponse:
        edges = sorted({0, len(self.body), *(cut for cut in self.cuts if cut <= len(self.body))})
        pieces = [self.body[start:end] for start, end in pairwise(edges)]
        return HTTPResponse(
            body=cast("Any", Body(pieces, self.breaks)),
            status=self.status,
            headers=self.headers,
            preload_content=False,
        )


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Retry-After": st.sampled_from(["1", "-1", "9" * 5000, "soon", "٣", ""]),
        "Content-Encoding": st.sampled_from(["identity", "gzip", "nonsense"]),
    },
)


def replies(bodies: st.SearchStrategy[bytes]) -> st.SearchStrategy[Reply]:
    whole = st.builds(Reply, bodies, st.lists(st.integers(0, 400), max_size=4), breaks=st.booleans())
    odd = st.builds(
        Reply,
        damaged(STATUS.map(as_json)) | bodies,
        status=st.sampled_from([200, 204, 302, 400, 401, 403, 410, 429, 500, 999]),
        headers=HEADERS,
    )
    return st.one_of(whole, whole, whole, odd)


GOOD: dict[str, Any] = {
    "metadata": {"name": "good", "namespace": "default", "resourceVersion": "1000"},
    "spec": {"clusterIPs": ["10.96.0.99"], "ports": [{"port": 80, "protocol": "TCP"}]},
}
GOOD_PAGE = as_json({"metadata": {"resourceVersion": "1000"}, "items": [GOOD]})
GOOD_KEY = NamespacedName("default", "good")
GONE = Reply(b"", status=410)


class Server:
    """Stands where a connection finds the way to its server: gives the answers it was made with, in their order.

    When none is left for what is asked, it says that all is too old, gives one good list, and calls `stop`.
    """

    proxy = None

    def __init__(self, lists: Sequence[Reply], watches: Sequence[Reply]) -> None:
        self._lists, self._watches = deque(lists), deque(watches)
        self._healed = False
        self.stop: Callable[[], None] = lambda: None

    def connection(self) -> Connection:
        target = Target("https://api.example:6443", "the kubeconfig", TlsSettings(), NoCredentials())
        return Connection(target, route_to=lambda _: cast("Route", self))

    def pool(self) -> "Server":
        return self

    def proof(self) -> dict[str, str]:
        return {"Authorization": "Bearer token"}

    def close(self) -> None:
        pass

    def request(self, _method: str, url: str, **_: object) -> HTTPResponse:
        return self._reply(url.partition("?")[2]).response()

    def _reply(self, query: str) -> Reply:
        if "watch=true" in query:
            if self._healed:
                self.stop()
            return self._watches.popleft() if self._watches and not self._healed else GONE
        if self._lists:
            return self._lists.popleft()
        if "continue=" in query:
            return GONE
        self._healed = True
        return Reply(GOOD_PAGE)


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def hearing(name: str) -> Iterator[list[logging.LogRecord]]:
    heard, logger = Heard(), logging.getLogger(name)
    level = logger.level
    logger.addHandler(heard)
    logger.setLevel(logging.DEBUG)
    try:
        yield heard.records
    finally:
        logger.setLevel(level)
        logger.removeHandler(heard)


def told_by(server: Server, *, streams: bool = False) -> list[Event]:
    """The events that a loop emits for the answers. It ends, logs no defect, and each line of its log is printable."""
    events: list[Event] = []
    ticks = count()
    timing = Timing(
        streams=streams,
        backoff_base_s=0,
        backoff_cap_s=0,
        retry_after_cap_s=0,
        clock=lambda: next(ticks) * 10.0,
        uniform=lambda low, _high: low,
    )

    def connection() -> Connection:
        return server.connection()

    loop = ListWatch(SERVICES, connection, events.append, timing)
    server.stop = loop.stop
    with hearing("kproxy.sources.listwatch") as records:
        loop.start(connection())
        loop.join(ENDS_WITHIN_S)
        assert [] == [thread for thread in threading.enumerate() if thread.name == "watch-services"]
    assert [] == [record.getMessage() for record in records if record.exc_info]
    assert [] == [record.getMessage() for record in records if not record.getMessage().isprintable()]
    return events


@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"\n", b"\n\n", b"\r\n"]), max_size=12))
def test_lines_are_those_of_the_whole_wherever_it_is_cut(chunks: list[bytes]) -> None:
    *complete, _broken = b"".join(chunks).split(b"\n")
    assert [line for line in complete if line] == list(split_lines(chunks, 1 << 20))


@given(damaged(st.one_of(PAGE, WATCH_EVENT, SERVICE, STATUS, DATA).map(as_json)) | st.binary())
def test_any_envelope_is_decoded_or_refused_as_such(raw: bytes) -> None:
    for decode in (JSON.page, JSON.event, JSON.meta):
        try:
            decode(raw)
        except Malformed as refused:
            event(type(refused).__name__)
    assert isinstance(JSON.status(raw), Status)


ODD_NAME = {"type": "ADDED", "object": {"metadata": {"name": "a\nb", "namespace": "default"}, "spec": 7}}
ODD_ERROR = {"type": "ERROR", "object": {"message": "first\n\x1b[31msecond", "code": 10**18}}


@given(
    lists=st.lists(replies(damaged(PAGE.map(as_json))), max_size=3),
    watches=st.lists(replies(STREAMS), max_size=3),
    streams=st.booleans(),
)
@example(lists=[Reply(b"", status=429, headers={"Retry-After": "9" * 5000})], watches=[], streams=False)
@example(lists=[Reply(GOOD_PAGE)], watches=[Reply(as_json(ODD_NAME) + b"\n")], streams=False)
@example(lists=[Reply(GOOD_PAGE)], watches=[Reply(as_json(ODD_ERROR) + b"\n")], streams=False)
@example(lists=[Reply(GOOD_PAGE)], watches=[Reply(as_json(ODD_ERROR) + b"\n")], streams=True)
@example(lists=[Reply(GOOD_PAGE)], watches=[Reply(b"", status=404)] * 5, streams=True)
def test_whatever_is_answered_the_next_good_list_is_in_force(
    lists: list[Reply], watches: list[Reply], *, streams: bool
) -> None:
    store = Store()
    for change in told_by(Server(lists, watches), streams=streams):
        store.apply(change)
        assert all(str(rejection).isprintable() for rejection in store.rejections)
    assert [GOOD_KEY] == [*store.services]


@st.composite
def sound_events(draw: st.DrawFn) -> tuple[bytes, NamespacedName]:
    """A watch line that cannot be misunderstood, and the key that it tells of."""
    name = draw(NAMES)
    version = str(draw(st.integers(1, 99)))
    happened = draw(st.sampled_from(["ADDED", "MODIFIED", "DELETED"]))
    metadata = {**GOOD["metadata"], "name": name, "resourceVersion": version}
    line = as_json({"type": happened, "object": {**GOOD, "metadata": metadata}}) + b"\n"
    return line, NamespacedName("default", name)


@given(
    sound=st.lists(sound_events(), max_size=5), after=STREAMS, breaks=st.booleans(), cut=st.integers(0, 400)
)
def test_what_came_before_the_damage_is_told(
    sound: list[tuple[bytes, NamespacedName]], after: bytes, cut: int, *, breaks: bool
) -> None:
    stream = b"".join(line for line, _ in sound) + after
    first, *changes = told_by(Server([Reply(GOOD_PAGE)], [Reply(stream, [cut], breaks=breaks)]))
    assert isinstance(first, Listed)
    assert [key for _, key in sound] == [key_of(change) for change in changes[: len(sound)]]


def key_of(change: Event) -> NamespacedName | None:
    match change:
        case Changed(object=thing):
            return thing.key
        case Deleted(key=key):
            return key
        case Refused(rejection=rejection):
            return rejection.key
    return None


@pytest.mark.parametrize("version", ["5\n2026-01-01 INFO forged", "\x1b]0;title\x07", "\u202e5", "\u2028"])
def test_resource_version_forges_no_line_of_the_log(version: str) -> None:
    page = Reply(as_json({"metadata": {"resourceVersion": version}, "items": [GOOD]}))
    told_by(Server([page], []))


def test_list_without_an_end_is_given_up() -> None:
    page = Reply(as_json({"metadata": {"continue": "next"}, "items": [GOOD]}))
    connection = Server([page] * 3_000, []).connection()
    with pytest.raises(ApiFailed, match=r"^the list of services has no end after 2000 pages"):
        list_resource(lambda query: connection.get("/services", query, read_timeout_s=1), SERVICES, 500)
