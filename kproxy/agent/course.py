"""How far a sync has come, and what took how long."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kproxy.ruleset.chains import Chain
from kproxy.ruleset.iptables import Render
from kproxy.transaction.transaction import Section, Transaction


class TimedRender:
    """Renders, and adds up how long that took."""

    def __init__(self, render: Render, clock: Callable[[], float]) -> None:
        self._render = render
        self._clock = clock
        self.spent_s = 0.0

    def __call__(self, template: str, values: dict[str, object]) -> str:
        began = self._clock()
        try:
            return self._render(template, values)
        finally:
            self.spent_s += self._clock() - began


class Course:
    """Of one sync of one family: the sections that were committed so far, and what was known when the last ones were decided on."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._paused_s = 0.0
        self.sections: list[Section] = []
        self.known: dict[Chain, str | None] = {}
        self.compute_s = 0.0
        self.observe_s = 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is computed meanwhile."""
        began = self._clock()
        yield
        self._paused_s += self._clock() - began

    def computed(self) -> None:
        self.compute_s = self.took_s - self._paused_s

    def observed(self, known: dict[Chain, str | None]) -> None:
        self.known = known
        self.observe_s = self.took_s - self._paused_s - self.compute_s

    @property
    def took_s(self) -> float:
        return self._clock() - self._began

    @property
    def transaction(self) -> Transaction:
        return Transaction(tuple(self.sections))
