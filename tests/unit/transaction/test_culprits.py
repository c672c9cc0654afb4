"""Culprits are found by asking for ever smaller parts."""

from collections.abc import Sequence
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from kproxy.transaction.culprits import Refusal, find_culprits


class Judge:
    """Refuses every group with a guilty one in it; names one of them if it `names`. What passed is `admitted`."""

    def __init__(self, guilty: set[int], *, names: bool = False) -> None:
        self.guilty = guilty
        self.names = names
        self.asked: list[list[int]] = []
        self.admitted: set[int] = set()

    def __call__(self, group: Sequence[int]) -> Refusal[int, str] | None:
        self.asked.append([*group])
        found = self.guilty & set(group)
        if found:
            return Refusal("no", min(found) if self.names else None)
        self.admitted |= set(group)
        return None


def always() -> bool:
    return True


@given(size=st.integers(0, 200), guilty=st.sets(st.integers(0, 199), max_size=5), names=st.booleans())
def test_culprits_are_found_with_few_tries_and_all_others_pass(
    size: int, guilty: set[int], names: bool
) -> None:
    judge = Judge(guilty, names=names)
    found = find_culprits([range(size)], judge, always)
    there = guilty & set(range(size))
    assert (dict.fromkeys(there, "no"), []) == (found.culprits, found.untried)
    assert set(range(size)) - guilty == judge.admitted
    assert len(judge.asked) <= 1 + (2 if names else 16) * len(there)


@given(
    guilty=st.sets(st.integers(0, 99)),
    tries=st.integers(3, 30),
    names=st.booleans(),
)
def test_searches_that_are_cut_short_go_on_until_all_are_found(
    guilty: set[int], tries: int, names: bool
) -> None:
    judge = Judge(guilty, names=names)
    untried: list[list[int]] = [[*range(100)]]
    culprits: set[int] = set()
    for _ in range(100):
        left = count(1)
        found = find_culprits(untried, judge, lambda left=left: next(left) <= tries)  # type: ignore[misc]
        untried = found.untried
        culprits |= found.culprits.keys()
        assert set(range(100)) == culprits | judge.admitted | {each for group in untried for each in group}
    assert (guilty, []) == (culprits, untried)


def test_largest_group_is_tried_first_so_that_most_pass_soon() -> None:
    judge = Judge({0})
    tries = count(1)
    find_culprits([range(100)], judge, lambda: next(tries) <= 3)
    assert set(range(50, 100)) == judge.admitted


def test_named_thing_that_is_not_in_the_group_is_not_blamed() -> None:
    found = find_culprits([[1, 2]], lambda group: Refusal("no", 7) if 1 in group else None, always)
    assert {1: "no"} == found.culprits


def test_lone_culprit_that_a_refusal_names_costs_one_more_try_for_all_others() -> None:
    judge = Judge({3}, names=True)
    find_culprits([range(8)], judge, always)
    assert [[*range(8)], [0, 1, 2, 4, 5, 6, 7]] == judge.asked


def test_second_culprit_that_a_refusal_names_lets_halves_be_tried() -> None:
    judge = Judge({0, 1}, names=True)
    find_culprits([range(8)], judge, always)
    assert [8, 7, 3, 3] == [len(group) for group in judge.asked]
