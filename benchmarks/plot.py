"""Figures as a picture: what each case takes as the cluster grows, ours and its rivals."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.sample import Figures

_COLUMNS = 3
_PANEL_INCHES = 3.6, 2.8
_LINES = {"kproxy": "-", "bare": "--", "least": ":", "usual": "-.", "only service": ":"}


def draw(figures: Sequence[Figures], file: Path) -> None:
    """One panel a case, one colour for each way to program the kernel; the suffix tells the format."""
    panels: dict[str, list[Figures]] = defaultdict(list)
    for each in figures:
        panels[each.case].append(each)
    rows = -(-len(panels) // _COLUMNS)
    with mpl.rc_context({"svg.hashsalt": "kproxy", "svg.fonttype": "none", "font.size": 8}):
        picture = Figure(figsize=(_COLUMNS * _PANEL_INCHES[0], rows * _PANEL_INCHES[1]), layout="constrained")
        axes = picture.subplots(rows, _COLUMNS, squeeze=False).flat
        colours = {
            name: f"C{number}" for number, name in enumerate(dict.fromkeys(f.subject for f in figures))
        }
        for (case, found), panel in zip(panels.items(), axes, strict=False):
            _draw_panel(panel, case, found, colours)
        for panel in list(axes)[len(panels) :]:
            panel.remove()
        picture.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _draw_panel(panel: Any, case: str, found: Sequence[Figures], colours: dict[str, str]) -> None:
    panel.set_title(case)
    lines: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for each in found:
        lines[each.subject, "kproxy"].append((each.services, each.p50_ms))
        for name, baseline in each.baselines.items():
            lines[each.subject, name].append((each.services, baseline.p50_ms))
    for (subject, name), points in lines.items():
        label = subject if name == "kproxy" else f"{subject}: {name}"
        panel.plot(*zip(*points, strict=True), _LINES[name], marker=".", color=colours[subject], label=label)
    panel.set(xscale="log", yscale="log", xlabel="Services", ylabel="ms, median")
    panel.legend(fontsize=5)
