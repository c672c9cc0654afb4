"""Measures the memory, threads and files of an agent after many changes and faults, in its own namespaces."""

import random
import signal
import sys

import click

from endurance.run import Figures, endure
from kproxy.kernel.programs.iptables import Variant
from namespaces import end_as_if_interrupted

_MODES: dict[str, Variant | None] = {
    **{f"iptables-{variant}": variant for variant in Variant},
    "nftables": None,
}
_MOMENTS = ("at first", "after half", "after all")


@click.command()
@click.option(
    "--changes", default=2000, show_default=True, help="Changes in each mode; each change is of one object."
)
@click.option("--changes-per-s", default=40.0, show_default=True, help="Changes in a second.")
@click.option("--seed", type=int, help="[default: a random one, which is printed]")
@click.option(
    "modes",
    "--mode",
    type=click.Choice(list(_MODES)),
    multiple=True,
    default=("iptables-nft", "nftables"),
    show_default=True,
)
def main(changes: int, changes_per_s: float, seed: int | None, modes: tuple[str, ...]) -> None:
    """Random changes of Services, slices, the Node and ServiceCIDRs, through an API server with faults.

    A cluster of some hundred Services makes two thousand changes in an hour. At two moments the kernel has to
    hold the rules that `kproxy render` prints; then the first objects come back, and the agent's memory, threads and
    files are counted. Exit code 1 means that the kernel differs, or that one of them grew between the two moments.
    """
    end_as_if_interrupted(signal.SIGTERM, signal.SIGHUP)
    seed = random.SystemRandom().randrange(1_000_000_000) if seed is None else seed
    broken = []
    for mode in modes:
        click.echo(f"{mode}: {changes} changes at {changes_per_s:g} a second, from seed {seed}")
        try:
            figures = endure(_MODES[mode], seed, changes, changes_per_s)
        except AssertionError as wrong:
            broken.append(f"{mode}: {type(wrong).__name__}: {wrong}")
            continue
        click.echo(_table(figures))
        broken += [f"{mode}: {sentence}" for sentence in figures.broken]
    click.echo("\n".join(broken) or "no bound is broken, and the kernel was right each time")
    sys.exit(1 if broken else 0)


def _table(figures: Figures) -> str:
    rows: list[tuple[str, ...]] = [("", *_MOMENTS)]
    rows += [
        (title, *(str(held[at]) for held in figures.held))
        for at, title in enumerate(("memory, KiB", "threads", "files"))
    ]
    rows.append(("settled in s", "", *(f"{settled_s:.1f}" for settled_s in figures.settled_s)))
    lines = ["".join(f"{cell:>14}" for cell in row) for row in rows]
    return "\n".join([*lines, *(f"{count:>14} {kind}" for kind, count in figures.tally.most_common())])


if __name__ == "__main__":
    main()
