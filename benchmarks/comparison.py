"""One case during its measurement: kproxy's samples, and those of each rival."""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from benchmarks.cluster import Size
from benchmarks.sample import Baseline, Figures, Sample, cpu_s, percentiles
from benchmarks.subject import Rival

_ENOUGH_S = 10.0
"""The time of a rival in all rounds together: a slow rival must not leave kproxy with few samples."""


@dataclass(slots=True)
class Comparison:
    case: str
    samples: list[Sample] = field(default_factory=list)
    rivals: dict[str, list[Sample]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def race(self, ours: Callable[[], Sample], rivals: Iterable[Rival]) -> None:
        """One round; from round to round, kproxy and the rivals take turns in going first."""
        if len(self.samples) % 2:
            self.run(rivals)
        self.samples.append(ours())
        if len(self.samples) % 2:
            self.run(rivals)

    def run(self, rivals: Iterable[Rival]) -> None:
        """Each rival once, except those that have used up their time."""
        for rival in rivals:
            if sum(sample.wall_s for sample in self.rivals.get(rival.name, ())) < _ENOUGH_S:
                self.enter(rival.name, timed(rival), rival.note)

    def enter(self, rival: str, sample: Sample, note: str = "") -> None:
        self.rivals.setdefault(rival, []).append(sample)
        self.notes[rival] = note

    def figures(self, subject: str, size: Size, resident: tuple[float, float]) -> Figures:
        p50_s, p99_s = percentiles([sample.wall_s for sample in self.samples])
        stages = self.samples[0].stages_s
        return Figures(
            subject=subject,
            services=size.services,
            endpoints=size.endpoints,
            case=self.case,
            runs=len(self.samples),
            p50_ms=p50_s * 1000,
            p99_ms=p99_s * 1000,
            stages_ms={
                stage: statistics.median(sample.stages_s[stage] for sample in self.samples) * 1000
                for stage in stages
            },
            bytes_written=statistics.median(sample.bytes_written for sample in self.samples),
            rules_written=statistics.median(sample.rules_written for sample in self.samples),
            cpu_ms=statistics.fmean(sample.cpu_s for sample in self.samples) * 1000,
            resident_mb=resident[0],
            most_resident_mb=resident[1],
            baselines={name: self._baseline(name) for name in self.rivals},
        )

    def _baseline(self, name: str) -> Baseline:
        """Compared pair by pair, because the speed of a shared machine changes during a run."""
        pairs = list(zip(self.samples, self.rivals[name], strict=False))
        return Baseline(
            p50_ms=statistics.median(other.wall_s for _, other in pairs) * 1000,
            ratio=statistics.median(ours.wall_s / other.wall_s for ours, other in pairs),
            cpu_ms=statistics.fmean(other.cpu_s for _, other in pairs) * 1000,
            cpu_ratio=statistics.median(ours.cpu_s / other.cpu_s for ours, other in pairs),
            note=self.notes[name],
        )


def timed(rival: Rival) -> Sample:
    began, cpu_before = time.perf_counter(), cpu_s()
    rival.work()
    sample = Sample(time.perf_counter() - began, cpu_s() - cpu_before)
    rival.afterwards()
    return sample
