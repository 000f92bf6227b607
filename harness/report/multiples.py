"""Figures of a run with many optimizers: one small panel for each, on shared axes, in the order of the experiment.

A panel's title names its optimizer, so colour and marker are free to tell what the optimizer is shown besides verdicts.
The comparator (and the base model, where it has a line) is in every panel, in grey.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from groupwise.harness.layout import BASE
from groupwise.harness.report.drawing import (
    CHARACTER,
    COLOURS,
    GREY,
    LINES,
    MARKERS,
    WIDTH,
    Drawing,
    Look,
    Series,
    Summary,
    banded,
    broken,
    handle,
    legend,
    legend_height,
    over_seeds,
    titled,
    x_scale,
)
from groupwise.harness.report.progress import collapse_words, collapses, cross, seldom_cut, shares
from groupwise.harness.report.tables import name_of, supervision

COLUMNS = (5, 4)  # panels in a row: four where that costs no row and leaves fewer places empty
POINTS = 28  # of a line over training: a panel is too small for more
# Name of the figure: column of the steps, title, words on the axis.
OVER_TRAINING = {
    "entropy": ("entropy", "Policy entropy", "Policy entropy"),
    "length": ("length_mean", "Length of the completions", "Tokens per completion"),
    "truncated": ("truncated_share", "Completions cut at the limit", "Share cut"),
}
# Of a share of groups from the bottom of the stack: title, colour. Light, dark and middling without colour; mixed
# groups lie on the axis, because the line of the groups with a signal is to be compared with them.
STACK = {"mixed": ("Mixed", "#BFE1F6"), "all_right": ("All right", "#009E73"), "all_wrong": ("All wrong", "#E69F00")}


def how(summary: Summary) -> str:
    """How to read a panel, for the caption; to be formatted with what a panel is for."""
    return (
        f"One panel for each {{}}, with {summary['comparator']} in all of them (grey); colour and marker: supervision"
    )


def lines(
    summary: Summary, title: str, series: Mapping[str, Series], x_title: str, y_title: str, *, log: bool
) -> Figure:
    """Each label's line and band, over the comparator's line and the base model's."""
    labels = [label for label in summary["labels"] if label in series]
    look, behind = supervision_looks(summary), _behind(summary, labels)
    kinds = dict.fromkeys(supervision(summary, label) for label in labels if label != BASE)
    handles: list[Line2D | Patch] = [handle(summary, label, found) for label, found in behind.items()]
    handles += [Line2D([], [], label=kind, **look[kind].keywords()) for kind in kinds]
    figure, panels = grid(summary, labels, handles, x_title, y_title)
    for label, axis in panels.items():
        for reference, grey in behind.items():
            if reference != label:
                axis.plot(series[reference].x, series[reference].y("value"), **{**grey.keywords(), "linewidth": 0.8})
        own = behind[BASE] if label == BASE else look[supervision(summary, label)]
        banded(axis, series[label], own, markevery=max(len(series[label].x) // 8, 1))
        x_scale(axis, series[label], log=log)
    titled(figure, title)
    return figure


def training(summary: Summary, steps: pd.DataFrame) -> Iterator[Drawing]:
    """Kinds of groups, then entropy, then lengths, against rollouts consumed."""
    present = [label for label in summary["labels"] if (steps["label"] == label).any()]
    window = max(found[2] for _, mine in steps.groupby("label") if (found := over_seeds(mine, mine["rollouts"])))
    smooth = f" Running mean over {window} steps." if window > 1 else ""
    caption = (
        "Shares of the groups drawn over training, mean over seeds, one panel for each optimizer. Groups that are all "
        "right or all wrong carry no signal from the verdict; white: could not be scored. Line: groups in which the "
        "optimizer found an advantage other than 0. Above the mixed groups it learns from groups without contrast; "
        f"below them it leaves out some that have it.{smooth}{collapse_words(summary).replace('Crosses', 'Dotted')}"
    )
    yield Drawing("training", "Groups over training", caption, _groups(summary, steps, present))
    cut = seldom_cut(steps)
    for name, (column, title, words) in OVER_TRAINING.items():
        series = {label: line for label in present if (line := _line(steps[steps["label"] == label], column))}
        if not any(value > 0 for line in series.values() for value in line.y("high")):
            continue
        if column == "truncated_share" and cut:
            continue
        figure = lines(summary, f"{title} over training", series, "Rollouts consumed", words, log=False)
        figure.axes[0].set_ylim(bottom=0)
        marks = ""
        if column == "entropy":
            marks = collapse_words(summary)
            for label, axis in zip(series, figure.axes, strict=False):
                cross(axis, collapses(summary, label), series[label].x, series[label].y("value"))
        caption = (
            f"{title} over training, mean over {len(summary['seeds'])} seeds. {how(summary).format('optimizer')}; the "
            f"band runs from the lowest to the highest seed (it is not an interval).{smooth}{marks}"
            f"{cut if column == 'length_mean' else ''}"
        )
        yield Drawing(name, f"{title} over training", caption, figure)


def _groups(summary: Summary, steps: pd.DataFrame, present: list[str]) -> Figure:
    """Kinds of groups as a stack, groups with an advantage as a line."""
    handles: list[Line2D | Patch] = [
        Patch(facecolor=colour, label=f"{title} groups") for title, colour in STACK.values()
    ]
    signal = Line2D([], [], color="black", label="Groups with an advantage")
    figure, panels = grid(summary, present, [*handles, signal], "Rollouts consumed", "Share of groups")
    every = shares(steps)
    for label, axis in panels.items():
        mine = steps["label"] == label
        found = [line for kind in STACK if (line := over_seeds(steps[mine], every.loc[mine, kind], POINTS))]
        if found:
            x, heights = found[0][0], [values.mean(0) for _, values, _ in found]
            colours = [colour for _, colour in STACK.values()]
            axis.stackplot(x, heights, colors=colours, edgecolor="white", linewidth=0.3)
        if "signal_share" in steps and (own := over_seeds(steps[mine], steps.loc[mine, "signal_share"], POINTS)):
            axis.plot(own[0], own[1].mean(0), color="black")
        for place in collapses(summary, label):
            axis.axvline(place, color="black", linewidth=0.8, linestyle=(0, (1, 1)))
        axis.set_ylim(0, 1.02)  # a line along the top stays whole
        axis.grid(visible=False)
        x_scale(axis, Series([], []), log=False)
    titled(figure, "Groups over training")
    return figure


def _line(steps: pd.DataFrame, column: str) -> Series | None:
    """Mean over the seeds of one label, with the lowest and the highest as band."""
    if column not in steps or not (found := over_seeds(steps, steps[column], POINTS)):
        return None
    x, values, _ = found
    rows = zip(values.mean(0), values.min(0), values.max(0), strict=True)
    return Series(x, [{"value": mean, "low": low, "high": high} for mean, low, high in rows])


def supervision_looks(summary: Summary) -> dict[str, Look]:
    """A look per kind of supervision, in the order in which the experiment has them."""
    kinds = dict.fromkeys(supervision(summary, label) for label in summary["labels"] if label != BASE)
    return {kind: Look(COLOURS[i % len(COLOURS)], MARKERS[i % 7], LINES[i % 5]) for i, kind in enumerate(kinds)}


def _behind(summary: Summary, labels: list[str]) -> dict[str, Look]:
    """What is in every panel: the comparator solid, the base model dotted."""
    looks = {summary["comparator"]: Look(GREY, "", "-"), BASE: Look(GREY, "", (0, (1, 1)))}
    return {label: look for label, look in looks.items() if label in labels}


def grid(
    summary: Summary,
    labels: list[str],
    handles: Sequence[Line2D | Patch],
    x_title: str,
    y_title: str,
    row: float = 1.05,
) -> tuple[Figure, dict[str, Axes]]:
    """An empty panel for each label, titled, with one legend for all. row: inches of a panel's height."""
    total = len(labels)
    columns = min(total, min(COLUMNS, key=lambda n: (math.ceil(total / n), -total % n)))
    rows = math.ceil(total / columns)
    names = [name_of(summary, label) for label in labels]
    # The longest name fits over a panel less a gap: on two lines, or in smaller type where it has no place to break.
    room = int(((WIDTH - 0.6) / columns - 0.05) / CHARACTER)
    titles = [broken(name, room) for name in names]
    longest = max(len(line) for title in titles for line in title.split("\n"))
    lines_of_type = max(title.count("\n") for title in titles)
    height = 0.6 + (row + 0.11 * lines_of_type) * rows
    height += legend_height([str(entry.get_label()) for entry in handles], WIDTH)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for number, (axis, title) in enumerate(zip(axes, titles, strict=False)):
        axis.set_title(title, fontsize=min(7.0, 7.0 * room / longest), linespacing=1.05)
        # Panels above an empty place carry the numbers that the missing panel would have.
        axis.tick_params(labelbottom=number + columns >= total)
        axis.set_xlabel(x_title if number >= (rows - 1) * columns else "")
        axis.set_ylabel(y_title if number % columns == 0 else "")
    for axis in axes[total:]:
        axis.set_visible(False)
    legend(figure, handles)
    return figure, dict(zip(labels, axes, strict=False))
