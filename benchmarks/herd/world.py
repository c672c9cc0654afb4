"""Simulated time: each waiting thing is a greenlet, and the clock jumps to the next one that is due.

Code that blocks runs as it is, as long as it waits by `World.park`. Nothing runs at the same time, so that a seed
decides everything.
"""

import heapq
import itertools
import random
import threading
from collections.abc import Callable

from greenlet import GreenletExit, getcurrent, greenlet


class Turn:
    """A wait that ends at its time, or earlier by `World.wake`."""

    __slots__ = ("_waiting", "word")

    def __init__(self, waiting: greenlet) -> None:
        self._waiting: greenlet | None = waiting
        self.word = ""

    @property
    def is_over(self) -> bool:
        return self._waiting is None

    def take(self) -> greenlet | None:
        """The greenlet on the first call, None on later ones."""
        waiting, self._waiting = self._waiting, None
        return waiting


class World:
    """The clock, the random numbers, and everything that waits. Seconds from 0."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)  # noqa: S311 # a seeded simulation, no secret
        self._hub = getcurrent()
        self._due: list[tuple[float, int, Turn]] = []
        self._numbers = itertools.count()
        self._all: list[greenlet] = []

    def clock(self) -> float:
        return self.now

    def spawn(self, run: Callable[[], object], *, at_s: float) -> None:
        """Run `run` from this time on."""
        started = greenlet(run, self._hub)
        self._all.append(started)
        self._schedule(at_s, Turn(started))

    def sleep(self, seconds: float) -> None:
        self.park(Turn(getcurrent()), seconds)

    def wait(self, _stopping: threading.Event, seconds: float) -> None:
        """A pause of a list/watch loop, as `Timing.wait` has it; no loop of a simulation is asked to stop."""
        self.sleep(seconds)

    def turn(self) -> Turn:
        """A wait of the caller, for `park`; others may keep it, to wake the caller."""
        return Turn(getcurrent())

    def park(self, turn: Turn, seconds: float) -> str:
        """Wait; returns the word from `wake`, or an empty text if the time was up."""
        self._schedule(self.now + seconds, turn)
        self._hub.switch()
        return turn.word

    def wake(self, turn: Turn, word: str) -> None:
        """End a wait now; one that is over already stays over."""
        waiting = turn.take()
        if waiting is not None:
            turn.word = word
            self._schedule(self.now, Turn(waiting))

    def run(self, until_s: float) -> None:
        """Let time pass in the simulation."""
        while self._due and self._due[0][0] <= until_s:
            self.now, _, turn = heapq.heappop(self._due)
            waiting = turn.take()
            if waiting is not None:
                waiting.switch()
        self.now = until_s

    def end(self) -> None:
        """End everything that waits."""
        for each in self._all:
            if each:
                each.throw(GreenletExit)

    def _schedule(self, at_s: float, turn: Turn) -> None:
        heapq.heappush(self._due, (at_s, next(self._numbers), turn))
