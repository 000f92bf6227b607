"""Figures of a run, drawn from the summary (and the step records for what happens during training).

From ten optimizers on, lines are drawn one optimizer to a panel, over both columns (multiples.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import pandas as pd

from groupwise.harness.layout import BASE
from groupwise.harness.report import dots, forest, multiples, panels, progress, tradeoff
from groupwise.harness.report.drawing import (
    FORMATS,
    Drawing,
    Picture,
    Series,
    Summary,
    crowded,
    percent,
    render,
    styled,
)
from groupwise.harness.report.tables import design, evaluated

__all__ = ["FORMATS", "Picture", "drawings", "pictures"]


def pictures(summary: Summary, steps: pd.DataFrame) -> Iterator[Picture]:
    """Every figure that the records allow, in the order of the report."""
    with styled():
        yield from map(render, drawings(summary, steps))


def drawings(summary: Summary, steps: pd.DataFrame) -> Iterator[Drawing]:
    for task, content in summary["tasks"].items():
        if content["labels"]:
            yield from _task(summary, task, content)
    if len(steps):
        yield from (multiples if crowded(summary) else progress).training(summary, steps)


def _task(summary: Summary, task: str, content: Summary) -> Iterator[Drawing]:
    yield from _curves(summary, task, content)
    yield from _passes(summary, task, content)
    several = len(content["labels"]) > 1  # a point alone is a number, and stands in the tables
    measure = tradeoff.measure_of(content)
    if measure and several:
        yield tradeoff.drawing(summary, task, content, measure)
    if content["differences"].get(summary["comparator"]):
        yield forest.differences(summary, task, content)
    if content.get("ranks"):
        yield forest.ranks(summary, task, content)
    seeds = dots.seeds(summary, task, content)
    if seeds:
        yield seeds
    yield from dots.breakdowns(summary, task, content)
    if several:
        yield dots.lengths(summary, task, content)


def _curves(summary: Summary, task: str, content: Summary) -> Iterator[Drawing]:
    """Accuracy against rollouts, and against generated tokens where they were counted."""
    curve = {label: line for label, line in content["curve"].items() if len(line) > 1}
    units = {"rollouts": ("curve", "rollouts consumed", "Rollouts consumed"),
             "tokens": ("tokens", "generated tokens", "Generated tokens")}  # fmt: skip
    for unit, (name, words, axis) in units.items():
        found = {label: Series([p[unit] for p in line], [p["accuracy"] for p in line])
                 for label, line in curve.items() if all(p.get(unit) is not None for p in line)}  # fmt: skip
        if not found:
            continue
        size = _size(content, [point for label in found for point in curve[label]])
        # On fewer problems a line ends elsewhere than the tables: that the picture itself has to say.
        title = f"Accuracy against {words}: {task}" + (f" ({size})" if " of " in size else "")
        caption = (
            f"Accuracy on {task} against {words}. {_how(summary, content, 'optimizer', found)}. Start: the model "
            "before training; end: the final evaluation, cut down to the problems of the intermediate evaluations "
            f"({size})."
        )
        if unit == "tokens":
            caption += " Tokens are those of all training rollouts, drafts and discarded ones included."
        draw = (multiples if crowded(summary) else panels).lines
        yield Drawing(f"{name}-{task}", title, caption, draw(summary, title, found, axis, "Accuracy", log=False))


def _size(content: Summary, points: list[Summary]) -> str:
    """How many problems the points of curves were evaluated on, and of how many where those are fewer."""
    seen = sorted({point["accuracy"]["problems"] for point in points})
    size = f"{seen[0]}" if len(seen) == 1 else f"{seen[0]}–{seen[-1]}"
    every = max(row["accuracy"]["problems"] for row in content["labels"].values())
    return f"first {size} of {every} problems" if seen[-1] < every else f"{size} problems"


def _passes(summary: Summary, task: str, content: Summary) -> Iterator[Drawing]:
    ks = content["k"]
    if len(ks) < (3 if len(content["labels"]) == 1 else 2):  # one line of two points says no more than the table
        return
    # A label with fewer samples per problem than others has its values at small k alone.
    lines = {label: Series(ks, [row["pass_at_k"].get(str(k)) for k in ks]) for label, row in content["labels"].items()}
    found = {label: line for label, line in lines.items() if any(map(math.isfinite, line.y("value")))}
    if not found:
        return
    caption = f"Unbiased pass@k on {task} ({design(content)}). {_how(summary, content, 'label', found)}."
    if BASE in found:
        caption += f" A line that starts above and ends below {BASE} has traded coverage for accuracy."
    title = f"pass@k: {task}"
    figure = (multiples if crowded(summary) else panels).lines(summary, title, found, "k", "pass@k", log=True)
    yield Drawing(f"pass-at-k-{task}", title, caption, figure)


def _how(summary: Summary, content: Summary, each: str, found: Mapping[str, Series]) -> str:
    """How to read the panels, and what a band is."""
    seeds = max(row["accuracy"]["seeds"] for row in content["labels"].values())
    random = f"problems and {seeds} training seeds" if seeds > 1 else "problems alone, one seed"
    random = "problems alone" if evaluated(summary) else random
    band = f"bands are {percent(summary)} intervals ({random})"
    if crowded(summary):
        return f"{multiples.how(summary).format(each)}; {band}"
    behind = {summary["comparator"]: "black", BASE: "grey, dotted"}
    words = " and ".join(f"{label} ({look})" for label, look in behind.items() if label in found)
    over = f" over {words}" if words else ""
    return f"First panel: all means; other panels: one {each} each{over}; {band}"
