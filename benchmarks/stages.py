"""The time of each stage of one sync, and the bytes that it gives to the kernel."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kproxy.render.templates import rule_templates
from kproxy.ruleset.inputs import Render

RENDER, RESTORE, WAIT = "render", "restore", "wait"


class Stages:
    """Counts since `clear`: seconds by stage, bytes, and the time when the last stage of each name ended."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.ended: dict[str, float] = {}
        self._sizes: list[Callable[[], int]] = []

    def clear(self) -> None:
        self.seconds.clear()
        self.ended.clear()
        self._sizes.clear()

    def hands_over(self, size: Callable[[], int]) -> None:
        """Note this text; its bytes are counted when nothing is timed any more."""
        self._sizes.append(size)

    @property
    def bytes(self) -> int:
        return sum(size() for size in self._sizes)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.ended[stage] = time.perf_counter()
            self.seconds[stage] += self.ended[stage] - began


def watched_templates(stages: Stages) -> Render:
    render = rule_templates()

    def watched(name: str, values: dict[str, object]) -> str:
        with stages.timed(RENDER):
            return render(name, values)

    return watched
