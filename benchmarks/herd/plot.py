"""Outcomes as a picture: requests in each second after an event, one line for each policy."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.herd.scenarios import SCENARIOS, Outcome, Policy

_COLUMNS = 3
_PANEL_INCHES = 3.6, 2.4
_SHOWN_S = 180
"""Seconds that are drawn after the event's end; later nothing happens."""

_COLOURS = {Policy.KPROXY: "C0", Policy.CLIENT_GO: "C1", Policy.NO_JITTER: "C7"}


def draw(outcomes: Sequence[Outcome], file: Path) -> None:
    """One panel for each scenario; the file's suffix decides the format."""
    panels: dict[str, list[Outcome]] = defaultdict(list)
    for each in outcomes:
        panels[each.scenario].append(each)
    rows = -(-len(panels) // _COLUMNS)
    with mpl.rc_context({"svg.hashsalt": "kproxy", "svg.fonttype": "none", "font.size": 8}):
        picture = Figure(figsize=(_COLUMNS * _PANEL_INCHES[0], rows * _PANEL_INCHES[1]), layout="constrained")
        axes = list(picture.subplots(rows, _COLUMNS, squeeze=False).flat)
        for (name, found), panel in zip(panels.items(), axes, strict=False):
            _draw_panel(panel, name, found)
        for panel in axes[len(panels) :]:
            panel.remove()
        handles = [Line2D([], [], color=colour, label=policy) for policy, colour in _COLOURS.items()]
        picture.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        picture.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _draw_panel(panel: Any, name: str, found: Sequence[Outcome]) -> None:
    away_s = SCENARIOS[name].away_s
    for each in found:
        series = each.request_series[: int(away_s) + _SHOWN_S]
        panel.plot(range(len(series)), series, color=_COLOURS[Policy(each.policy)], linewidth=0.7)
    if away_s:
        panel.axvspan(0, away_s, color="0.92")
    panel.set(title=name, xlabel="s after the event", ylabel="requests/s", yscale="symlog", ylim=(0, None))
