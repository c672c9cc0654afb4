"""The order of the tests of a run in several processes."""

from collections import Counter

import pytest

from shares import Rank, in_shares

TESTS = [(rank, number) for number in range(100) for rank in (Rank.SHORT, Rank.LONG, Rank.IN_A_NAMESPACE)]
TESTS += [(Rank.ALONE, number) for number in range(4)]


def rank_of(test: tuple[Rank, int]) -> Rank:
    return test[0]


@pytest.mark.parametrize("shares", [1, 2, 3, 4, 8])
def test_order_in_shares_has_each_test_once(shares: int) -> None:
    assert Counter(TESTS) == Counter(in_shares(TESTS, shares, rank_of))


@pytest.mark.parametrize("shares", [1, 2, 4])
def test_each_share_begins_with_long_tests_and_ends_with_those_that_must_be_alone(shares: int) -> None:
    """With as many tests of each rank as can be shared out evenly, a share is what `worksteal` gives to a process."""
    ordered = in_shares(TESTS, shares, rank_of)
    size = len(TESTS) // shares
    for begins in range(0, len(TESTS) - size + 1, size):
        ranks = [rank for rank, _ in ordered[begins : begins + size]]
        assert sorted(ranks) == ranks
        assert (Rank.LONG, Rank.ALONE) == (ranks[0], ranks[-1])


@pytest.mark.parametrize("shares", [2, 3, 4, 7])
def test_shares_of_a_rank_differ_by_one_test_at_most(shares: int) -> None:
    ordered = in_shares(TESTS, shares, rank_of)
    ends = [at for at in range(1, len(ordered)) if rank_of(ordered[at]) < rank_of(ordered[at - 1])]
    assert shares == len(ends) + 1
    parts = [ordered[begin:end] for begin, end in zip([0, *ends], [*ends, len(ordered)], strict=True)]
    counts = [Counter(map(rank_of, part)) for part in parts]
    assert all(
        max(each) - min(each) <= 1 for each in zip(*([c[r] for r in Rank] for c in counts), strict=True)
    )


def test_tests_of_one_rank_that_stood_beside_each_other_stay_so() -> None:
    ordered = in_shares(TESTS, 4, rank_of)
    assert [each for each in TESTS if rank_of(each) is Rank.LONG] == [
        each for each in ordered if rank_of(each) is Rank.LONG
    ]
