"""All rules are written into a kernel that has none."""

from benchmarks.comparison import Comparison, timed
from benchmarks.ground import Ground, empty_kernel, synced
from benchmarks.pace import Pace


def measure(ground: Ground, pace: Pace) -> list[Comparison]:
    """In turn with several bare ways to write the same rules, of which the fastest counts."""
    found = Comparison("first sync")
    rivals = ground.baselines.of_first_sync()
    for number in pace.rounds(found.case):
        if number == 1:
            found.samples.append(ground.first)
        else:
            with synced(ground.subject, ground.size) as another:
                found.samples.append(another.first)
        samples = {}
        for rival in rivals:
            with empty_kernel():
                samples[rival] = timed(rival)
        fastest = min(rivals, key=lambda rival: samples[rival].wall_s)
        found.enter(fastest.name, samples[fastest], f"the best: {fastest.note}" if fastest.note else "")
        rivals = [fastest]
    return [found]
