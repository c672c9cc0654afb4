"""The first sync and a second list of a cluster with one bad object for every two Services."""

from benchmarks.cluster import Size
from benchmarks.comparison import Comparison
from benchmarks.faults import Lists, good_lists, lists_with_bad
from benchmarks.listed import NODE, Listing, listed_agent
from benchmarks.pace import Pace
from benchmarks.sample import Sample
from benchmarks.subject import Subject

_RIVAL = "good alone"


def measure(subject: Subject, size: Size, pace: Pace) -> list[Comparison]:
    """In turn with the good objects alone; an agent that began without rules takes each list in twice."""
    bad = max(size.services // 2, 1)
    cases = [
        Comparison(f"{name}, {bad:,} bad")
        for name in ("lists to first sync", "first sync", "the same lists again")
    ]
    lists = {False: good_lists(size, NODE), True: lists_with_bad(size, bad, NODE)}
    for run in pace.rounds(cases[0].case):
        found = {
            is_bad: _listed_twice(subject, lists[is_bad]) for is_bad in sorted(lists, reverse=bool(run % 2))
        }
        logged = f"wrote {_lines(found[False])} lines of log, with the bad {_lines(found[True])}"
        for case, ours, alone in zip(cases, _samples(*found[True]), _samples(*found[False]), strict=True):
            case.samples.append(ours)
            case.enter(_RIVAL, alone, logged if case is cases[0] else "")
    return cases


def _listed_twice(subject: Subject, lists: Lists) -> tuple[Listing, Listing]:
    with listed_agent(subject) as agent:
        return agent.list(lists), agent.list(lists)


def _samples(first: Listing, again: Listing) -> tuple[Sample, Sample, Sample]:
    return first.whole, first.sync, again.whole


def _lines(listings: tuple[Listing, Listing]) -> str:
    return " and ".join(str(each.lines_logged) for each in listings)
