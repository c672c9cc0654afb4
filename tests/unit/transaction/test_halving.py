"""Culprits are found by asking for ever smaller parts."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from kproxy.transaction.halving import find_culprits


@given(count=st.integers(0, 200), guilty=st.sets(st.integers(0, 199), max_size=5))
def test_culprits_are_found_with_few_questions(count: int, guilty: set[int]) -> None:
    asked = 0

    def is_refused(part: Sequence[int]) -> bool:
        nonlocal asked
        asked += 1
        return bool(guilty & set(part))

    found = find_culprits(range(count), is_refused)
    assert sorted(guilty & set(range(count))) == found
    assert asked <= 1 + 16 * len(found)
