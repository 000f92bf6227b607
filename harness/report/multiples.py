"""Figures of a run with many optimizers: one small panel for each, on shared axes, in the order of the experiment.

A panel's title names its optimizer, so colour and marker are free to tell what the optimizer is shown besides verdicts.
The comparator (and the base model, where it has a line) is in every panel, in grey.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from groupwise.harness.layout import BASE
from groupwise.harness.report.drawing import (
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
    handle,
    legend,
    legend_columns,
    over_seeds,
    x_scale,
)
from groupwise.harness.report.read import KINDS
from groupwise.harness.report.tables import name_of, supervision

COLUMNS = (5, 4)  # panels in a row: four where that costs no row and leaves fewer places empty
POINTS = 40  # of a line over training: a panel is too small for more
# Of a share of groups from the bottom of the stack: title, colour. Light, dark and middling without colour; mixed
# groups lie on the axis, because the line of the groups with a signal is to be compared with them.
STACK = {"mixed": ("Mixed", "#BFE1F6"), "all_right": ("All right", "#009E73"), "all_wrong": ("All wrong", "#E69F00")}


def how(summary: Summary) -> str:
    """How to read a panel, for the caption; to be formatted with what a panel is for."""
    return (
        f"One panel for each {{}}, with {summary['comparator']} in all of them (grey); colour and marker: supervision"
    )


def lines(
    summary: Summary, task: str, series: Mapping[str, Series], x_title: str, y_title: str, *, log: bool
) -> Figure:
    """Each label's line and band, over the comparator's line and the base model's."""
    labels = [label for label in summary["labels"] if label in series]
    look, behind = _looks(summary), _behind(summary, labels)
    kinds = dict.fromkeys(supervision(summary, label) for label in labels if label != BASE)
    handles: list[Line2D | Patch] = [handle(summary, label, found) for label, found in behind.items()]
    handles += [Line2D([], [], label=kind, **look[kind].keywords()) for kind in kinds]
    figure, panels = _grid(summary, labels, handles, x_title, y_title)
    for label, axis in panels.items():
        for reference, grey in behind.items():
            if reference != label:
                axis.plot(series[reference].x, series[reference].y("value"), **{**grey.keywords(), "linewidth": 0.8})
        own = behind[BASE] if label == BASE else look[supervision(summary, label)]
        banded(axis, series[label], own, markevery=max(len(series[label].x) // 8, 1))
        x_scale(axis, series[label], log=log)
    figure.suptitle(task, x=0.01, ha="left", fontsize=7)
    return figure


def training(summary: Summary, steps: pd.DataFrame) -> Iterator[Drawing]:
    """Kinds of groups, then entropy, against rollouts consumed."""
    present = [label for label in summary["labels"] if (steps["label"] == label).any()]
    window = max(found[2] for _, mine in steps.groupby("label") if (found := over_seeds(mine, mine["rollouts"])))
    smooth = f" Running mean over {window} steps." if window > 1 else ""
    caption = (
        "Shares of the groups drawn over training, mean over seeds, one panel for each optimizer. Groups that are all "
        "right or all wrong carry no signal from the verdict; white: could not be scored. Line: groups in which the "
        "optimizer found an advantage other than 0. Above the mixed groups it learns from groups without contrast; "
        f"below them it leaves out some that have it.{smooth}"
    )
    yield Drawing("training", "Groups over training", caption, _groups(summary, steps, present))
    entropy = {label: line for label in present if (line := _entropy(steps[steps["label"] == label]))}
    if entropy:
        figure = lines(summary, "", entropy, "Rollouts consumed", "Policy entropy", log=False)
        figure.axes[0].set_ylim(bottom=0)
        caption = (
            f"Policy entropy over training, mean over seeds. {how(summary).format('optimizer')}; the band runs from "
            f"the lowest to the highest seed (it is not an interval).{smooth}"
        )
        yield Drawing("entropy", "Policy entropy over training", caption, figure)


def _groups(summary: Summary, steps: pd.DataFrame, present: list[str]) -> Figure:
    """Kinds of groups as a stack, groups with an advantage as a line."""
    handles: list[Line2D | Patch] = [
        Patch(facecolor=colour, label=f"{title} groups") for title, colour in STACK.values()
    ]
    signal = Line2D([], [], color="black", label="Groups with an advantage")
    figure, panels = _grid(summary, present, [*handles, signal], "Rollouts consumed", "Share of groups")
    counts = steps[list(KINDS)]
    shares = counts.div(counts.sum(axis=1).where(lambda total: total > 0), axis=0)
    for label, axis in panels.items():
        mine = steps["label"] == label
        found = [line for kind in STACK if (line := over_seeds(steps[mine], shares.loc[mine, kind], POINTS))]
        if found:
            x, heights = found[0][0], [values.mean(0) for _, values, _ in found]
            colours = [colour for _, colour in STACK.values()]
            axis.stackplot(x, heights, colors=colours, edgecolor="white", linewidth=0.3)
        if "signal_share" in steps and (own := over_seeds(steps[mine], steps.loc[mine, "signal_share"], POINTS)):
            axis.plot(own[0], own[1].mean(0), color="black")
        axis.set_ylim(0, 1.02)  # a line along the top stays whole
        axis.grid(visible=False)
        x_scale(axis, Series([], []), log=False)
    return figure


def _entropy(steps: pd.DataFrame) -> Series | None:
    """Mean over the seeds of one label, with the lowest and the highest as band."""
    if "entropy" not in steps or not (found := over_seeds(steps, steps["entropy"], POINTS)):
        return None
    x, values, _ = found
    rows = zip(values.mean(0), values.min(0), values.max(0), strict=True)
    return Series(x, [{"value": mean, "low": low, "high": high} for mean, low, high in rows])


def _looks(summary: Summary) -> dict[str, Look]:
    """A look per kind of supervision, in the order in which the experiment has them."""
    kinds = dict.fromkeys(supervision(summary, label) for label in summary["labels"] if label != BASE)
    return {kind: Look(COLOURS[i % 6], MARKERS[i % 7], LINES[i % 5]) for i, kind in enumerate(kinds)}


def _behind(summary: Summary, labels: list[str]) -> dict[str, Look]:
    """What is in every panel: the comparator solid, the base model dotted."""
    looks = {summary["comparator"]: Look(GREY, "", "-"), BASE: Look(GREY, "", (0, (1, 1)))}
    return {label: look for label, look in looks.items() if label in labels}


def _grid(
    summary: Summary, labels: list[str], handles: list[Line2D | Patch], x_title: str, y_title: str
) -> tuple[Figure, dict[str, Axes]]:
    """An empty panel for each label, titled, with one legend for all."""
    total = len(labels)
    columns = min(total, min(COLUMNS, key=lambda n: (math.ceil(total / n), -total % n)))
    rows = math.ceil(total / columns)
    entries = [str(entry.get_label()) for entry in handles]
    height = 0.5 + 1.05 * rows + 0.17 * math.ceil(len(entries) / legend_columns(entries))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    names = [name_of(summary, label) for label in labels]
    # In inches, at 7 points: a mean character, and the panel less a gap. The longest name fits.
    size = min(7.0, 7.0 * ((WIDTH - 0.6) / columns - 0.05) / (0.06 * max(map(len, names))))
    for number, (axis, name) in enumerate(zip(axes, names, strict=False)):
        axis.set_title(name, fontsize=size)
        # Panels above an empty place carry the numbers that the missing panel would have.
        axis.tick_params(labelbottom=number + columns >= total)
        axis.set_xlabel(x_title if number >= (rows - 1) * columns else "")
        axis.set_ylabel(y_title if number % columns == 0 else "")
    for axis in axes[total:]:
        axis.set_visible(False)
    legend(figure, handles)
    return figure, dict(zip(labels, axes, strict=False))
