"""From one state of a table to another, in runs, each of which takes effect at once or not at all.

A packet meets the rules of the moment when it came, but asks each map at the moment of the look-up.
Three orders keep each moment harmless:

- A chain or map is there one run before a verdict that stood for another verdict leads to it, and goes one run after
  the last verdict to it.
- A packet asks several maps, one after the other: a guard is there one run before the elements that it guards, and goes
  one run after them. A refusal goes one run after the verdict that replaces it came.
- An element that takes the place of another does so within one run.

The runs of each kind of transaction, in the order in which they run; empty ones are left out:

| made by         | for                               | runs                                                   |
|-----------------|-----------------------------------|--------------------------------------------------------|
| `change`        | a table that is known             | PREPARE (if a guard comes or a verdict is replaced),   |
|                 |                                   | CHANGE, REMOVE                                         |
| `install`       | a node without the table          | PREPARE, FILL, OPEN                                    |
| `refill`        | a table of an unknown state,      | WHOLE                                                  |
|                 | whose clients keep their endpoints|                                                        |
| `replace_all`   | a table that `refill` cannot mend | WHOLE                                                  |
| `whole_table`   | `render`, on a node without it    | WHOLE                                                  |

Within one run the order is for the kernel's sake, and decides on seconds in a large cluster: a map that no rule asks
takes elements without a look at every rule, so elements of new maps come before their rules, and verdicts before the
dispatch chains.
"""

from dataclasses import dataclass

from kproxy.transaction.marks import marked
from kproxy.transaction.nftables.run import Run


@dataclass(frozen=True, slots=True)
class Transaction:
    """Runs in the order in which they run, none of them empty; they write and delete the chains of these names."""

    runs: tuple[Run, ...]
    written: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.runs)

    def __str__(self) -> str:
        return "".join(run.text for run in self.runs)

    @property
    def marked(self) -> str:
        """The text with a comment line before each run, which says why the run stands there."""
        return marked("run", [(run.reason.value, run.text) for run in self.runs])

    @property
    def refusable(self) -> str:
        """The text of the runs for whose refusal a Service may be to blame."""
        return "".join(run.text for run in self.runs if run.may_blame_a_service)

    @property
    def line_count(self) -> int:
        """Rules, elements, and lines that declare a chain, set or map."""
        return sum(run.line_count for run in self.runs)
