"""Figures as tables, for a terminal and for a Markdown file alike."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from rich.box import MARKDOWN
from rich.table import Table

from benchmarks.sample import Figures

_SECOND_MS = 1000
_STAGES = ("list", "compute", "render", "compare", "restore", "wait", "record", "tell")
_CPU_OF = ("bare", "good alone", "JSON")


def tables(figures: Sequence[Figures]) -> Iterator[tuple[str, Table]]:
    """Two tables for each way to program the kernel, with a title; the sizes of one case follow each other."""
    cases = list(dict.fromkeys(each.case for each in figures))
    for subject in dict.fromkeys(each.subject for each in figures):
        found = sorted(
            (each for each in figures if each.subject == subject),
            key=lambda each: (cases.index(each.case), each.services),
        )
        yield (
            f"{subject}: the time of each case, and how many times the time of each rival",
            _against_baselines(found),
        )
        yield f"{subject}: the time by stage, and the amount that is written", _by_stage(found)


def line(figures: Figures) -> str:
    """One short line, for a person who waits."""
    ratios = "".join(f", {each.ratio:.2f} x {name}" for name, each in figures.baselines.items())
    return f"{figures.subject}, {_size(figures)}: {figures.case}: {_time(figures.p50_ms)}{ratios}"


def notes(figures: Sequence[Figures]) -> list[str]:
    """Notes that a reader needs to understand the baselines."""
    return [
        f"{each.subject}, {_size(each)}, {each.case}: {name} {baseline.note}"
        for each in figures
        for name, baseline in each.baselines.items()
        if baseline.note
    ]


def _against_baselines(figures: Sequence[Figures]) -> Table:
    columns: dict[str, Callable[[Figures], str]] = {
        "runs": lambda each: str(each.runs),
        "p50": lambda each: _time(each.p50_ms),
        "p99": lambda each: _time(each.p99_ms),
    }
    for name in dict.fromkeys(name for each in figures for name in each.baselines):
        columns[name] = partial(_ratio, name)
    return _table(columns, figures)


def _by_stage(figures: Sequence[Figures]) -> Table:
    columns: dict[str, Callable[[Figures], str]] = {
        **{stage: partial(_stage, stage) for stage in _STAGES},
        "CPU": lambda each: _time(each.cpu_ms),
        **{f"{name}'s CPU": partial(_cpu_ratio, name) for name in _CPU_OF},
        "KB": lambda each: f"{each.bytes_written / 1000:,.1f}" if each.bytes_written else "",
        "rules": lambda each: f"{each.rules_written:,.0f}",
        "RSS, MB": lambda each: f"{each.resident_mb:.0f}",
        "most": lambda each: f"{each.most_resident_mb:.0f}",
    }
    return _table(columns, figures)


def _table(columns: dict[str, Callable[[Figures], str]], figures: Sequence[Figures]) -> Table:
    """A table without its empty columns."""
    cells = {heading: [cell(each) for each in figures] for heading, cell in columns.items()}
    filled = {heading: column for heading, column in cells.items() if any(column)}
    table = Table(box=MARKDOWN)
    table.add_column("case", no_wrap=True)
    table.add_column("Services", no_wrap=True, justify="right")
    for heading in filled:
        table.add_column(heading, no_wrap=True, justify="right")
    for each, *row in zip(figures, *filled.values(), strict=True):
        table.add_row(each.case, _size(each), *row)
    return table


def _size(figures: Figures) -> str:
    return f"{figures.services:,} x {figures.endpoints}"


def _stage(stage: str, figures: Figures) -> str:
    return _time(figures.stages_ms[stage]) if stage in figures.stages_ms else ""


def _ratio(rival: str, figures: Figures) -> str:
    baseline = figures.baselines.get(rival)
    return f"{baseline.ratio:.2f} x {_time(baseline.p50_ms)}" if baseline else ""


def _cpu_ratio(rival: str, figures: Figures) -> str:
    baseline = figures.baselines.get(rival)
    return f"{baseline.cpu_ratio:.2f} x {_time(baseline.cpu_ms)}" if baseline else ""


def _time(milliseconds: float) -> str:
    if milliseconds >= _SECOND_MS:
        return f"{milliseconds / _SECOND_MS:.2f} s"
    if milliseconds >= 1:
        return f"{milliseconds:.1f} ms"
    return f"{milliseconds * 1000:.0f} us"
