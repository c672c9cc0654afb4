"""The progress of a sync: the sections that were committed, and the time of each stage."""

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
    """The progress of one sync of one family: the sections that were committed so far, and the seconds of each stage.

    If the program named a line when the last write failed, `refused` is the section with this line, and `refused_line`
    is the line. `not_deleted` says why chains that nothing leads to are still there.
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
