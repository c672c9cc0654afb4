"""Where the time of one sync goes, and what it hands to the kernel."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from kproxy.render.templates import rule_templates
from kproxy.ruleset.iptables import Render

RENDER, RESTORE = "render", "restore"


class Stages:
    """Since `clear`: seconds by stage, bytes, and when the last stage of each name ended."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.ended: dict[str, float] = {}
        self.bytes = 0

    def clear(self) -> None:
        self.seconds.clear()
        self.ended.clear()
        self.bytes = 0

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
