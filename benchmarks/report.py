"""Figures as tables that stand in a terminal and in a Markdown file alike."""

from collections.abc import Sequence

from rich.box import MARKDOWN
from rich.table import Table

from benchmarks.sample import Baseline, Figures

_SECOND_MS = 1000

STAGES = ("compute", "render", "compare", "restore")


def against_baselines(figures: Sequence[Figures]) -> Table:
    names = list(dict.fromkeys(name for each in figures for name in each.baselines))
    table = _table(
        "kernel, dispatch",
        "Services x endpoints",
        "case",
        right=("runs", "p50", "p99", *(f"/ {name}" for name in names)),
    )
    for each in figures:
        ratios = (_ratio(each.baselines.get(name)) for name in names)
        times = _time(each.p50_ms), _time(each.p99_ms)
        table.add_row(each.subject, _size(each), each.case, str(each.runs), *times, *ratios)
    return table


def by_stage(figures: Sequence[Figures]) -> Table:
    table = _table(
        "kernel, dispatch",
        "Services x endpoints",
        "case",
        right=(*STAGES, "CPU", "CPU / bare", "KB", "rules", "RSS, MB"),
    )
    for each in figures:
        stages = (_time(each.stages_ms[stage]) if stage in each.stages_ms else "" for stage in STAGES)
        bare = each.baselines.get("bare")
        cpu_ratio = f"{bare.cpu_ratio:.2f}" if bare else ""
        written = f"{each.bytes_written / 1000:,.1f}", f"{each.rules_written:,.0f}"
        resident = f"{each.resident_mb:.0f}"
        table.add_row(
            each.subject, _size(each), each.case, *stages, _time(each.cpu_ms), cpu_ratio, *written, resident
        )
    return table


def line(figures: Figures) -> str:
    """Short, for someone who waits."""
    ratios = "".join(f", {each.ratio:.2f} x {name}" for name, each in figures.baselines.items())
    return f"{figures.subject}, {_size(figures)}: {figures.case}: {_time(figures.p50_ms)}{ratios}"


def notes(figures: Sequence[Figures]) -> list[str]:
    """What a reader must know of the baselines."""
    return [
        f"{each.subject}, {_size(each)}, {each.case}: {name} {baseline.note}"
        for each in figures
        for name, baseline in each.baselines.items()
        if baseline.note
    ]


def _table(*left: str, right: Sequence[str]) -> Table:
    table = Table(box=MARKDOWN)
    for heading in left:
        table.add_column(heading, no_wrap=True)
    for heading in right:
        table.add_column(heading, no_wrap=True, justify="right")
    return table


def _size(figures: Figures) -> str:
    return f"{figures.services:,} x {figures.endpoints}"


def _ratio(baseline: Baseline | None) -> str:
    return f"{baseline.ratio:.2f} ({_time(baseline.p50_ms)})" if baseline else ""


def _time(milliseconds: float) -> str:
    if milliseconds >= _SECOND_MS:
        return f"{milliseconds / _SECOND_MS:.2f} s"
    if milliseconds >= 1:
        return f"{milliseconds:.1f} ms"
    return f"{milliseconds * 1000:.1f} us"
