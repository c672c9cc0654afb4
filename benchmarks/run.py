"""From what is asked for to figures, case by case."""

from collections.abc import Callable, Collection, Iterator

from benchmarks.cases import (
    agent,
    burst,
    endpoint,
    first_packet,
    first_sync,
    render,
    restart,
    rolling_update,
    service,
)
from benchmarks.cluster import Size
from benchmarks.comparison import Comparison
from benchmarks.ground import Ground, synced
from benchmarks.pace import Pace
from benchmarks.sample import Figures, resident_mb
from benchmarks.subject import Subject

IN_PROCESS: dict[str, Callable[[Ground, Pace], list[Comparison]]] = {
    "first-sync": first_sync.measure,
    "restart": restart.measure,
    "endpoint": endpoint.measure,
    "service": service.measure,
    "rolling-update": rolling_update.measure,
    "burst": burst.measure,
    "first-packet": first_packet.measure,
}
RENDER, AGENT = "render", "agent"

CASES = {
    **{name: measure.__module__ for name, measure in IN_PROCESS.items()},
    RENDER: render.__name__,
    AGENT: agent.__name__,
}
"""Each case's module, whose first line says what it measures."""


def render_figures(size: Size, pace: Pace) -> Figures:
    comparison, most_mb = render.measure(size, pace)
    return comparison.figures("kproxy render", size, (most_mb, most_mb))


def figures_of(subject: Subject, size: Size, cases: Collection[str], pace: Pace) -> Iterator[Figures]:
    """Of the cases that need a kernel, all in process ones with the same rules in it."""
    chosen = [measure for name, measure in IN_PROCESS.items() if name in cases]
    if chosen:
        with synced(subject, size) as ground:
            for measure in chosen:
                for comparison in measure(ground, pace):
                    yield comparison.figures(subject.name, size, resident_mb())
    if AGENT in cases:
        for comparison, resident in agent.measure(subject, size, pace):
            yield comparison.figures(subject.name, size, resident)
