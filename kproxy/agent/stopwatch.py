"""How long each stage of a sync took."""

from collections.abc import Callable
from enum import IntEnum


class Stage(IntEnum):
    """A part of a sync: rules are computed, the kernel is read, the kernel is written."""

    COMPUTE = 0
    OBSERVE = 1
    APPLY = 2


class Stopwatch:
    """Adds up the seconds of each stage; it begins in COMPUTE."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._stage = Stage.COMPUTE
        self._since = clock()
        self._spent_s = [0.0] * len(Stage)

    def enter(self, stage: Stage) -> None:
        """The time from now on is of this stage."""
        now = self._clock()
        self._spent_s[self._stage] += now - self._since
        self._stage, self._since = stage, now

    def spent_s(self, stage: Stage) -> float:
        """In that stage, whenever it was entered, until now."""
        self.enter(self._stage)
        return self._spent_s[stage]
