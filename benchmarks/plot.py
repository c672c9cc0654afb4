"""Figures as a picture: the time of each case as the cluster grows, kproxy's and the rivals'."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.sample import Figures

_COLUMNS = 3
_PANEL_INCHES = 3.6, 2.8
_LINES: dict[str, Any] = {
    "kproxy": "-",
    "bare": "--",
    "least": ":",
    "usual": "-.",
    "only service": (0, (1, 4)),
}


def draw(figures: Sequence[Figures], file: Path) -> None:
    """One panel for each case, one colour for each way to program the kernel; the file's suffix decides the format."""
    panels: dict[str, list[Figures]] = defaultdict(list)
    for each in figures:
        panels[each.case].append(each)
    subjects = dict.fromkeys(each.subject for each in figures)
    colours = {subject: f"C{number}" for number, subject in enumerate(subjects)}
    rows = -(-len(panels) // _COLUMNS)
    with mpl.rc_context({"svg.hashsalt": "kproxy", "svg.fonttype": "none", "font.size": 8}):
        picture = Figure(figsize=(_COLUMNS * _PANEL_INCHES[0], rows * _PANEL_INCHES[1]), layout="constrained")
        axes = list(picture.subplots(rows, _COLUMNS, squeeze=False).flat)
        for (case, found), panel in zip(panels.items(), axes, strict=False):
            _draw_panel(panel, case, found, colours)
        for panel in axes[len(panels) :]:
            panel.remove()
        handles = [Line2D([], [], color=colour, label=subject) for subject, colour in colours.items()]
        handles += [Line2D([], [], color="grey", linestyle=line, label=name) for name, line in _LINES.items()]
        picture.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        picture.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _draw_panel(panel: Any, case: str, found: Sequence[Figures], colours: dict[str, str]) -> None:
    lines: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for each in found:
        lines[each.subject, "kproxy"].append((each.services, each.p50_ms))
        for name, baseline in each.baselines.items():
            lines[each.subject, name].append((each.services, baseline.p50_ms))
    for (subject, name), points in lines.items():
        panel.plot(*zip(*points, strict=True), linestyle=_LINES[name], marker=".", color=colours[subject])
    panel.set(title=case, xscale="log", yscale="log", xlabel="Services", ylabel="ms, median")
