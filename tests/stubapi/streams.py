"""The watches that are being answered, and what can be made to go wrong with them and with requests."""

import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto


class StreamedLists(Enum):
    """How a server takes `sendInitialEvents` (KEP-3157)."""

    LACK_PROGRESS = auto()
    """Kubernetes 1.27 and newer on an etcd that tells no progress, as recorded: an ERROR event in a 200 answer."""

    GATED = auto()
    """The feature gate is off: 422."""

    UNKNOWN = auto()
    """Kubernetes 1.19 to 1.26: 422, as a watch may not have a `resourceVersionMatch`."""

    PASSED_OVER = auto()
    """No Kubernetes: the watch begins with what there is, and nothing marks the end of that."""

    GIVEN = auto()
    """Kubernetes 1.34 and newer."""

    GIVEN_COMPRESSED = auto()
    """Kubernetes 1.37: each flush is a gzip member of its own, for clients that ask for gzip."""

    @property
    def is_given(self) -> bool:
        return self in (StreamedLists.GIVEN, StreamedLists.GIVEN_COMPRESSED)


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that a request gets instead of its own."""

    status: int
    retry_after: int | None = None


@dataclass(eq=False, slots=True)
class Stream:
    """One watch. A stalled one stays open and says nothing any more; a closed one ends in mid-air, an ended one in order."""

    kind: str
    connection: socket.socket
    stalled: bool = False
    closed: bool = False
    ended: bool = False
    compressed: bool = False
    bookmarks_due: int = 0
    error_due: int = 0
    told: int = 0
    """The resourceVersion up to which the client was told of all changes."""


@dataclass(slots=True)
class Faults:
    """`changed` guards it and is notified of each change: it is the storage's, which streams wait for too."""

    changed: threading.Condition
    streams: set[Stream] = field(default_factory=set)
    opened: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    lacking: dict[str, int] = field(default_factory=dict)
    """Kinds that are not served, and the status that says so."""
    delay_s: float = 0.0
    """How long each answer takes to begin."""
    streamed_lists: StreamedLists = StreamedLists.LACK_PROGRESS
    initial_events_end: int | None = None
    """Streamed lists break off in mid-air after so many events."""
    version_name: str = ""
    """The resourceVersion of lists, instead of the number."""
    cache_lists: bool = True
    """Whether a list at resourceVersion 0 is given in one piece, whatever its limit."""

    def next_failure(self, kind: str = "") -> Failure | None:
        with self.changed:
            if kind in self.lacking:
                return Failure(self.lacking[kind])
            return self.failures.pop(0) if self.failures else None

    def add(self, stream: Stream) -> None:
        with self.changed:
            self.streams.add(stream)
            self.opened[stream.kind] += 1
            self.changed.notify_all()

    def drop(self, stream: Stream) -> None:
        with self.changed:
            self.streams.discard(stream)
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            for stream in self.streams:
                stream.closed = True
                sever(stream.connection)
            self.changed.notify_all()

    def end(self) -> None:
        with self.changed:
            for stream in self.streams:
                stream.ended = True
            self.changed.notify_all()

    def stall(self) -> None:
        with self.changed:
            for stream in self.streams:
                stream.stalled = True

    def end_with(self, status: int) -> None:
        with self.changed:
            for stream in self.streams:
                stream.error_due = status
            self.changed.notify_all()

    def bookmark(self) -> None:
        with self.changed:
            for stream in self.streams:
                stream.bookmarks_due += 1
            self.changed.notify_all()


def sever(connection: socket.socket) -> None:
    """End a TLS connection without its closing alert, as a dying server does."""
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return  # the other side was first
