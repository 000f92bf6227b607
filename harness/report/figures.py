"""Figures of a run, drawn from the summary (and the step records for what happens during training).

Made for a two-column paper: 7 inches wide, 7-point type. Okabe-Ito colours, and a marker and a line style per label, so
that they survive black and white. Bytes are a function of the numbers: fixed metadata, no dates.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
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
COLUMNS = 4  # panels in a row, at most
LEGEND = 7  # legend entries in a row, at most
GREY = "0.45"
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
class Picture:
    """A drawn figure: its name, what it shows and how to read it, and its bytes by format."""

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


def pictures(summary: Summary, steps: pd.DataFrame) -> Iterator[Picture]:
    """Every figure that the records allow, in the order of the report."""
    # From matplotlib's own defaults, not from the user's matplotlibrc: the same records give the same bytes.
    settings: Any = {**matplotlib.rcParamsDefault, **STYLE, "backend": "agg"}
    with matplotlib.rc_context(settings):
        for task, content in summary["tasks"].items():
            if content["labels"]:
                yield from _task(summary, task, content)
        if len(steps):
            yield _training(summary, steps)


def _task(summary: Summary, task: str, content: Summary) -> Iterator[Picture]:
    reference, level = summary["comparator"], f"{100 * summary['level']:.0f} %"
    curve = {label: Series([p["rollouts"] for p in line], [p["accuracy"] for p in line])
             for label, line in content["curve"].items() if len(line) > 1}  # fmt: skip
    several = any(row["accuracy"]["seeds"] > 1 for row in content["labels"].values())
    band = f"bands are {level} intervals ({'problems and training seeds' if several else 'problems alone, one seed'})"
    if curve:
        figure = _panels(summary, task, curve, "Rollouts consumed", "Accuracy", log=False)
        caption = (
            f"Accuracy on {task} against training rollouts consumed. First panel: all means; other panels: one "
            f"optimizer each over {reference} (black); {band}. Start: the model before training; end: the final "
            "evaluation, cut down to the problems of the intermediate evaluations."
        )
        yield _picture(f"curve-{task}", f"Accuracy over training: {task}", caption, figure)
    ks = content["k"]
    if len(ks) > 1:
        passes = {label: Series(ks, [found["pass_at_k"][str(k)] for k in ks])
                  for label, found in content["labels"].items()}  # fmt: skip
        figure = _panels(summary, task, passes, "k", "pass@k", log=True)
        caption = (
            f"Unbiased pass@k on {task}. First panel: all means; other panels: one label each over {reference} "
            f"(black); {band}. A line that starts above and ends below {BASE} has traded coverage for accuracy."
        )
        yield _picture(f"pass-at-k-{task}", f"pass@k: {task}", caption, figure)
    if content["differences"].get(reference):
        yield _forest(summary, task, content)


def _panels(
    summary: Summary, task: str, series: Mapping[str, Series], x_title: str, y_title: str, *, log: bool
) -> Figure:
    """One panel with all means, then one per label with its band over the comparator's; axes shared."""
    look, reference = looks(summary), summary["comparator"]
    alone = [label for label in series if label != reference] or list(series)
    total = 1 + len(alone)
    # Three in a row rather than four where that costs no row and leaves fewer places empty.
    columns = min(total, min(COLUMNS, COLUMNS - 1, key=lambda n: (math.ceil(total / n), -total % n)))
    rows = math.ceil(total / columns)
    names = [name_of(summary, label) for label in series]
    figure = Figure(
        figsize=(WIDTH, 0.65 + 1.5 * rows + 0.17 * math.ceil(len(names) / _legend_columns(names))), layout="constrained"
    )
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for label, line in series.items():
        axes[0].plot(line.x, line.y("value"), **look[label].keywords())
    axes[0].set_title("all, means only", color="0.3")
    for axis, label in zip(axes[1:], alone, strict=False):
        for drawn in dict.fromkeys([reference, label] if reference in series else [label]):
            _banded(axis, series[drawn], look[drawn], faint=drawn == reference != label)
        axis.set_title(name_of(summary, label), color=look[label].colour)
    for axis in axes[total:]:
        axis.set_visible(False)
    for number, axis in enumerate(axes[:total]):
        if log:
            ks = next(iter(series.values())).x
            axis.set_xscale("log", base=2)
            axis.set_xticks(ks, [f"{k:g}" for k in ks])
            axis.minorticks_off()
        else:
            axis.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        # Panels above an empty place carry the axis labels that the missing panel would have.
        lowest = number + columns >= total
        axis.tick_params(labelbottom=lowest)
        axis.set_xlabel(x_title if lowest else "")
        axis.set_ylabel(y_title if number % columns == 0 else "")
    figure.suptitle(task, x=0.01, ha="left", fontsize=7)
    _legend(figure, summary, list(series))
    return figure


