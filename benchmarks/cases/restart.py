"""The agent starts again, and nothing has changed."""

from benchmarks.comparison import Comparison
from benchmarks.ground import Ground
from benchmarks.pace import Pace


def measure(ground: Ground, pace: Pace) -> list[Comparison]:
    found = Comparison("restart, nothing changed")
    rivals = ground.baselines.of_restart()
    for _ in pace.rounds(found.case):
        sample = ground.restart()
        if sample.rules_written and not ground.subject.starts_afresh:
            raise RuntimeError(
                f"{ground.subject.name}: a restart wrote {sample.rules_written} rules; it should write none"
            )
        found.samples.append(sample)
        found.run(rivals)
    return [found]
