"""An endpoint of each of a thousand Services is replaced at once: one sync, all in the kernel."""

from functools import partial

from benchmarks.cluster import entry
from benchmarks.comparison import Comparison
from benchmarks.ground import Ground
from benchmarks.pace import Pace
from kproxy.state.events import Changed

_MOST = 1000
_FIRST_GENERATION = 1000


def measure(ground: Ground, pace: Pace) -> list[Comparison]:
    services, endpoints = ground.size
    count = min(_MOST, services)
    found = Comparison(f"burst of {count:,}")
    baselines = ground.baselines
    for run in pace.rounds(found.case):
        numbers = [at * services // count for at in range(count)]
        before = [ground.entry(number) for number in numbers]
        after = [entry(number, endpoints, generation=_FIRST_GENERATION + run) for number in numbers]
        changes = [Changed(each.slice) for each in after]
        found.race(partial(ground.sync, *changes), baselines.of_change(list(zip(before, after, strict=True))))
    return [found]
