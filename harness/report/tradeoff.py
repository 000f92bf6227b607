"""Diversity against accuracy: what training bought, and what it cost, in one picture."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from groupwise.harness.layout import BASE
from groupwise.harness.report.drawing import (
    COLUMN,
    GREY,
    WIDTH,
    Drawing,
    Look,
    Summary,
    crowded,
    legend,
    looks,
    percent,
    settle,
    titled,
)
from groupwise.harness.report.multiples import supervision_looks
from groupwise.harness.report.placing import Array, point_names
from groupwise.harness.report.tables import design, name_of, noun, supervision

# The first that all labels have: different right answers where a problem has several, else the spread of all answers.
MEASURES = ("distinct_right", "entropy", "distinct")
ARROWS = 9  # from the base model; more would be a thicket


def measure_of(content: Summary) -> str | None:
    """The column of the diversity measure that says most about the task; None when there is none."""
    for column in MEASURES:
        found = [row["diversity"].get(column) for row in content["labels"].values()]
        if found and all(estimate and estimate["value"] is not None for estimate in found):
            return column
    return None


def drawing(summary: Summary, task: str, content: Summary, column: str) -> Drawing:
    """One point per label with both intervals, arrows from the base model, the front of the means."""
    measure, many = summary["measures"][column], crowded(summary)
    points = {
        label: (row["accuracy"], row["diversity"][column])
        for label, row in content["labels"].items()
        if row["accuracy"]["value"] is not None
    }
    figure = Figure(figsize=(WIDTH, 4.6) if many else (COLUMN, 3.1), layout="constrained")
    axis = figure.subplots()
    look = _looks(summary) if many else looks(summary)
    spots = {label: (x["value"], y["value"]) for label, (x, y) in points.items()}
    # Of the other measures wrong answers are a part: more is no gain by itself, and a front would say that it is.
    right = column == MEASURES[0]
    best = front([spot for label, spot in spots.items() if label != BASE])
    if right and len(best) > 1:
        axis.step(*zip(*best, strict=True), where="pre", color="0.1", linewidth=1.0, linestyle=(0, (3, 1.5)), zorder=3)
    drawn: list[tuple[Array, Array]] = []
    if BASE in spots and len(spots) <= ARROWS + 1:
        for label, spot in spots.items():
            if label != BASE:
                arrow = {"arrowstyle": "->", "color": "0.78", "linewidth": 0.5, "shrinkA": 4, "shrinkB": 4}
                axis.annotate("", spot, spots[BASE], arrowprops=arrow, zorder=1.5)
                drawn.append((np.array(spots[BASE]), np.array(spot)))
    drawn += [bar for label, (x, y) in points.items() for bar in _cross(axis, x, y, look[label], faint=many)]
    axis.margins(0.08)
    axis.set_xlabel("Accuracy")
    unit = f" ({measure['unit']})" if measure["unit"] == "bits" else " per problem"
    axis.set_ylabel(measure["title"] + unit)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    titled(figure, f"Diversity against accuracy: {task}")
    if many:
        kinds = dict.fromkeys(supervision(summary, label) for label in points if label != BASE)
        shown = supervision_looks(summary)
        legend(figure, [Line2D([], [], label=kind, **{**shown[kind].keywords(), "linestyle": ""}) for kind in kinds])
    # Names are placed on the final layout, in inches; nothing may move afterwards.
    settle(figure)
    names = {label: name_of(summary, label) for label in spots}
    colours = None if many else {names[label]: look[label].colour for label in spots}
    point_names(axis, {names[label]: spot for label, spot in spots.items()}, drawn, colours)
    arrows = "; arrows lead from the model before training" if BASE in spots and len(spots) <= ARROWS + 1 else ""
    reading = _reading(noun(summary), right=right, front=len(best) > 1)
    caption = (
        f"{measure['title']} ({measure['note']}) against accuracy on {task}, {design(content)}. Crosses: "
        f"{percent(summary)} intervals of both, each for itself{arrows}. {reading}"
    )
    return Drawing(f"trade-off-{task}", f"Diversity against accuracy: {task}", caption, figure)


def _reading(who: str, *, right: bool, front: bool) -> str:
    """What is better, for the caption. right: the measure counts right answers alone. front: a line shows the best."""
    if not right:
        return "The measure counts wrong answers as well: to the right is better, up is not better by itself."
    dashed = f"Dashed: no {who}'s mean is better in both than one on this line; the intervals say how sure that is. "
    return f"{dashed if front else ''}Up and to the right is better."


def _looks(summary: Summary) -> dict[str, Look]:
    """Of many optimizers, by what they are shown besides verdicts."""
    found = supervision_looks(summary)
    look = {label: found[supervision(summary, label)] for label in summary["labels"] if label != BASE}
    reference = look[summary["comparator"]]
    return {**look, BASE: Look(GREY, "x", "-"), summary["comparator"]: Look("black", reference.marker, "-")}


def _cross(axis: Axes, x: Summary, y: Summary, look: Look, *, faint: bool) -> list[tuple[Array, Array]]:
    """A point with its two intervals; their ends, for names to keep off."""
    ends = []
    for low, high, along in ((x["low"], x["high"], 0), (y["low"], y["high"], 1)):
        if low is None or high is None:
            continue
        start = np.array([low, y["value"]] if along == 0 else [x["value"], low], dtype=np.float64)
        end = np.array([high, y["value"]] if along == 0 else [x["value"], high], dtype=np.float64)
        axis.plot(*zip(start, end, strict=True), color=look.colour, linewidth=0.5 if faint else 0.8,
                  alpha=0.35 if faint else 0.8)  # fmt: skip
        ends.append((start, end))
    thin = look.marker == "x"  # has no face
    edge = {"markeredgewidth": 1.2, "markeredgecolor": look.colour} if thin else {"markeredgecolor": "white"}
    axis.plot(x["value"], y["value"], color=look.colour, marker=look.marker, markersize=5, zorder=4, **edge)
    return ends


def front(spots: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points that no other beats in both coordinates, from left to right."""
    kept = [
        (x, y) for x, y in spots if not any(u >= x and v >= y and (u, v) != (x, y) for u, v in spots)
    ]  # fmt: skip
    return sorted(set(kept))
