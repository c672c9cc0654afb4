"""From the command line's choices to figures, case by case."""

import sys
from collections.abc import Callable, Collection, Iterator, Sequence

from benchmarks.cases import (
    agent,
    bad_objects,
    burst,
    encodings,
    endpoint,
    endpoint_count,
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
    "endpoint-count": endpoint_count.measure,
    "service": service.measure,
    "rolling-update": rolling_update.measure,
    "burst": burst.measure,
    "first-packet": first_packet.measure,
}
RENDER, AGENT, BAD_OBJECTS, ENCODINGS = "render", "agent", "bad-objects", "encodings"

_MODULES = {
    **IN_PROCESS,
    BAD_OBJECTS: bad_objects.measure,
    RENDER: render.measure,
    ENCODINGS: encodings.measure,
    AGENT: agent.measure,
}
CASES = {
    name: (sys.modules[measure.__module__].__doc__ or "").partition("\n")[0]
    for name, measure in _MODULES.items()
}
"""One sentence on each case."""


def measured(
    subjects: Sequence[Subject], sizes: Sequence[Size], cases: Collection[str], pace: Pace
) -> Iterator[Figures]:
    """The figures of each case, as soon as they exist."""
    for size in sizes:
        if ENCODINGS in cases:
            for listing, most_mb in encodings.measure(size, pace):
                yield listing.figures("a list, in protobuf and gzip", size, (most_mb, most_mb))
        for mode in dict.fromkeys(subject.mode for subject in subjects) if RENDER in cases else ():
            comparison, most_mb = render.measure(mode, size, pace)
            yield comparison.figures(f"kproxy render --mode {mode}", size, (most_mb, most_mb))
        for subject in subjects:
            yield from _of_subject(subject, size, cases, pace)


def _of_subject(subject: Subject, size: Size, cases: Collection[str], pace: Pace) -> Iterator[Figures]:
    """The cases in this process follow each other in one kernel, whose first sync is the first of them."""
    chosen = [measure for name, measure in IN_PROCESS.items() if name in cases]
    if chosen:
        with synced(subject, size) as ground:
            for measure in chosen:
                for comparison in measure(ground, pace):
                    yield comparison.figures(subject.name, size, resident_mb())
    if BAD_OBJECTS in cases:
        for comparison in bad_objects.measure(subject, size, pace):
            yield comparison.figures(subject.name, size, resident_mb())
    if AGENT in cases:
        for comparison, resident in agent.measure(subject, size, pace):
            yield comparison.figures(subject.name, size, resident)
