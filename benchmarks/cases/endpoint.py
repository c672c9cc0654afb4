"""One endpoint of one Service is replaced."""

from functools import partial

from benchmarks.cluster import entry
from benchmarks.comparison import Comparison
from benchmarks.ground import Ground
from benchmarks.pace import Pace
from kproxy.state.events import Changed


def measure(ground: Ground, pace: Pace) -> list[Comparison]:
    found = Comparison("endpoint replaced")
    baselines = ground.baselines
    services, endpoints = ground.size
    for run in pace.rounds(found.case):
        number = run * 7 % services
        before, after = ground.entry(number), entry(number, endpoints, generation=run)
        change = Changed(after.slice)
        found.race(partial(ground.sync, change), baselines.of_change([(before, after)]))
    return [found]
