"""The command line of the simulation."""

import logging
from pathlib import Path

import click
import msgspec

from benchmarks.herd.scenarios import SCENARIOS, Policy, simulated, table


def _list(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        for name, scenario in SCENARIOS.items():
            click.echo(f"{name:12} {scenario.text}")
        context.exit()


@click.command()
@click.option("--agents", default=5_000, show_default=True, type=click.IntRange(1, 20_000))
@click.option("--scenario", "names", multiple=True, type=click.Choice(list(SCENARIOS)), help="[default: all]")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice([*map(str, Policy)]),
    help="The policy by which agents come back.  [default: all]",
)
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print figures, not a table.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.svg|png", help="Draw them too."
)
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="Name the scenarios."
)
def main(
    agents: int,
    names: tuple[str, ...],
    policies: tuple[str, ...],
    seed: int,
    as_json: bool,
    plot: Path | None,
) -> None:
    """How agents come back to an API server that they lost: kproxy's own loops, in simulated time."""
    logging.disable(logging.WARNING)
    outcomes = [
        simulated(name, policy, agents, seed)
        for name in names or SCENARIOS
        for policy in map(Policy, policies or Policy)
    ]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(outcomes)))
    else:
        click.echo("\n".join(table(outcomes)))
    if plot:
        from benchmarks.herd.plot import draw

        draw(outcomes, plot)


if __name__ == "__main__":
    main()
