"""What all figures share: size, type, colours, the look of a label, bands, legends, and the bytes of a picture.

Made for a two-column paper: one column wide (3.3 inches), two where many optimizers need a panel each, 7-point type.
Okabe-Ito colours, and a marker and a line style per label, so that they survive black and white. Bytes are a function
of the numbers: fixed metadata, no dates.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, MaxNLocator

from groupwise.harness.layout import BASE, file_name
from groupwise.harness.report.tables import name_of

Summary = dict[str, Any]
FORMATS = ("png", "svg", "pdf")
COLUMN = 3.3  # inches, of one column of a two-column paper
WIDTH = 7.0  # inches, of both columns
CHARACTER = 0.06  # inches, of a mean character of 7-point type
HANDLE = 3.2  # length of a legend's handle, in sizes of the type
LEGEND = 7  # legend entries in a row, at most
GREY = "0.45"
MANY = 10  # optimizers from which on lines over each other can no longer be told apart
# Okabe & Ito (2008), without black (the comparator's) and yellow (too light for a line on white); then wine, indigo and
# brown, which stay apart from these and from each other for colour-blind eyes as well. One for each of the optimizers
# that one set of axes can hold.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#332288", "#7A4A00")
# Periods 9, 7 and 5: the combination repeats after 315 labels.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", (0, (4, 1.2)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 7, "axes.titlesize": 7, "axes.labelsize": 7, "legend.fontsize": 7,
    "xtick.labelsize": 7, "ytick.labelsize": 7, "lines.linewidth": 1.1, "lines.markersize": 3.2,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.linewidth": 0.3, "grid.color": "0.87",
    "axes.axisbelow": True, "legend.frameon": False, "svg.hashsalt": "groupwise", "pdf.fonttype": 42,
    "figure.dpi": 220, "axes.formatter.use_mathtext": False,
    # Texts come from the records: a name with two dollar signs is a name, not a formula.
    "text.parse_math": False,
}  # fmt: skip
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": "groupwise"},
    "svg": {"Date": None, "Creator": "groupwise"},
    "pdf": {"CreationDate": None, "Creator": "groupwise", "Producer": "groupwise"},
}
_CANVAS: dict[str, Any] = {"png": FigureCanvasAgg, "svg": FigureCanvasSVG, "pdf": FigureCanvasPdf}


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
    """One line with its interval: x and three arrays of y, all (points,); NaN where there is no estimate."""

    x: Sequence[float]
    estimates: Sequence[Summary | None]

    def y(self, key: str) -> list[float]:
        return [math.nan if e is None or e[key] is None else float(e[key]) for e in self.estimates]


def looks(summary: Summary) -> dict[str, Look]:
    """A fixed look per label, in the order of the experiment; base grey, the comparator black."""
    found = {summary["comparator"]: Look("black", "o", "-"), BASE: Look(GREY, "x", (0, (1, 1)))}
    others = [label for label in summary["labels"] if label not in found]
    for i, label in enumerate(others):
        found[label] = Look(COLOURS[i % len(COLOURS)], MARKERS[(i + 1) % 7], LINES[(i + 1) % 5])
    return found


def crowded(summary: Summary) -> bool:
    """Whether there are too many optimizers for a list of names or one set of axes."""
    return len(set(summary["labels"]) - {BASE}) >= MANY


def legend_columns(names: Sequence[str], width: float, length: float = HANDLE) -> int:
    """As many entries side by side as fit the width in inches; a legend fills column by column."""
    for columns in range(min(LEGEND, len(names)), 1, -1):
        rows = math.ceil(len(names) / columns)
        longest = [max(map(len, names[i : i + rows])) for i in range(0, len(names), rows)]
        # Handle and gaps, then the characters, most of which are narrower than the mean.
        if sum(0.29 + 0.0972 * length + 0.95 * CHARACTER * size for size in longest) <= width:
            return len(longest)
    return 1


def handle(summary: Summary, label: str, look: Look) -> Line2D:
    """The legend's entry for a label."""
    return Line2D([], [], label=name_of(summary, label), **look.keywords())


def legend_height(names: Sequence[str], width: float) -> float:
    """Inches that a legend of these entries takes below the panels."""
    return 0.17 * math.ceil(len(names) / legend_columns(names, width)) if names else 0.0


def legend(figure: Figure, handles: Sequence[Line2D | Patch], length: float = HANDLE) -> None:
    """One legend below the panels. length: of a handle, in sizes of the type."""
    columns = legend_columns([str(entry.get_label()) for entry in handles], figure.get_figwidth(), length)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=length)


def banded(axis: Axes, line: Series, look: Look, markevery: int | None = None) -> None:
    """A line with its band."""
    axis.plot(line.x, line.y("value"), **look.keywords(), markevery=markevery)
    axis.fill_between(line.x, line.y("low"), line.y("high"), color=look.colour, alpha=0.22, linewidth=0)
    # Edges keep the band readable without colour and over the comparator's.
    for end in ("low", "high"):
        axis.plot(line.x, line.y(end), color=look.colour, linewidth=0.4)


def broken(name: str, room: int) -> str:
    """A name of more than `room` characters on two lines, broken where its parts meet next to its middle.

    A name without such a place stays whole.
    """
    places = [i + 1 for i, character in enumerate(name[:-1]) if character in "_ -"]
    if len(name) <= room or not places:
        return name
    middle = min(places, key=lambda place: abs(place - len(name) / 2))
    return f"{name[:middle].rstrip()}\n{name[middle:]}"


def titled(figure: Figure, title: str) -> None:
    """The figure's title, at the left above everything."""
    room = int((figure.get_figwidth() - 0.1) / CHARACTER)
    figure.suptitle(broken(title, room), x=0.01, ha="left", fontsize=7)


def counted(axis: Axes, ticks: int) -> None:
    """Some round numbers along x, thousands and millions as k and M."""
    axis.xaxis.set_major_locator(MaxNLocator(ticks, integer=True))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))


def x_scale(axis: Axes, line: Series, *, log: bool) -> None:
    """Ticks at every x of the line (log, for k), or at some round numbers of rollouts or tokens."""
    if log:
        axis.set_xscale("log", base=2)
        axis.set_xticks(line.x, [f"{x:g}" for x in line.x])
        axis.minorticks_off()
    else:
        counted(axis, 3)


def percent(summary: Summary) -> str:
    """The level of the intervals."""
    return f"{100 * summary['level']:.0f} %"


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


def styled() -> AbstractContextManager[None]:
    """The style, and for the rest matplotlib's own defaults, not the user's: the same records give the same bytes."""
    settings: Any = {**matplotlib.rcParamsDefault, **STYLE, "backend": "agg"}
    return matplotlib.rc_context(settings)


def settle(figure: Figure) -> None:
    """Lay the figure out once and for all: what is added afterwards moves nothing, and no format lays it out again."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def render(drawing: Drawing) -> Picture:
    """The drawing in every format."""
    figure, files = drawing.figure, {}
    settle(figure)
    resolution = figure.dpi
    # Straight from the canvas of each format: savefig would go through every artist once more before each.
    for kind in FORMATS:
        buffer = io.BytesIO()
        canvas: Any = _CANVAS[kind](figure)
        getattr(canvas, f"print_{kind}")(buffer, metadata=_METADATA[kind])
        figure.dpi = resolution
        files[kind] = buffer.getvalue()
    return Picture(file_name(drawing.name), drawing.title, drawing.caption, files)