def _legend_columns(names: Sequence[str]) -> int:
    """As many entries side by side as fit the width; a legend fills column by column."""
    for columns in range(min(LEGEND, len(names)), 1, -1):
        rows = math.ceil(len(names) / columns)
        longest = [max(map(len, names[i : i + rows])) for i in range(0, len(names), rows)]
        # In inches, at 7 points: handle and gaps, then a mean character.
        if sum(0.6 + 0.057 * length for length in longest) <= WIDTH:
            return len(longest)
    return 1


def _legend(figure: Figure, summary: Summary, labels: list[str], *more: Patch) -> None:
    """One legend below the panels: the comparator, the base model, then the others."""
    look = looks(summary)
    handles: list[Any] = [Line2D([], [], label=name_of(summary, label), **look[label].keywords())
                          for label in sorted(labels, key=list(look).index)]  # fmt: skip
    handles += more
    columns = _legend_columns([handle.get_label() for handle in handles])
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=3.2)


def _banded(axis: Axes, line: Series, look: Look, *, faint: bool) -> None:
    if faint:
        axis.plot(line.x, line.y("value"), color="black", linewidth=0.8)
        axis.fill_between(line.x, line.y("low"), line.y("high"), color="0.5", alpha=0.18, linewidth=0)
        return
    axis.plot(line.x, line.y("value"), **look.keywords())
    axis.fill_between(line.x, line.y("low"), line.y("high"), color=look.colour, alpha=0.22, linewidth=0)
    # Edges keep the band readable without colour and over the comparator's.
    for end in ("low", "high"):
        axis.plot(line.x, line.y(end), color=look.colour, linewidth=0.4)


def _forest(summary: Summary, task: str, content: Summary) -> Picture:
    """Paired differences from the comparator: accuracy, and distinct right answers where the valid set is known."""
    reference = summary["comparator"]
    shown = {"accuracy": "Accuracy"}
    if "divergence" in content["differences"][reference]:
        shown["distinct_right"] = "Distinct right answers per problem"
    rows = content["differences"][reference]["accuracy"]
    height = 0.85 + 0.2 * len(rows)
    figure = Figure(figsize=(WIDTH if len(shown) > 1 else WIDTH / 2, height), layout="constrained")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False).flatten()
    for axis, (measure, title) in zip(axes, shown.items(), strict=True):
        for place, row in enumerate(content["differences"][reference][measure].values()):
            if row["value"] is None:
                continue
            face = "black" if row["survives"] else "white"
            axis.plot([row["low"], row["high"]], [place, place], color="black", linewidth=0.9)
            axis.plot(row["value"], place, marker="o", markersize=4, color="black", markerfacecolor=face)
        axis.axvline(0, color="#D55E00", linewidth=0.8, linestyle=(0, (4, 2)))
        axis.set_xlabel(f"{title}: difference from {reference}")
        axis.grid(visible=False, axis="y")
        axis.xaxis.set_major_locator(MaxNLocator(5))
    axes[0].set_yticks(range(len(rows)), [name_of(summary, label) for label in rows])
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    handles = [Line2D([], [], color="black", marker="o", markersize=4, linewidth=0.9, markerfacecolor=face, label=text)
               for face, text in (("black", "survives Holm"), ("white", "does not"))]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    caption = (
        f"Differences from {reference} on {task}, paired by problem and seed, with {100 * summary['level']:.0f} % "
        f"intervals. Filled: survives Holm's correction over the {len(rows)} comparisons "
        f"of the panel at α = {summary['alpha']:g}; the intervals themselves are not corrected."
    )
    return _picture(f"differences-{task}", f"Differences from {reference}: {task}", caption, figure)


