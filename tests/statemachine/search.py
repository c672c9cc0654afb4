"""The search for a scenario that breaks a promise, and for the shortest one like it."""

import math
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings

from statemachine.filters import Filter
from statemachine.notation import written
from statemachine.strategies import Scenario, scenarios
from statemachine.world import World
from wire import Wire

_ROUND = 5
"""Scenarios in a round."""

_SHRINK_FOR_S = 120.0


class Broken(AssertionError):
    """A scenario at whose last step a promise was broken; `str()` says how to play it again."""

    def __init__(self, chosen: Filter, scenario: Scenario, reason: str) -> None:
        steps = "".join(f"    {written(step)},\n" for step in scenario)
        super().__init__(f"{reason}\n\n{written(chosen)}:\n[\n{steps}]")
        self.steps = len(scenario)


def play(chosen: Filter, scenario: Scenario, wire: Wire, tally: Counter[str]) -> None:
    """A whole scenario on a clean node; Broken if a promise is."""
    done: Scenario = []
    try:
        with World(chosen, wire, tally) as world:
            for step in scenario:
                done.append(step)
                world.take(step)
    except AssertionError as broken:
        raise Broken(chosen, done, f"{type(broken).__name__}: {broken}") from None
    tally["scenarios"] += 1


@dataclass
class Search:
    """Plays scenarios in rounds, then tries for two minutes to shorten a scenario that broke a promise.

    The seeds of the rounds count up from `seed`, so that a later round can be searched alone. No scenario is played
    twice: timing is part of these faults, so a second run may end otherwise.
    """

    chosen: Filter
    seed: int
    tally: Counter[str] = field(default_factory=Counter)
    _broken: dict[str, Broken] = field(default_factory=dict)
    _deadline: float = math.inf

    def run(self, is_enough: Callable[[], bool]) -> Broken | None:
        """Scenarios until there are enough of them; the shortest that broke a promise, if one did.

        `seed` is then the seed of its round. `is_enough` is asked before each scenario.
        """
        with Wire() as wire:
            while not (is_enough() or self._broken):
                self._search_round(wire, is_enough)
                self.seed += not self._broken
        return min(self._broken.values(), key=lambda broken: broken.steps, default=None)

    def _search_round(self, wire: Wire, is_enough: Callable[[], bool]) -> None:
        @seed(self.seed)
        @settings(
            max_examples=_ROUND,
            derandomize=False,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(scenarios(self.chosen))
        def attempt(scenario: Scenario) -> None:
            if self._broken or not is_enough():
                self._attempt(scenario, wire)

        with suppress(Broken):
            attempt()

    def _attempt(self, scenario: Scenario, wire: Wire) -> None:
        name = repr(scenario)
        if name not in self._broken:
            if time.monotonic() > self._deadline:
                return
            try:
                play(self.chosen, scenario, wire, self.tally)
            except Broken as broken:
                if not self._broken:
                    self._deadline = time.monotonic() + _SHRINK_FOR_S
                self._broken[name] = broken
        if name in self._broken:
            raise self._broken[name]
