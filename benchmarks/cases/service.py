"""One Service is removed, and added again."""

from benchmarks.cluster import Entry
from benchmarks.comparison import Comparison
from benchmarks.ground import Ground
from benchmarks.pace import Pace


def measure(ground: Ground, pace: Pace) -> list[Comparison]:
    """The rivals change another Service, half the cluster away, so that each rival finds the rules that it wrote."""
    removed, added = Comparison("service removed"), Comparison("service added")

    def ours(service: Entry) -> None:
        removed.samples.append(ground.sync(*service.leaves))
        added.samples.append(ground.sync(*service.arrives))

    def rivals(service: Entry) -> None:
        removed.run(ground.baselines.of_change([(service, None)]))
        added.run(ground.baselines.of_change([(None, service)]))

    services = ground.size.services
    for run in pace.rounds("service removed and added"):
        number = run * 7 % services
        mine, other = ground.entry(number), ground.entry((number + services // 2) % services)
        if run % 2:
            ours(mine)
            rivals(other)
        else:
            rivals(other)
            ours(mine)
    return [removed, added]
