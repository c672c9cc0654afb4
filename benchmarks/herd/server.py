"""A model of an API server: how much it does at once, which requests it refuses, when it is away.

Its numbers are kube-apiserver's defaults. API Priority and Fairness gives 98 of its 600 seats to the level
workload-high, which has the service accounts of kube-system. All service proxies of a cluster are one flow, of which 6
queues of 50 requests may wait. Further requests get 429, with a Retry-After that doubles meanwhile, up to 32 s.
"""

from collections import deque
from enum import StrEnum
from typing import NamedTuple

from benchmarks.herd.tally import Seen, Tally
from benchmarks.herd.world import Turn, World
from kproxy.errors import ApiFailed

BOOKMARK_S = 60.0
"""How often a watch gets the newest resourceVersion."""

CONNECT_TIMEOUT_S = 10.0
"""How long a client waits for an answer to its SYN."""

_SEATS = 98
_QUEUED = 300
_QUEUED_FOR_S = 15.0
"""A quarter of the time limit of a request, which is a minute."""

_RETRY_AFTER_CAP_S = 32


class Condition(StrEnum):
    UP = "up"
    DOWN = "refuses connections"
    DRAINED = "has ended all watches in order, and refuses connections"
    GONE = "answers nothing"
    OVERLOADED = "refuses all requests"


class Work(NamedTuple):
    """The time that a request takes."""

    seats: int
    seconds: float


class RetryAfter:
    """Seconds that the refused are asked to wait: doubled while many are refused, one less while few are.

    Source: dropped_requests_tracker.go of k8s.io/apiserver.
    """

    def __init__(self) -> None:
        self.seconds = 1
        self._second = 0
        self._count = 0
        self._history: deque[tuple[int, int]] = deque()
        self._raised_at = 0

    def refused(self, now: float) -> int:
        """Count one refusal now; returns the Retry-After for it."""
        told = self.seconds
        if int(now) == self._second:
            self._count += 1
            return told
        self._history.append((self._second, self._count))
        self._second, self._count = int(now), 1
        while self._second - self._history[0][0] > _RETRY_AFTER_CAP_S and len(self._history) > 1:
            self._history.popleft()
        self._adapt()
        return told

    def _adapt(self) -> None:
        refused = sum(count for second, count in self._history if self._second - second <= self.seconds)
        if self._second - self._raised_at >= self.seconds and refused >= 3 * self.seconds:
            self.seconds = min(2 * self.seconds, _RETRY_AFTER_CAP_S)
            self._raised_at = self._second
        elif refused < self.seconds and self.seconds > 1:
            self.seconds -= 1


class ApiServer:
    """One server of a cluster. Each action of a client takes simulated time, in the greenlet of that client."""

    def __init__(self, world: World, tally: Tally) -> None:
        self._world = world
        self._tally = tally
        self._free = _SEATS
        self._queue: deque[tuple[Turn, int]] = deque()
        self._watches: dict[Turn, None] = {}  # in order, or a seed would not decide all
        self._retry_after = RetryAfter()
        self._told_s = 0
        self.born = 0
        """How often the server has ended; connections from before are broken."""
        self._oldest = 0
        self.condition = Condition.UP

    @property
    def revision(self) -> int:
        """The cluster's resourceVersion; Leases alone increase it at any moment."""
        return int(self._world.now) + 1

    @property
    def is_there(self) -> bool:
        """Whether the server takes connections."""
        return self.condition in (Condition.UP, Condition.OVERLOADED)

    def end(self, condition: Condition) -> None:
        """Go away, and cut all watches, or leave them open and silent."""
        self.condition = condition
        self.born += 1
        self._free = _SEATS
        for turn, _ in (*self._queue, *((each, 0) for each in self._watches)):
            self._world.wake(turn, condition)
        self._queue.clear()
        self._watches.clear()

    def cut_watches(self) -> None:
        """End silent connections, as a load balancer in between does; the server stays."""
        for turn in self._watches:
            self._world.wake(turn, Condition.DOWN)
        self._watches.clear()

    def begin(self, *, forgets: bool) -> None:
        """Come back. A server that `forgets` cannot serve watches from before: its cache begins now."""
        self.condition = Condition.UP
        self._retry_after = RetryAfter()
        if forgets:
            self._oldest = self.revision

    def refuse_all(self, retry_after_s: int) -> None:
        """Cut all watches, and answer 429 to everything from now on."""
        self.end(Condition.OVERLOADED)
        self._told_s = retry_after_s

    def expired(self, resource_version: int) -> bool:
        return resource_version < self._oldest

    def serve(self, work: Work, *, is_list: bool) -> None:
        """Answer a request; ApiFailed for one that is refused or gets no answer."""
        now = self._world.now
        if not self.is_there:
            self._tally.note(Seen.KNOCK, now)
            self._world.sleep(CONNECT_TIMEOUT_S if self.condition is Condition.GONE else 0.001)
            raise ApiFailed("cannot be reached")
        self._tally.note(Seen.REQUEST, now)
        if is_list:
            self._tally.note(Seen.LIST, now)
        if self.condition is Condition.OVERLOADED:
            self._refuse(self._told_s)
        born = self.born
        self._sit_down(work.seats)
        self._world.sleep(work.seconds)
        if born != self.born:
            raise ApiFailed("closed the connection")
        self._stand_up(work.seats)

    def watch(self, seconds: float) -> Condition:
        """Hold a watch open until its time is up, or until this server goes away."""
        turn = self._world.turn()
        self._watches[turn] = None
        word = self._world.park(turn, seconds)
        self._watches.pop(turn, None)
        return Condition(word or Condition.UP)

    def _sit_down(self, seats: int) -> None:
        if not self._queue and self._free >= seats:
            self._free -= seats
            return
        if len(self._queue) >= _QUEUED:
            self._refuse(self._retry_after.refused(self._world.now))
        turn = self._world.turn()
        self._queue.append((turn, seats))
        word = self._world.park(turn, _QUEUED_FOR_S)
        if not word:
            self._queue.remove((turn, seats))
            self._refuse(self._retry_after.refused(self._world.now))
        if word != _GRANTED:
            raise ApiFailed("closed the connection")

    def _stand_up(self, seats: int) -> None:
        self._free += seats
        while self._queue and self._queue[0][1] <= self._free:
            turn, wanted = self._queue.popleft()
            self._free -= wanted
            self._world.wake(turn, _GRANTED)

    def _refuse(self, retry_after_s: int) -> None:
        self._tally.note(Seen.REFUSAL, self._world.now)
        self._world.sleep(0.001)
        raise ApiFailed("answers 429", status=429, retry_after_s=retry_after_s)


_GRANTED = "granted"
