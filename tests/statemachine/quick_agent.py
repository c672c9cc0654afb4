"""`kproxy agent` that comes back soon after a fault, soon doubts a silent watch, makes trees of few rules, and may go hungry."""

import os
from functools import partial
from pathlib import Path

from kproxy import threads
from kproxy.agent import source
from kproxy.cli.main import main
from kproxy.ruleset import layout
from kproxy.sources.timing import Timing
from statemachine import hunger
from statemachine.flags import LAYOUTS

_QUICK = partial(
    Timing, idle_s=2.0, backoff_base_s=0.02, backoff_first_s=0.05, backoff_cap_s=0.2, retry_after_cap_s=0.2
)

_STEADY_S = 0.5
"""A step takes a second or some: hunger at one is not in a row with hunger at the one before."""

if __name__ == "__main__":
    source.Timing = _QUICK  # type: ignore[attr-defined, assignment] # the agent's own timing is that of thousands of nodes
    threads._STEADY_S = _STEADY_S  # noqa: SLF001
    layout.LAYOUTS.update(LAYOUTS)
    if hunger.VARIABLE in os.environ:  # the state machine's agents, and no others
        hunger.arm(Path(os.environ[hunger.VARIABLE]))
    main()
