"""Estimates by task, label and run (or grader) as one picture: a panel per task, a row per label, dots below another.

For `groupwise rankings --figure` and `groupwise verify sensitivity --figure`. Imported where a figure is asked for:
what it needs takes longer to import than the numbers to compute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from groupwise.harness.errors import InputError
from groupwise.harness.report.drawing import (
    COLOURS,
    COLUMN,
    FORMATS,
    MARKERS,
    WIDTH,
    Drawing,
    Look,
    legend,
    legend_height,
    render,
    styled,
    titled,
)
from groupwise.harness.report.forest import row_names

Estimate = Mapping[str, Any]
Rows = Mapping[str, Mapping[str, Estimate]]  # by label, then by run or grader
DODGE = 0.085  # inches between the dots of a row
FILLED, OPEN = "filled: survives Holm", "open: does not"


def check_place(path: Path) -> str:
    """The format that the file's name asks for. Raises InputError, before anything is computed."""
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise InputError(f"--figure {path}: expected a name that ends in .{', .'.join(FORMATS)}")
    if not path.parent.is_dir():
        raise InputError(f"--figure {path}: its folder is not there")
    return kind


def of_rankings(data: Mapping[str, Any]) -> Drawing:
    """What `rankings` found: every label's paired difference from the comparator, in every run."""
    names = _short([place for by_run in data["tasks"].values() for place in by_run])
    panels: dict[str, Rows] = {
        task: {
            label: {names[place]: run["difference"][label] for place, run in by_run.items()}
            for label in data["labels"]
            if label != data["comparator"]
        }
        for task, by_run in data["tasks"].items()
    }
    return dots(panels, data["level"], "rankings", f"{data['metric']}, difference from {data['comparator']}")


def dots(panels: Mapping[str, Rows], level: float, name: str, title: str) -> Drawing:
    """A panel for each task. Estimates with a `holm` are differences: 0 is marked, and a dot that survives is filled.

    Draw and save it within `styled`.
    """
    series = list(dict.fromkeys(one for rows in panels.values() for row in rows.values() for one in row))
    look = {one: Look(COLOURS[i % len(COLOURS)], MARKERS[i % 7], "-") for i, one in enumerate(series)}
    tested = any("holm" in one for rows in panels.values() for row in rows.values() for one in row.values())
    labels = list(dict.fromkeys(label for rows in panels.values() for label in rows))
    columns = min(len(panels), 4)
    lines, width = math.ceil(len(panels) / columns), COLUMN if columns == 1 else WIDTH
    block = DODGE * (len(series) + 1.5)
    handles = _handles(look, tested)
    below = legend_height([str(one.get_label()) for one in handles], width)
    figure = Figure(figsize=(width, 0.55 + lines * (0.4 + block * len(labels)) + below), layout="constrained")
    axes = figure.subplots(lines, columns, sharey=True, squeeze=False).flatten()
    for axis, (task, rows) in zip(axes, panels.items(), strict=False):
        if tested:
            axis.axvline(0, color="black", linewidth=0.6, linestyle=(0, (4, 2)))
        for place, label in enumerate(labels):
            for number, one in enumerate(series):
                y = place + (number - (len(series) - 1) / 2) * DODGE / block
                _dot(axis, rows.get(label, {}).get(one), y, look[one], 1 - level)
            if place:
                axis.axhline(place - 0.5, color="0.8", linewidth=0.5)
        axis.set_title(task)
        axis.xaxis.set_major_locator(MaxNLocator(4 if columns < 4 else 3))
    for axis in axes:
        row_names(axis, labels)
        axis.set_ylim(len(labels) - 0.5, -0.5)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    about = f"{title[0].upper()}{title[1:]}; {100 * level:.0f} % intervals"
    legend(figure, handles, length=1.4)
    titled(figure, about)
    return Drawing(name, title, about, figure)


def write(drawing: Drawing, path: Path) -> None:
    """The picture as a file. Within `styled`. Raises InputError."""
    try:
        path.write_bytes(render(drawing).files[check_place(path)])
    except OSError as error:
        raise InputError(f"--figure {path}: cannot be written: {error.strerror}") from None


def draw_rankings(data: Mapping[str, Any], path: Path) -> None:
    """Raises InputError."""
    with styled():
        write(of_rankings(data), path)


def _short(places: Sequence[str]) -> dict[str, str]:
    """Each path by its last part, where that is another for each."""
    names = {place: Path(place).resolve().name for place in places}
    return names if len(set(names.values())) == len(names) else {place: place for place in names}


def _handles(look: Mapping[str, Look], tested: bool) -> list[Line2D]:
    faces = ((FILLED, "0.35"), (OPEN, "white")) if tested else ()
    grey: dict[str, Any] = {"color": "0.35", "marker": "o", "linestyle": ""}
    return [
        *(Line2D([], [], label=name, **one.keywords()) for name, one in look.items()),
        *(Line2D([], [], label=text, markerfacecolor=face, **grey) for text, face in faces),
    ]


def _dot(axis: Axes, found: Estimate | None, y: float, look: Look, alpha: float) -> None:
    if found is None or found["value"] is None:
        return
    if found["low"] is not None and found["high"] is not None:
        axis.plot([found["low"], found["high"]], [y, y], color=look.colour, linewidth=0.9)
    survives = "holm" not in found or (found["holm"] is not None and found["holm"] < alpha)
    face = look.colour if survives else "white"
    axis.plot(found["value"], y, color=look.colour, marker=look.marker, markerfacecolor=face)
