"""One row for each optimizer: its seeds, the length of its answers, its accuracy by kind of problem."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from groupwise.harness.layout import BASE
from groupwise.harness.report import multiples
from groupwise.harness.report.drawing import (
    COLUMN,
    GREY,
    MARKERS,
    Drawing,
    Look,
    Summary,
    crowded,
    handle,
    legend,
    legend_height,
    looks,
    percent,
    titled,
)
from groupwise.harness.report.forest import ROW, row_names
from groupwise.harness.report.labels import FEW
from groupwise.harness.report.progress import CUT
from groupwise.harness.report.tables import design, name_of, parts_words

JOINED = (9, 5)  # optimizers and seeds up to which lines that join a seed's dots can be followed
VALUES = 12  # kinds of problems in one figure, at most
DODGE = 0.075  # inches between the optimizers of one kind of problem


def seeds(summary: Summary, task: str, content: Summary) -> Drawing | None:
    """Each training seed's accuracy beside the mean and its interval; None without a label with two seeds or scores."""
    found = {label: row.get("per_seed") or [] for label, row in content["labels"].items()}
    numbers = sorted({dot["seed"] for dots in found.values() for dot in dots})
    scored = any(dot["accuracy"]["value"] is not None for dots in found.values() for dot in dots)
    if max(map(len, found.values()), default=0) < 2 or not scored:
        return None
    labels = list(content["labels"])
    figure = Figure(
        figsize=(COLUMN, 0.8 + ROW * len(labels) + 0.17 * math.ceil(len(numbers) / 5)), layout="constrained"
    )
    axis = figure.subplots()
    place = {label: row for row, label in enumerate(labels)}
    marker = {seed: Look("0.35", MARKERS[i % 7], "") for i, seed in enumerate(numbers)}
    joined = len(labels) <= JOINED[0] + 1 and len(numbers) <= JOINED[1]
    for seed in numbers:
        dots = [(dot["accuracy"]["value"], place[label] - 0.16) for label, own in found.items() for dot in own
                if dot["seed"] == seed and len(own) > 1 and dot["accuracy"]["value"] is not None]  # fmt: skip
        x, y = [dot[0] for dot in dots], [dot[1] for dot in dots]
        axis.plot(x, y, color="0.8", linewidth=0.5 if joined else 0)
        axis.plot(x, y, color="0.35", marker=marker[seed].marker, markersize=3.2, linestyle="", markerfacecolor="white"
                  if numbers.index(seed) >= len(MARKERS) else "0.35")  # fmt: skip
    for label in labels:
        _interval(axis, content["labels"][label]["accuracy"], place[label] + 0.2, _mean(label))
    row_names(axis, [name_of(summary, label) for label in labels])
    axis.set_xlabel("Accuracy")
    axis.xaxis.set_major_locator(MaxNLocator(6))
    handles = [Line2D([], [], color="0.35", marker=look.marker, linestyle="", label=f"seed {seed}",
                      markerfacecolor="white" if numbers.index(seed) >= len(MARKERS) else "0.35")
               for seed, look in marker.items()]  # fmt: skip
    mean = Line2D([], [], color="black", marker="|", markersize=6, linewidth=1.1, label="mean and interval")
    figure.legend(handles=[*handles, mean], loc="outside lower center", ncols=4, handlelength=1.6, columnspacing=1.0)
    titled(figure, f"Accuracy by training seed: {task}")
    lines = "; a thin line joins a seed from optimizer to optimizer" if joined else ""
    caption = (
        f"Accuracy on {task} of each training seed (one marker per seed, the same for all optimizers{lines}), and the "
        f"mean over seeds with its {percent(summary)} interval below. {design(content)}, problems and seeds crossed. A "
        f"seed's dot is its mean over the problems; {BASE} is one model and has no training seed."
    )
    return Drawing(f"seeds-{task}", f"Accuracy by training seed: {task}", caption, figure)


def _mean(label: str) -> Look:
    return Look(GREY if label == BASE else "black", "|", "-")


def _interval(axis: Axes, estimate: Summary | None, y: float, look: Look, size: float = 6) -> None:
    """A mean with its interval along x."""
    if not estimate or estimate["value"] is None:
        return
    if estimate["low"] is not None and estimate["high"] is not None:
        axis.plot([estimate["low"], estimate["high"]], [y, y], color=look.colour, linewidth=0.9)
    axis.plot(estimate["value"], y, color=look.colour, marker=look.marker, markersize=size)


