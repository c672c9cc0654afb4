"""One Service is removed, and added again."""

from benchmarks.comparison import Comparison
from benchmarks.ground import Ground
from benchmarks.pace import Pace


def measure(ground: Ground, pace: Pace) -> list[Comparison]:
    """The rivals do it to a Service half the cluster away, so that each finds the rules as its own."""
    removed, added = Comparison("service removed"), Comparison("service added")
    baselines = ground.baselines
    services = ground.size.services
    for run in pace.rounds("service removed and added"):
        number = run * 7 % services
        ours, theirs = ground.entry(number), ground.entry((number + services // 2) % services)
        removed.samples.append(ground.sync(*ours.leaves))
        added.samples.append(ground.sync(*ours.arrives))
        removed.race(baselines.of_change([(theirs, None)]))
        added.race(baselines.of_change([(None, theirs)]))
    return [removed, added]
