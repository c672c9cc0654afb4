"""Whatever is done to a delta, its three views are those of two dictionaries that are kept apart."""

from collections.abc import Mapping

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kproxy.transaction.delta import Delta

KEYS = st.sampled_from("abcdefg")
VALUES = st.sampled_from(["one", "two", "three"])
OBSERVED = st.one_of(VALUES, st.none())


class TwoDictionaries(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.delta = Delta[str, str]()
        self.desired: dict[str, str] = {}
        self.observed: dict[str, str | None] = {}

    @rule(key=KEYS, value=VALUES)
    def want(self, key: str, value: str) -> None:
        self.delta.desired[key] = self.desired[key] = value

    @rule(values=st.dictionaries(KEYS, VALUES))
    def want_all(self, values: Mapping[str, str]) -> None:
        self.delta.desired |= values
        self.desired |= values

    @rule(values=st.dictionaries(KEYS, VALUES))
    def update(self, values: Mapping[str, str]) -> None:
        self.delta.desired.update(values)
        self.desired.update(values)

    @rule(key=KEYS, value=VALUES)
    def set_default(self, key: str, value: str) -> None:
        assert self.desired.setdefault(key, value) == self.delta.desired.setdefault(key, value)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        try:
            del self.desired[key]
        except KeyError:
            return
        del self.delta.desired[key]

    @rule(key=KEYS)
    def pop(self, key: str) -> None:
        assert self.desired.pop(key, None) == self.delta.desired.pop(key, None)

    @rule()
    def pop_any(self) -> None:
        if self.desired:
            key, value = self.delta.desired.popitem()
            assert self.desired.pop(key) == value

    @rule()
    def clear(self) -> None:
        self.delta.desired.clear()
        self.desired.clear()

    @rule(observed=st.dictionaries(KEYS, OBSERVED))
    def find(self, observed: Mapping[str, str | None]) -> None:
        self.delta.found(observed)
        self.observed = dict(observed)

    @rule(observed=st.dictionaries(KEYS, OBSERVED))
    def hold(self, observed: Mapping[str, str | None]) -> None:
        self.delta.holds(observed)
        self.observed |= observed

    @rule(keys=st.sets(KEYS))
    def lack(self, keys: set[str]) -> None:
        self.delta.lacks(keys)
        self.observed = {key: value for key, value in self.observed.items() if key not in keys}

    @rule()
    def settle(self) -> None:
        self.delta.settle()
        self.observed = dict(self.desired)

    @rule()
    def apply_what_is_pending(self) -> None:
        """As a proxy does: afterwards nothing is left."""
        wanted, unwanted = self.delta.wanted, self.delta.unwanted
        self.delta.holds(wanted)
        self.delta.lacks(unwanted.keys() - wanted.keys())
        self.observed = dict(self.desired)
        assert not self.delta.pending

    @invariant()
    def views_are_equal_to_the_dictionaries(self) -> None:
        assert self.desired == dict(self.delta.desired)
        assert self.observed == dict(self.delta.observed)
        assert len(self.observed) == len(self.delta.observed)
        assert {*self.observed} == {key for key in "abcdefg" if key in self.delta.observed}
        assert [self.observed.get(key, "-") for key in "abcdefg"] == [
            self.delta.observed.get(key, "-") for key in "abcdefg"
        ]

    @invariant()
    def pending_is_exactly_what_differs(self) -> None:
        either = self.desired.keys() | self.observed.keys()
        differing = {
            key
            for key in either
            if key not in self.desired or key not in self.observed or self.desired[key] != self.observed[key]
        }
        assert differing == {*self.delta.pending}
        assert {key: self.desired[key] for key in differing & self.desired.keys()} == self.delta.wanted
        assert {key: self.observed[key] for key in differing & self.observed.keys()} == self.delta.unwanted


TestDelta = TwoDictionaries.TestCase
TestDelta.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
