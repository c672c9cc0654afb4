"""Arbitrary input for every decoder and parser, target after target and seed after seed, for a given time.

A target is a test module that draws random input. A turn that has begun is always finished, so no finding is lost.
"""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("test_*arbitrary.py", "test_rule_text.py", "test_mutations.py")
LONGEST_TEST_S = 900


def _name(module: Path) -> str:
    """The name of the module, or of its directory if the module's name says only that its input is arbitrary."""
    stem = module.stem.removeprefix("test_")
    return module.parent.name if stem == "arbitrary" else stem.removesuffix("_arbitrary")


TARGETS = {
    _name(module): module for pattern in MODULES for module in sorted(ROOT.glob(f"tests/**/{pattern}"))
}


@click.command()
@click.argument("names", metavar="[TARGET]...", nargs=-1, type=click.Choice(sorted(TARGETS)))
@click.option("--minutes", default=5.0, show_default=True, help="The time of all targets together.")
@click.option(
    "--seed", type=int, help="The seed of the first round.  [default: a random one, which is printed]"
)
@click.option("--list", "only_list", is_flag=True, help="Print the targets.")
def main(names: Sequence[str], minutes: float, seed: int | None, *, only_list: bool) -> None:
    """Search for input that breaks a target; print the first such input, and how to repeat it."""
    if only_list:
        click.echo("\n".join(sorted(TARGETS)))
        return
    chosen = sorted(set(names or TARGETS))
    first = random.SystemRandom().randrange(1_000_000_000) if seed is None else seed
    click.echo(f"{minutes:g} min from seed {first}")
    turns = Counter(dict.fromkeys(chosen, 0))
    for name, round_seed in _turns(chosen, first, minutes * 60):
        if not _holds(name, round_seed):
            sys.exit(1)
        turns[name] += 1
    if unreached := [name for name, taken in turns.items() if not taken]:
        click.echo(f"time was up before {', '.join(unreached)}; allow more with --minutes")


def _turns(names: Sequence[str], first: int, for_s: float) -> Iterator[tuple[str, int]]:
    """Every name with one seed, then every name with the next seed, until the time is up."""
    ends_at = time.monotonic() + for_s
    for seed in count(first):
        for name in names:
            if time.monotonic() >= ends_at:
                return
            yield name, seed


def _holds(name: str, seed: int) -> bool:
    command = [
        *(".venv/bin/pytest", "--quiet", "--hypothesis-profile", "fuzz", "--hypothesis-seed", str(seed)),
        *("--timeout", str(LONGEST_TEST_S), str(TARGETS[name].relative_to(ROOT))),
    ]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        click.echo(done.stdout)
        click.echo(f"{name} breaks; repeat it:\n{' '.join(command)}")
    else:
        click.echo(f"{name}, seed {seed}: {done.stdout.splitlines()[-1]}")
    return not done.returncode


if __name__ == "__main__":
    main()
