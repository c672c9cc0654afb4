"""The endpoints of a large Service are replaced one after another, each by a sync of its own."""

from functools import partial

from benchmarks.cluster import entry
from benchmarks.comparison import Comparison
from benchmarks.ground import Ground
from benchmarks.pace import Pace
from kproxy.state.events import Changed

_ENDPOINTS = 100


def measure(ground: Ground, pace: Pace) -> list[Comparison]:
    found = Comparison(f"rolling update of {_ENDPOINTS}")
    baselines = ground.baselines
    number = ground.size.services
    before = entry(number, _ENDPOINTS)
    ground.sync(*before.arrives)
    for replaced in pace.rounds(found.case, _ENDPOINTS):
        after = entry(number, _ENDPOINTS, generation=1, replaced=replaced)
        change = Changed(after.slice)
        found.race(partial(ground.sync, change), baselines.of_change([(before, after)]))
        before = after
    ground.sync(*before.leaves)
    return [found]
