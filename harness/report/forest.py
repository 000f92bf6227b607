"""Differences from the comparator with what could have been found, and mean ranks with what cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from groupwise.harness.report.drawing import COLUMN, Drawing, Summary, broken, legend, percent, titled
from groupwise.harness.report.tables import design, evaluated, name_of

ROW = 0.185  # inches
ROOM = 18  # characters of a row's name on one line


def row_names(axis: Axes, names: Sequence[str]) -> None:
    """One row per name, the first at the top; long names on two lines."""
    axis.set_yticks(range(len(names)), [broken(name, ROOM) for name in names])
    for text, name in zip(axis.get_yticklabels(), names, strict=False):  # panels of a grid may hide theirs
        text.set_linespacing(1.05)
        text.set_fontsize(6 if len(name) > ROOM else 7)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")


def differences(summary: Summary, task: str, content: Summary) -> Drawing:
    """Paired differences from the comparator: accuracy, and what accuracy may have been bought with."""
    reference = summary["comparator"]
    families = content["differences"][reference]
    shown = {"accuracy": "Accuracy"}
    top = f"pass@{content['k'][-1]}" if content["k"] else ""
    if "divergence" in families:
        shown["distinct_right"] = "Distinct right answers"
    elif top in families:
        shown[top] = top
    rows = families["accuracy"]
    figure = Figure(figsize=(COLUMN, 1.15 + ROW * len(rows)), layout="constrained")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False).flatten()
    for axis, (measure, title) in zip(axes, shown.items(), strict=True):
        for place, label in enumerate(rows):
            _difference(axis, place, families[measure].get(label))
        axis.axvline(0, color="black", linewidth=0.6, linestyle=(0, (4, 2)))
        axis.set_xlabel(title)
        axis.xaxis.set_major_locator(MaxNLocator(3 if len(shown) > 1 else 6))
    row_names(axes[0], [name_of(summary, label) for label in rows])
    for axis in axes[1:]:
        axis.tick_params(axis="y", length=0)
        axis.grid(visible=False, axis="y")
    handles: list[Line2D | Patch] = [
        Line2D([], [], color="black", marker="o", markersize=4, linewidth=0.9, markerfacecolor=face, label=text)
        for face, text in (("black", "survives Holm"), ("white", "does not"))
    ]
    legend(figure, [*handles, Patch(facecolor="0.88", label="not detectable")], length=1.4)
    titled(figure, f"Differences from {reference}: {task}")
    paired = "problem" if evaluated(summary) else "problem and seed"
    caption = (
        f"Differences from {reference} on {task}, paired by {paired}, with {percent(summary)} "
        f"intervals ({design(content)}). Filled: survives Holm's correction over the {len(rows)} comparisons "
        f"of the panel at α = {summary['alpha']:g}; the intervals themselves are not corrected. Grey: true differences "
        f"smaller than these would have been found with a probability below "
        f"{100 * summary['power']:.0f} %."
    )
    return Drawing(f"differences-{task}", f"Differences from {reference}: {task}", caption, figure)


def _difference(axis: Axes, place: int, row: Summary | None) -> None:
    if not row or row["value"] is None:
        return
    if row.get("minimum_detectable") is not None:
        axis.barh(place, 2 * row["minimum_detectable"], left=-row["minimum_detectable"], height=1.0, color="0.88")
    if row["low"] is not None and row["high"] is not None:
        axis.plot([row["low"], row["high"]], [place, place], color="black", linewidth=0.9)
    face = "black" if row["survives"] else "white"
    axis.plot(row["value"], place, marker="o", markersize=4, color="black", markerfacecolor=face)


def ranks(summary: Summary, task: str, content: Summary) -> Drawing:
    """Mean ranks, the best at the top; bars join what cannot be told apart (Demšar 2006, turned on its side)."""
    found = content["ranks"]
    order = sorted(range(len(found["labels"])), key=lambda i: (found["mean_ranks"][i], i))
    labels = [found["labels"][i] for i in order]
    place = {label: row for row, label in enumerate(labels)}
    groups = [sorted(place[label] for label in group if label in place) for group in found["groups"]]
    groups = [group for group in groups if len(group) > 1]
    figure = Figure(figsize=(COLUMN, 1.05 + ROW * len(labels)), layout="constrained")
    axis, side = figure.subplots(
        1, 2, sharey=True, width_ratios=[1, max(0.05 * len(groups), 0.02)], gridspec_kw={"wspace": 0.0}
    )
    values = [found["mean_ranks"][i] for i in order]
    axis.plot(values, range(len(labels)), color="black", marker="o", markersize=4, linestyle="", clip_on=False)
    axis.hlines(range(len(labels)), 1, values, color="0.75", linewidth=0.6)
    axis.set_xlim(1, max(len(labels), 2))
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.set_xlabel("Mean rank (1 is best)")
    row_names(axis, [name_of(summary, label) for label in labels])
    # The critical difference as a measure to hold against the dots.
    width = found["critical_difference"]
    axis.plot([1, min(1 + width, max(len(labels), 2))], [-0.85, -0.85], color="black", marker="|", clip_on=False)
    axis.text(1, -1.05, f"critical difference {width:.2f}", va="bottom")
    axis.set_ylim(len(labels) - 0.4, -0.9)
    side.set_axis_off()
    for number, group in enumerate(groups):
        side.plot(
            [number, number], [group[0] - 0.3, group[-1] + 0.3], color="black", linewidth=2.2, solid_capstyle="butt"
        )
    side.set_xlim(-0.7, max(len(groups), 1) - 0.3)
    titled(figure, f"Mean ranks: {task}")
    caption = (
        f"Mean rank in accuracy on {task} over {found['blocks']} training seeds (1 is best; {design(content)}). "
        "A bar at the right joins optimizers whose mean ranks differ by less than Nemenyi's critical difference, "
        f"{width:.2f} at α = {summary['alpha']:g} for all pairs: they cannot be told apart by their ranks alone. With "
        "fewer than about ten seeds that is rough, and ranks tell less apart than paired differences do."
    )
    return Drawing(f"ranks-{task}", f"Mean ranks: {task}", caption, figure)
