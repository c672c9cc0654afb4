"""How often a case is repeated, and the bar that shows it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.progress import Progress


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `runs` rounds of each case; after `enough_s` seconds no round begins, except the first."""

    runs: int
    enough_s: float
    progress: Progress

    def rounds(self, what: str, most: int | None = None) -> Iterator[int]:
        """The numbers of the rounds: 1, 2, ... up to `most`, or `runs`."""
        began = time.monotonic()
        most = most or self.runs
        task = self.progress.add_task(what, total=most)
        for number in range(1, most + 1):
            if number > 1 and time.monotonic() - began > self.enough_s:
                break
            yield number
            self.progress.advance(task)
        self.progress.remove_task(task)
