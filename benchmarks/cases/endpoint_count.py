"""One Service gets one more endpoint, and loses it again."""

from collections.abc import Sequence

from benchmarks.cluster import Entry, entry
from benchmarks.comparison import Comparison
from benchmarks.ground import Ground
from benchmarks.pace import Pace
from kproxy.state.events import Changed


def measure(ground: Ground, pace: Pace) -> list[Comparison]:
    """First while another Service has the same count; then without one, if each count has rules of its own."""
    services, endpoints = ground.size
    alone = []
    if ground.subject.shares_by_count:
        alone = _measured(
            ground, pace, "endpoint added, first of its count", "endpoint removed, last of its count"
        )
    neighbour = entry(services, endpoints + 1)
    ground.sync(*neighbour.arrives)
    found = _measured(ground, pace, "endpoint added", "endpoint removed", beside=[neighbour])
    ground.sync(*neighbour.leaves)
    return [*found, *alone]


def _measured(
    ground: Ground, pace: Pace, grows: str, shrinks: str, beside: Sequence[Entry] = ()
) -> list[Comparison]:
    """The rivals change another Service, half the cluster away, so that each rival finds the rules that it wrote."""
    added, removed = Comparison(grows), Comparison(shrinks)

    def ours(small: Entry, large: Entry) -> None:
        added.samples.append(ground.sync(Changed(large.slice)))
        removed.samples.append(ground.sync(Changed(small.slice)))

    def rivals(small: Entry, large: Entry) -> None:
        added.run(ground.baselines.of_change([(small, large)], beside))
        removed.run(ground.baselines.of_change([(large, small)], beside))

    services, endpoints = ground.size
    for run in pace.rounds(f"{grows} and removed"):
        number = run * 7 % services
        mine, others = (
            (ground.entry(each), entry(each, endpoints + 1, generation=run, replaced=0))
            for each in (number, (number + services // 2) % services)
        )
        if run % 2:
            ours(*mine)
            rivals(*others)
        else:
            rivals(*others)
            ours(*mine)
    return [added, removed]
