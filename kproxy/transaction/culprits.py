"""Finds the things that are refused among many, if only groups of them can be tried."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, NamedTuple, TypeVar

Thing = TypeVar("Thing")
Reason = TypeVar("Reason")


class Refusal(NamedTuple, Generic[Thing, Reason]):
    """Why a group is refused; `named` is the one at fault, where the refusal tells."""

    reason: Reason
    named: Thing | None = None


@dataclass(slots=True)
class Findings(Generic[Thing, Reason]):
    """The things that are refused, each with the reason; and groups that nobody tried, as no tries were left."""

    culprits: dict[Thing, Reason] = field(default_factory=dict)
    untried: list[list[Thing]] = field(default_factory=list)


def find_culprits(
    groups: Iterable[Sequence[Thing]],
    attempt: Callable[[Sequence[Thing]], Refusal[Thing, Reason] | None],
    may_try: Callable[[], bool],
) -> Findings[Thing, Reason]:
    """Try the groups, and parts of those that are refused, down to single things; what passed stays.

    The largest groups come first, so most things pass soon, also in a search that is cut short.
    If a refusal names the thing at fault, the rest is tried as a whole once; if more are at fault, halves of the rest
    pass sooner.
    """
    found = Findings[Thing, Reason]()
    order = count()
    waiting = [(-len(group), next(order), list(group)) for group in groups if group]
    heapq.heapify(waiting)
    while waiting and may_try():
        _, _, group = heapq.heappop(waiting)
        refusal = attempt(group)
        if refusal is None:
            continue
        culprit = group[0] if len(group) == 1 else refusal.named if refusal.named in group else None
        is_lone = culprit is not None and not found.culprits
        if culprit is not None:
            found.culprits[culprit] = refusal.reason
            group.remove(culprit)
        for part in [group] if is_lone else _halves(group):
            if part:
                heapq.heappush(waiting, (-len(part), next(order), part))
    found.untried = [group for _, _, group in sorted(waiting)]
    return found


def _halves(group: list[Thing]) -> list[list[Thing]]:
    middle = len(group) // 2
    return [group[:middle], group[middle:]]
