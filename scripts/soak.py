"""Random scenarios against a real agent and a real kernel in network namespaces of their own, for a given time.

Each round has its own seed, so a round that broke something can be repeated alone.
"""

import random
import signal
import sys
import time
from collections import Counter

import click

from namespaces import end_as_if_interrupted
from statemachine.filters import Filter
from statemachine.search import Broken, Search


@click.command()
@click.option("--minutes", default=5.0, show_default=True, help="The time of all backends together.")
@click.option(
    "--seed", type=int, help="The seed of the first round.  [default: a random one, which is printed]"
)
@click.option(
    "--backend", "backends", type=click.Choice([*map(str, Filter)]), multiple=True, help="[default: all]"
)
def main(minutes: float, seed: int | None, backends: tuple[str, ...]) -> None:
    """Let everything happen to an agent, in random order; print the first failure and how to repeat it."""
    end_as_if_interrupted(signal.SIGTERM, signal.SIGHUP)
    first = random.SystemRandom().randrange(1_000_000_000) if seed is None else seed
    chosen = [*map(Filter, backends)] or [*Filter]
    broken = [_search(each, first, minutes * 60 / len(chosen)) for each in chosen]
    sys.exit(1 if any(broken) else 0)


def _search(chosen: Filter, seed: int, for_s: float) -> Broken | None:
    click.echo(f"{chosen}: {for_s:.0f} s from seed {seed}")
    search = Search(chosen, seed)
    deadline = time.monotonic() + for_s
    broken = search.run(lambda: time.monotonic() > deadline)
    click.echo(_told(search.tally))
    if broken:
        click.echo(f"seed {search.seed} breaks a promise:\n{broken}")
        click.echo(f"repeat it: scripts/soak --backend {chosen} --seed {search.seed}")
    return broken


def _told(tally: Counter[str]) -> str:
    return "\n".join(f"{count:>10} {kind}" for kind, count in tally.most_common())


if __name__ == "__main__":
    main()
