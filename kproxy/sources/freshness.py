"""When a list/watch loop last heard, understood and did anything: the pages of the agent judge it by that."""

from collections.abc import Callable
from dataclasses import dataclass

from kproxy.state.objects import Kind


@dataclass(frozen=True, slots=True)
class Freshness:
    """How current one kind is, in monotonic times, None before the first.

    `heard_at` is when the server last said anything, `understood_at` when the last list or event was understood or a
    watch went on from one, `tried_at` when the loop last did anything at all.
    """

    kind: Kind
    resource_version: str
    heard_at: float | None
    tried_at: float | None
    understood_at: float | None = None


class Times:
    """Those of one loop, which notes them in its thread; `freshness` may be asked for from any thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heard_at: float | None = None
        self._tried_at: float | None = None
        self._understood_at: float | None = None

    def tried(self) -> None:
        """The loop does something."""
        self._tried_at = self._clock()

    def heard(self) -> None:
        """The server said something, of whatever kind."""
        self._heard_at = self._tried_at = self._clock()

    def understood(self) -> None:
        """A list or an event was understood, or a watch went on from one."""
        self._understood_at = self._clock()

    def freshness(self, kind: Kind, resource_version: str) -> Freshness:
        return Freshness(kind, resource_version, self._heard_at, self._tried_at, self._understood_at)
