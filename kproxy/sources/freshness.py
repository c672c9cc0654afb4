"""The times at which a list/watch loop last heard, understood and did something. The agent's pages judge it by them."""

from collections.abc import Callable
from dataclasses import dataclass

from kproxy.state.objects import Kind


@dataclass(frozen=True, slots=True)
class Freshness:
    """How current the objects of one kind are, in monotonic seconds. A time is None before its first event.

    `heard_at`: the server last sent bytes. `understood_at`: a list or event was last understood, or a watch was last
    resumed. `tried_at`: the loop last did anything.
    """

    kind: Kind
    resource_version: str
    heard_at: float | None
    tried_at: float | None
    understood_at: float | None = None


class Times:
    """The times of one loop. The loop's thread writes them; any thread may call `freshness`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heard_at: float | None = None
        self._tried_at: float | None = None
        self._understood_at: float | None = None

    def tried(self) -> None:
        """The loop does something."""
        self._tried_at = self._clock()

    def heard(self) -> None:
        """The server sent bytes, of whatever meaning."""
        self._heard_at = self._tried_at = self._clock()

    def understood(self) -> None:
        """A list or an event was understood, or a watch was resumed."""
        self._understood_at = self._clock()

    def freshness(self, kind: Kind, resource_version: str) -> Freshness:
        return Freshness(kind, resource_version, self._heard_at, self._tried_at, self._understood_at)