def _training(summary: Summary, steps: pd.DataFrame) -> Picture:
    """Group kinds and entropy against rollouts consumed; mean over seeds, band from lowest to highest seed."""
    look, shares = looks(summary), {"all_right": "All right", "mixed": "Mixed", "all_wrong": "All wrong"}
    present = [label for label in summary["labels"] if (steps["label"] == label).any()]
    titles = {**{kind: f"{title} groups (share)" for kind, title in shares.items()}, "entropy": "Policy entropy"}
    titles = {column: title for column, title in titles.items() if column in steps}
    band = Patch(facecolor="0.6", alpha=0.4, label="lowest to highest seed")
    names = [*(name_of(summary, label) for label in present), str(band.get_label())]
    height = 3.6 + 0.17 * math.ceil(len(names) / _legend_columns(names))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True).flatten()
    groups = steps[["all_right", "mixed", "all_wrong", "unscored"]].sum(axis=1)
    window = 1
    for axis, (column, title) in zip(axes, titles.items(), strict=False):
        for label in present:
            mine = steps["label"] == label
            values = steps[column] / groups.where(groups > 0) if column in shares else steps[column]
            found = _over_seeds(steps[mine], values[mine])
            if found is None:
                continue
            x, lines, window = found
            axis.fill_between(x, lines.min(0), lines.max(0), color=look[label].colour, alpha=0.13, linewidth=0)
            axis.plot(x, lines.mean(0), **look[label].keywords(), markevery=(len(x) // 12, max(len(x) // 6, 1)))
        axis.set_title(title)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        # A little room, so that lines along an end of the range stay whole.
        axis.set_ylim((-0.03, 1.03) if column in shares else (0, 1.05 * max(axis.dataLim.y1, 1e-9)))
        axis.set_xlim(left=0)
    for axis in axes[len(titles) :]:
        axis.set_visible(False)
    for axis in axes[max(len(titles) - 2, 0) : len(titles)]:
        axis.set_xlabel("Rollouts consumed")
        axis.tick_params(labelbottom=True)
    _legend(figure, summary, present, band)
    smooth = f" Running mean over {window} steps." if window > 1 else ""
    caption = (
        "Group kinds and policy entropy over training: mean over seeds, the band runs from the lowest to the highest "
        "seed (it is not an interval). Groups that are all right or all wrong carry no signal from the verdict."
        f"{smooth}"
    )
    return _picture("training", "Groups and entropy over training", caption, figure)


def _over_seeds(steps: pd.DataFrame, values: pd.Series[float]) -> tuple[Any, Any, int] | None:
    """Values (seeds, points) on one grid of rollouts, smoothed over a twentieth of the steps; None without values."""
    found = []
    for _, part in steps.assign(value=values).dropna(subset=["value"]).sort_values("rollouts").groupby("seed"):
        window = max(len(part) // 20, 1)
        smooth = part["value"].rolling(window, center=True, min_periods=1).mean()
        found.append((part["rollouts"].to_numpy(dtype=float), smooth.to_numpy(dtype=float), window))
    if not found:
        return None
    # Only where every seed has been: outside, the band would narrow for lack of seeds.
    grid = np.linspace(max(x[0] for x, _, _ in found), min(x[-1] for x, _, _ in found), 120)
    return grid, np.array([np.interp(grid, x, y) for x, y, _ in found]), max(w for _, _, w in found)


def _picture(name: str, title: str, caption: str, figure: Figure) -> Picture:
    # Laid out once, not once per format.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    files = {}
    for kind in FORMATS:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=_METADATA[kind])
        files[kind] = buffer.getvalue()
    return Picture(name, title, caption, files)
