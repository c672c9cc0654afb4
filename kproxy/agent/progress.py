"""How far a sync has come, and what took how long."""

from collections.abc import Callable

from kproxy.agent.stopwatch import Stopwatch
from kproxy.errors import ProgramFailed
from kproxy.ruleset.inputs import Render
from kproxy.transaction.iptables.transaction import Section, Transaction


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


class Progress(Stopwatch):
    """Of one sync of one family: the sections that were committed so far, and how long each stage took.

    `refused` is the section that was not taken, if the last write failed and told, and `refused_line` the line that it
    told. `not_deleted` says why chains that nothing leads to are still there.
    """

    not_deleted: ProgramFailed | None = None

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.sections: list[Section] = []
        self.refused: Section | None = None
        self.refused_line = ""

    @property
    def transaction(self) -> Transaction:
        return Transaction(tuple(self.sections))
