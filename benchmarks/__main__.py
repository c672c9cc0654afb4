"""The command line of the benchmark."""

import signal
import sys
from pathlib import Path
from types import FrameType

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from benchmarks import report
from benchmarks.cluster import Size
from benchmarks.ground import own_lock
from benchmarks.iptables import IptablesSubject
from benchmarks.nftables import NftablesSubject
from benchmarks.pace import Pace
from benchmarks.run import AGENT, CASES, measured
from benchmarks.sample import Figures
from kproxy.configuration import Mode
from kproxy.kernel.node.privilege import require_net_admin
from kproxy.kernel.programs.iptables import Variant
from kproxy.ruleset.layout import LAYOUTS

_WIDE = 200


def _list(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        for name, case in CASES.items():
            click.echo(f"{name:15} {case}")
        context.exit()


@click.command()
@click.option(
    "--services",
    "services",
    default=[1000],
    show_default=True,
    multiple=True,
    type=click.IntRange(1, 50_000),
    help="How many Services; may be given several times.",
)
@click.option(
    "--endpoints",
    default=10,
    show_default=True,
    type=click.IntRange(1, 100),
    help="Endpoints of each Service.",
)
@click.option(
    "--mode",
    "modes",
    type=click.Choice([*map(str, Mode)]),
    multiple=True,
    default=[str(Mode.IPTABLES)],
    show_default=True,
    help="May be given several times.",
)
@click.option(
    "--backend",
    "variants",
    type=click.Choice([*map(str, Variant)]),
    multiple=True,
    help="The variant of iptables mode.  [default: both]",
)
@click.option(
    "--dispatch",
    "dispatches",
    type=click.Choice(list(LAYOUTS)),
    multiple=True,
    default=["auto"],
    show_default=True,
    help="In iptables mode.",
)
@click.option(
    "--case", "cases", type=click.Choice(list(CASES)), multiple=True, help="[default: all but agent]"
)
@click.option("--agent", "with_agent", is_flag=True, help="Also through a real agent and API server.")
@click.option(
    "--runs", default=30, show_default=True, type=click.IntRange(1), help="The most runs of each case."
)
@click.option(
    "--seconds", default=30.0, show_default=True, help="For each case; the run that is under way is ended."
)
@click.option("--json", "as_json", is_flag=True, help="Print figures, not tables.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.svg|png", help="Draw them too."
)
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list,
    help="Name the cases and say what they measure.",
)
def main(
    services: tuple[int, ...],
    endpoints: int,
    modes: tuple[str, ...],
    variants: tuple[str, ...],
    dispatches: tuple[str, ...],
    cases: tuple[str, ...],
    with_agent: bool,
    runs: int,
    seconds: float,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Time the cost of changes, against the least that they could cost, in network namespaces. Needs root."""
    require_net_admin()
    _end_as_if_interrupted(signal.SIGTERM, signal.SIGHUP)
    chosen = {*(cases or CASES.keys() - {AGENT}), *([AGENT] if with_agent else [])}
    by_iptables = [
        IptablesSubject(Variant(variant), dispatch)
        for variant in variants or [*map(str, Variant)]
        for dispatch in dispatches
    ]
    subjects = [
        subject
        for mode in modes
        for subject in ([NftablesSubject()] if mode == Mode.NFTABLES else by_iptables)
    ]
    sizes = [Size(count, endpoints) for count in services]
    figures: list[Figures] = []
    try:
        with own_lock(), Progress(console=Console(stderr=True)) as progress:
            for each in measured(subjects, sizes, chosen, Pace(runs, seconds, progress)):
                progress.console.print(report.line(each), highlight=False, soft_wrap=True)
                figures.append(each)
    finally:  # the figures of an hour are not lost when a case fails, or somebody stops the program
        _tell(figures, as_json=as_json)
    if plot:
        from benchmarks.plot import draw

        draw(figures, plot)


def _tell(figures: list[Figures], *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(figures)))
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    for heading, table in report.tables(figures):
        console.print(heading, table, highlight=False)
    for note in report.notes(figures):
        click.echo(note)


def _end_as_if_interrupted(*signals: signal.Signals) -> None:
    """End in order when this process is killed, so that namespaces and the agent go."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in signals:
        signal.signal(number, interrupt)


if __name__ == "__main__":
    main()