def lengths(summary: Summary, task: str, content: Summary) -> Drawing:
    """Tokens per answer and the share cut at the limit, in the final evaluation."""
    shown = {"tokens": "Tokens per answer"}
    shares = [row["truncated"]["value"] or 0.0 for row in content["labels"].values()]
    if max(shares) >= CUT:
        shown["truncated"] = "Share cut at the limit"
    labels, reference = list(content["labels"]), summary["comparator"]
    figure = Figure(figsize=(COLUMN, 0.65 + ROW * len(labels)), layout="constrained")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False).flatten()
    for axis, (column, title) in zip(axes, shown.items(), strict=True):
        for place, label in enumerate(labels):
            # A line across for the mean: a dot would hide an interval narrower than itself.
            _interval(axis, content["labels"][label][column], place, _mean(label), 6)
        if reference in content["labels"] and (value := content["labels"][reference][column]["value"]) is not None:
            axis.axvline(value, color="0.6", linewidth=0.6, linestyle=(0, (4, 2)), zorder=0)
        axis.set_xlabel(title)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        # A little room at the right: from 0 on, all may lie close to the end.
        axis.set_xlim(0, 1.05 * max(axis.dataLim.x1, 1e-9))
        axis.grid(visible=False, axis="y")
        axis.tick_params(axis="y", length=0)
    row_names(axes[0], [name_of(summary, label) for label in labels])
    titled(figure, f"Length of the answers: {task}")
    cut = ""
    if "truncated" not in shown:
        words = f"Below {100 * CUT:.0f} % of every label's answers were" if any(shares) else "No answer was"
        cut = f" {words} cut at the length limit."
    caption = (
        f"Length of the answers on {task} in the final evaluation with {percent(summary)} intervals "
        f"({design(content)}); dashed: {reference}.{cut}"
    )
    return Drawing(f"lengths-{task}", f"Length of the answers: {task}", caption, figure)


def breakdowns(summary: Summary, task: str, content: Summary) -> Iterator[Drawing]:
    """Accuracy by each field that the problems carry (subject, level), at most `VALUES` values of each.

    Parts of fewer than `FEW` problems are left to the tables, and with them what leaves fewer than two.
    """
    for field, every in (content.get("breakdown") or {}).items():
        values = {value: kind for value, kind in every.items() if kind["problems"] >= FEW}
        if len(values) < 2:
            continue
        kept = sorted(values, key=lambda value: -values[value]["problems"])[:VALUES]
        shown = {value: values[value] for value in values if value in kept}
        figure = (_breakdown_panels if crowded(summary) else _breakdown)(summary, field, shown)
        title = f"Accuracy by {field}: {task}"
        titled(figure, title)
        least = min(kind["problems"] for kind in shown.values())
        small = ", ".join(f"{value} ({kind['problems']})" for value, kind in every.items() if value not in values)
        small = f" In the tables alone, for fewer than {FEW} problems: {small}." if small else ""
        left_out = f" The {len(shown)} largest of {len(values)} are shown." if len(values) > len(shown) else ""
        few = f" The smallest has {least} problems: its intervals are wide."
        how = multiples.how(summary).format("label") + ". " if crowded(summary) else ""
        caption = (
            f"Accuracy on {task} by {field}, with {percent(summary)} intervals ({design(content)} in all; problems of "
            f"each in brackets).{parts_words(content, field)}{small} {how}Many intervals are looked at here without "
            f"correction.{few}{left_out}"
        )
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", field)
        yield Drawing(f"breakdown-{task}-{name}", title, caption, figure)


def _names(values: Summary) -> list[str]:
    return [f"{value} ({kind['problems']})" for value, kind in values.items()]


def _breakdown(summary: Summary, field: str, values: Summary) -> Figure:
    """Rows of values, in each the labels below one another."""
    look = looks(summary)
    labels = [label for label in summary["labels"] if any(label in kind["labels"] for kind in values.values())]
    block = DODGE * (len(labels) + 2)
    names = [name_of(summary, label) for label in labels]
    height = 0.6 + block * len(values) + legend_height(names, COLUMN)
    figure = Figure(figsize=(COLUMN, height), layout="constrained")
    axis = figure.subplots()
    for row, kind in enumerate(values.values()):
        for number, label in enumerate(labels):
            y = row + (number - (len(labels) - 1) / 2) * DODGE / block
            _interval(axis, kind["labels"].get(label), y, look[label], 3)
        if row:
            axis.axhline(row - 0.5, color="0.8", linewidth=0.5)
    row_names(axis, _names(values))
    axis.set_ylim(len(values) - 0.5, -0.5)
    axis.set_ylabel(f"{field} (problems)")
    axis.set_xlabel("Accuracy")
    axis.set_xlim(-0.02, 1.02)
    solid = {label: Look(look[label].colour, look[label].marker, "-") for label in labels}
    legend(figure, [handle(summary, label, solid[label]) for label in labels])
    return figure


def _breakdown_panels(summary: Summary, field: str, values: Summary) -> Figure:
    """A panel per label with the values as rows; the comparator in grey."""
    labels = [label for label in summary["labels"] if any(label in kind["labels"] for kind in values.values())]
    reference = summary["comparator"]
    grey = Line2D([], [], color=GREY, marker="|", linestyle="", label=name_of(summary, reference))
    figure, panels = multiples.grid(
        summary, labels, [grey], "Accuracy", f"{field} (problems)", row=0.35 + 0.13 * len(values)
    )
    for label, axis in panels.items():
        for row, kind in enumerate(values.values()):
            other = kind["labels"].get(reference)
            if label != reference and other and other["value"] is not None:
                axis.plot(other["value"], row, color=GREY, marker="|", markersize=7)
            _interval(axis, kind["labels"].get(label), row, Look("black", "o", "-"), 2.8)
        row_names(axis, _names(values))
        axis.set_xlim(-0.02, 1.02)
    return figure
