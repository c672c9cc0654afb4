"""Which of many things is at fault, when only their sum can be tried."""

from collections.abc import Callable, Sequence
from typing import TypeVar

_Thing = TypeVar("_Thing")


def find_culprits(things: Sequence[_Thing], is_refused: Callable[[Sequence[_Thing]], bool]) -> list[_Thing]:
    """The things that are refused also alone; `is_refused` is asked of ever smaller parts that are refused together."""
    if not things or not is_refused(things):
        return []
    if len(things) == 1:
        return list(things)
    middle = len(things) // 2
    return find_culprits(things[:middle], is_refused) + find_culprits(things[middle:], is_refused)
