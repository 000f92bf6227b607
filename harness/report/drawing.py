"""What all figures share: size, type, colours, the look of a label, bands, legends, and the bytes of a picture.

Made for a two-column paper: 7 inches wide, 7-point type. Okabe-Ito colours, and a marker and a line style per label, so
that they survive black and white. Bytes are a function of the numbers: fixed metadata, no dates.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from groupwise.harness.layout import BASE
from groupwise.harness.report.tables import name_of

Summary = dict[str, Any]
FORMATS = ("png", "svg", "pdf")
WIDTH = 7.0
LEGEND = 7  # legend entries in a row, at most
GREY = "0.45"
MANY = 10  # optimizers from which on lines over each other can no longer be told apart
# Okabe & Ito (2008), without black (the comparator's) and yellow (too light for a line on white).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Periods 6, 7 and 5: the combination repeats after 210 labels.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", (0, (4, 1.2)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 7, "axes.titlesize": 7, "axes.labelsize": 7, "legend.fontsize": 7,
    "xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "lines.linewidth": 1.1, "lines.markersize": 3.2,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.linewidth": 0.3, "grid.color": "0.87",
    "axes.axisbelow": True, "legend.frameon": False, "svg.hashsalt": "groupwise", "pdf.fonttype": 42,
    "figure.dpi": 200, "savefig.dpi": 200, "axes.formatter.use_mathtext": False,
}  # fmt: skip
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": "groupwise"},
    "svg": {"Date": None, "Creator": "groupwise"},
    "pdf": {"CreationDate": None, "Creator": "groupwise", "Producer": "groupwise"},
}


@dataclass(frozen=True)
class Drawing:
    """A figure before it becomes bytes, with its name, its title and a caption that says how to read it."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Picture:
    """A drawing's name, title and caption, and its bytes by format."""

    name: str
    title: str
    caption: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Look:
    """How a label is drawn, everywhere."""

    colour: str
    marker: str
    line: Any

    def keywords(self) -> dict[str, Any]:
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line}


@dataclass(frozen=True)
class Series:
    """One line with its interval: x and three arrays of y, all (points,)."""

    x: Sequence[float]
    estimates: Sequence[Summary]

    def y(self, key: str) -> list[float]:
        return [math.nan if e[key] is None else float(e[key]) for e in self.estimates]


def looks(summary: Summary) -> dict[str, Look]:
    """A fixed look per label, in the order of the experiment; base grey, the comparator black."""
    found = {summary["comparator"]: Look("black", "o", "-"), BASE: Look(GREY, "x", (0, (1, 1)))}
    others = [label for label in summary["labels"] if label not in found]
    for i, label in enumerate(others):
        found[label] = Look(COLOURS[i % 6], MARKERS[(i + 1) % 7], LINES[(i + 1) % 5])
    return found


def crowded(summary: Summary) -> bool:
    """Whether there are too many optimizers for a list of names or one set of axes."""
    return len(set(summary["labels"]) - {BASE}) >= MANY


def legend_columns(names: Sequence[str]) -> int:
    """As many entries side by side as fit the width; a legend fills column by column."""
    for columns in range(min(LEGEND, len(names)), 1, -1):
        rows = math.ceil(len(names) / columns)
        longest = [max(map(len, names[i : i + rows])) for i in range(0, len(names), rows)]
        # In inches, at 7 points: handle and gaps, then a mean character.
        if sum(0.6 + 0.057 * length for length in longest) <= WIDTH:
            return len(longest)
    return 1


def handle(summary: Summary, label: str, look: Look) -> Line2D:
    """The legend's entry for a label."""
    return Line2D([], [], label=name_of(summary, label), **look.keywords())


def legend(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    """One legend below the panels."""
    columns = legend_columns([str(entry.get_label()) for entry in handles])
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=3.2)


def banded(axis: Axes, line: Series, look: Look, markevery: int | None = None) -> None:
    """A line with its band."""
    axis.plot(line.x, line.y("value"), **look.keywords(), markevery=markevery)
    axis.fill_between(line.x, line.y("low"), line.y("high"), color=look.colour, alpha=0.22, linewidth=0)
    # Edges keep the band readable without colour and over the comparator's.
    for end in ("low", "high"):
        axis.plot(line.x, line.y(end), color=look.colour, linewidth=0.4)


def x_scale(axis: Axes, line: Series, *, log: bool) -> None:
    """Ticks at every x of the line (log, for k), or at some round numbers of rollouts."""
    if log:
        axis.set_xscale("log", base=2)
        axis.set_xticks(line.x, [f"{x:g}" for x in line.x])
        axis.minorticks_off()
    else:
        axis.xaxis.set_major_locator(MaxNLocator(3, integer=True))


def over_seeds(steps: pd.DataFrame, values: pd.Series[float], points: int = 120) -> tuple[Any, Any, int] | None:
    """Grid of rollouts (points,), values on it (seeds, points), and the steps of the running mean; None without values.

    Smoothed over a twentieth of the steps.
    """
    found = []
    for _, part in steps.assign(value=values).dropna(subset=["value"]).sort_values("rollouts").groupby("seed"):
        window = max(len(part) // 20, 1)
        smooth = part["value"].rolling(window, center=True, min_periods=1).mean()
        found.append((part["rollouts"].to_numpy(dtype=float), smooth.to_numpy(dtype=float), window))
    if not found:
        return None
    # Only where every seed has been: outside, the band would narrow for lack of seeds.
    grid = np.linspace(max(x[0] for x, _, _ in found), min(x[-1] for x, _, _ in found), points)
    return grid, np.array([np.interp(grid, x, y) for x, y, _ in found]), max(w for _, _, w in found)


def render(drawing: Drawing) -> Picture:
    """The drawing in every format."""
    figure = drawing.figure
    # Laid out once, not once per format.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    files = {}
    for kind in FORMATS:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=_METADATA[kind])
        files[kind] = buffer.getvalue()
    return Picture(drawing.name, drawing.title, drawing.caption, files)
