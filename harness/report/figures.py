"""Figures of a run, drawn from the summary (and the step records for what happens during training).

From ten optimizers on, lines are drawn one optimizer to a panel (multiples.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from groupwise.harness.layout import BASE
from groupwise.harness.report import multiples
from groupwise.harness.report.drawing import (
    FORMATS,
    STYLE,
    WIDTH,
    Drawing,
    Picture,
    Series,
    Summary,
    banded,
    crowded,
    handle,
    legend,
    legend_columns,
    looks,
    over_seeds,
    render,
    x_scale,
)
from groupwise.harness.report.tables import name_of

__all__ = ["FORMATS", "Picture", "drawings", "pictures"]

COLUMNS = 4  # panels in a row, at most


def pictures(summary: Summary, steps: pd.DataFrame) -> Iterator[Picture]:
    """Every figure that the records allow, in the order of the report."""
    # From matplotlib's own defaults, not from the user's matplotlibrc: the same records give the same bytes.
    settings: Any = {**matplotlib.rcParamsDefault, **STYLE, "backend": "agg"}
    with matplotlib.rc_context(settings):
        yield from map(render, drawings(summary, steps))


def drawings(summary: Summary, steps: pd.DataFrame) -> Iterator[Drawing]:
    for task, content in summary["tasks"].items():
        if content["labels"]:
            yield from _task(summary, task, content)
    if len(steps):
        yield from multiples.training(summary, steps) if crowded(summary) else [_training(summary, steps)]


def _task(summary: Summary, task: str, content: Summary) -> Iterator[Drawing]:
    reference, level = summary["comparator"], f"{100 * summary['level']:.0f} %"
    curve = {label: Series([p["rollouts"] for p in line], [p["accuracy"] for p in line])
             for label, line in content["curve"].items() if len(line) > 1}  # fmt: skip
    several = any(row["accuracy"]["seeds"] > 1 for row in content["labels"].values())
    band = f"bands are {level} intervals ({'problems and training seeds' if several else 'problems alone, one seed'})"
    if crowded(summary):
        panels, how = multiples.lines, f"{multiples.how(summary)}; {band}"
    else:
        panels, how = _panels, f"First panel: all means; other panels: one {{}} each over {reference} (black); {band}"
    if curve:
        figure = panels(summary, task, curve, "Rollouts consumed", "Accuracy", log=False)
        caption = (
            f"Accuracy on {task} against training rollouts consumed. {how.format('optimizer')}. Start: the model "
            "before training; end: the final evaluation, cut down to the problems of the intermediate evaluations."
        )
        yield Drawing(f"curve-{task}", f"Accuracy over training: {task}", caption, figure)
    ks = content["k"]
    if len(ks) > 1:
        passes = {label: Series(ks, [found["pass_at_k"][str(k)] for k in ks])
                  for label, found in content["labels"].items()}  # fmt: skip
        figure = panels(summary, task, passes, "k", "pass@k", log=True)
        caption = (
            f"Unbiased pass@k on {task}. {how.format('label')}. A line that starts above and ends below {BASE} has "
            "traded coverage for accuracy."
        )
        yield Drawing(f"pass-at-k-{task}", f"pass@k: {task}", caption, figure)
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
        figsize=(WIDTH, 0.65 + 1.5 * rows + 0.17 * math.ceil(len(names) / legend_columns(names))), layout="constrained"
    )
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for label, line in series.items():
        axes[0].plot(line.x, line.y("value"), **look[label].keywords())
    axes[0].set_title("all, means only", color="0.3")
    for axis, label in zip(axes[1:], alone, strict=False):
        if reference in series and label != reference:
            _behind(axis, series[reference])
        banded(axis, series[label], look[label])
        axis.set_title(name_of(summary, label), color=look[label].colour)
    for axis in axes[total:]:
        axis.set_visible(False)
    for number, axis in enumerate(axes[:total]):
        x_scale(axis, next(iter(series.values())), log=log)
        # Panels above an empty place carry the axis labels that the missing panel would have.
        lowest = number + columns >= total
        axis.tick_params(labelbottom=lowest)
        axis.set_xlabel(x_title if lowest else "")
        axis.set_ylabel(y_title if number % columns == 0 else "")
    figure.suptitle(task, x=0.01, ha="left", fontsize=7)
    legend(figure, _handles(summary, list(series)))
    return figure


def _handles(summary: Summary, labels: list[str]) -> list[Line2D | Patch]:
    """The comparator, the base model, then the others."""
    look = looks(summary)
    return [handle(summary, label, look[label]) for label in sorted(labels, key=list(look).index)]


def _behind(axis: Axes, line: Series) -> None:
    """The comparator's line and band, for another optimizer's to lie over them."""
    axis.plot(line.x, line.y("value"), color="black", linewidth=0.8)
    axis.fill_between(line.x, line.y("low"), line.y("high"), color="0.5", alpha=0.18, linewidth=0)


def _forest(summary: Summary, task: str, content: Summary) -> Drawing:
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
    return Drawing(f"differences-{task}", f"Differences from {reference}: {task}", caption, figure)


def _training(summary: Summary, steps: pd.DataFrame) -> Drawing:
    """Group kinds and entropy against rollouts consumed; mean over seeds, band from lowest to highest seed."""
    look, shares = looks(summary), {"all_right": "All right", "mixed": "Mixed", "all_wrong": "All wrong"}
    present = [label for label in summary["labels"] if (steps["label"] == label).any()]
    titles = {**{kind: f"{title} groups (share)" for kind, title in shares.items()}, "entropy": "Policy entropy"}
    titles = {column: title for column, title in titles.items() if column in steps}
    band = Patch(facecolor="0.6", alpha=0.4, label="lowest to highest seed")
    names = [*(name_of(summary, label) for label in present), str(band.get_label())]
    height = 3.6 + 0.17 * math.ceil(len(names) / legend_columns(names))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True).flatten()
    groups = steps[["all_right", "mixed", "all_wrong", "unscored"]].sum(axis=1)
    window = 1
    for axis, (column, title) in zip(axes, titles.items(), strict=False):
        for label in present:
            mine = steps["label"] == label
            values = steps[column] / groups.where(groups > 0) if column in shares else steps[column]
            found = over_seeds(steps[mine], values[mine])
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
    legend(figure, [*_handles(summary, present), band])
    smooth = f" Running mean over {window} steps." if window > 1 else ""
    caption = (
        "Group kinds and policy entropy over training: mean over seeds, the band runs from the lowest to the highest "
        "seed (it is not an interval). Groups that are all right or all wrong carry no signal from the verdict."
        f"{smooth}"
    )
    return Drawing("training", "Groups and entropy over training", caption, figure)
