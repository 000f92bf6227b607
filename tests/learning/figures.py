"""Draws the exact courses of every algorithm, and writes their table into docs/learning/learning.md.

    python tests/learning/figures.py [--out docs/learning]

One picture for each algorithm, one for the controls, and overview.png.
"""

from __future__ import annotations

import argparse
import io
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
from exact_cases import BY_KEY, CASES, Case, Claim, baseline, seen
from exact_scenarios import SCENARIOS, SEEDS, Scenario
from exact_training import Course
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from groupwise.algorithms.base import Array

FOLDER = Path(__file__).parents[2] / "docs" / "learning"
START, END = "<!-- figures.py writes from here -->", "<!-- to here -->"
# Okabe & Ito (2008)
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
LINES = (BLUE, VERMILION, GREEN, PURPLE)
AREAS = (BLUE, SKY, GREEN, ORANGE, PURPLE)
WRONG = "0.85"
GREY = "0.45"
PANEL = (3.3, 2.75)  # inches
COLOURS = 256  # of a picture
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7.5,
    "xtick.labelsize": 7.5, "ytick.labelsize": 7.5, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.linewidth": 0.3, "grid.color": "0.87", "axes.axisbelow": True, "legend.frameon": False,
    "figure.dpi": 130, "savefig.dpi": 130,
}  # fmt: skip


def heading(ax: Axes, bold: str, text: str, width: int = 46) -> None:
    """A bold line and, under it, a sentence, left above the panel."""
    lines = textwrap.wrap(text, width)
    ax.set_title("\n".join(lines), loc="left")
    ax.annotate(
        bold, (0.0, 1.0), (0, 7 + 9.8 * len(lines)), xycoords="axes fraction", textcoords="offset points",
        weight="bold", size=8.5, va="bottom",
    )  # fmt: skip


def below(ax: Axes, columns: int) -> None:
    """The legend under the panel, where nothing is drawn."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns, handlelength=1.3, columnspacing=1.0)


def measured(case: Case, metric: str) -> tuple[Array, list[Array]]:
    """Rollouts, and the metric at them in each seed; where seeds differ in their points, at those of the budget."""
    courses = [case.course(seed) for seed in case.scenario.seeds]
    grid = np.linspace(0.0, float(min(course.rollouts[-1] for course in courses)), 200)
    values = [np.interp(grid, course.rollouts, case.scenario.metrics[metric](course)) for course in courses]
    return grid, values


def draw_lines(ax: Axes, case: Case, colours: Sequence[str] = LINES) -> None:
    """The scenario's metrics: thin for each seed, thick for their mean, and plain GRPO dashed."""
    scenario = case.scenario
    for metric, colour in zip(scenario.lines, colours, strict=False):
        grid, values = measured(case, metric)
        for one in values:
            ax.plot(grid, one, color=colour, linewidth=0.6, alpha=0.55 if len(values) < 5 else 0.3)
        ax.plot(grid, np.mean(values, axis=0), color=colour, linewidth=1.8, label=metric)
    other = baseline(case)
    if other and len(scenario.lines) <= 2:
        grid, values = measured(other, scenario.lines[0])
        label = f"grpo: {scenario.lines[0]}" if len(scenario.lines) > 1 else "grpo"
        ax.plot(grid, np.mean(values, axis=0), color=GREY, linewidth=1.3, linestyle=(0, (4, 1.5)), label=label)
    ax.set_ylim(0.0, 2.4 if scenario.lines[0].startswith("entropy") else 1.02)
    ax.set_xlim(0, scenario.setting.budget)
    ax.set_xlabel("rollouts charged")
    ax.set_ylabel("bits" if scenario.lines[0].startswith("entropy") else "exact probability")
    below(ax, 4)


def draw_areas(ax: Axes, scenario: Scenario, course: Course) -> None:
    """Probabilities of the right answers, stacked, the rest on top."""
    bands = [course.probabilities[:, 0, scenario.setting.language.at(text)] for text in scenario.areas]
    bands.append(1.0 - np.sum(bands, axis=0))
    names = [*(text.rstrip(".") for text in scenario.areas), "wrong"]
    ax.stackplot(course.rollouts, bands, labels=names, colors=(*AREAS, WRONG), linewidth=0)
    ax.set_ylim(0.0, 1.0)
    ax.set_xlim(0, course.rollouts[-1])
    ax.set_xlabel("rollouts charged")
    ax.set_ylabel("exact probability")
    ax.grid(visible=False)
    below(ax, 6)


Panel = tuple[str, str, Callable[[Axes], None]]


def panels(case: Case) -> list[Panel]:
    """Bold line, sentence and drawing of each panel: stacked probabilities (of one seed, or of all where no line says
    how they differ), then the lines."""
    name = f"{case.label}, {case.scenario.name}"
    scenario = case.scenario
    found: list[Panel] = []
    if scenario.areas:
        for seed in SEEDS[:1] if scenario.lines else SEEDS:
            bold, text = ("", "another seed") if found else (name, case.prediction)
            found.append((bold, text, partial(draw_areas, scenario=scenario, course=case.course(seed))))
    if scenario.lines:
        measure = f"{scenario.lines[0]}: each seed (thin), and their mean"
        bold, text = ("", measure) if found else (name, case.prediction)
        found.append((bold, text, partial(draw_lines, case=case)))
    return found


def picture(cases: Sequence[Case]) -> Figure:
    """All cases of one picture."""
    drawn = [panel for case in cases for panel in panels(case)]
    stacked = sum(bool(case.scenario.areas) for case in cases)
    columns = min(len(drawn), 2 if stacked > 1 else 3)  # areas and their lines stand side by side
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    for ax, (bold, text, draw) in zip(figure.subplots(rows, columns, squeeze=False).flat, drawn, strict=False):
        heading(ax, bold, text)
        draw(ax)
    for ax in figure.axes[len(drawn) :]:
        ax.remove()
    return figure


OVERVIEW = (
    ("grpo / many", "GRPO collapses on one"),
    ("gapo_group_aware / many", "GAPO (group-aware) reaches the uniform distribution"),
    ("gcpo_cooperative / many", "GCPO (cooperative) keeps several modes"),
    ("grpo / rare", "GRPO gets nothing from all-wrong groups"),
    ("copo / rare", "COPO learns from the contrast between prompts"),
    ("gcpo_contrastive / rare", "GCPO (contrastive) learns from references"),
)


def overview() -> Figure:
    """The claim of the page at a glance: five answers above, four prompts below."""
    figure = Figure(figsize=(9.2, 6.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, hspace=0.04)
    for part, title, chosen in (
        (top, "One question, five right answers: exact probability of each (one seed)", OVERVIEW[:3]),
        (bottom, "Four prompts, one right answer each, at first 20, 2, 1 and 0.4 % likely: its exact probability "
         "(ten seeds, and their mean)", OVERVIEW[3:]),
    ):  # fmt: skip
        part.suptitle(title, size=9.5, weight="bold", x=0.01, ha="left")
        for ax, (key, claim) in zip(part.subplots(1, 3, sharey=True), chosen, strict=True):
            case = BY_KEY[key]
            ax.set_title(claim, size=8.5)
            if case.scenario.areas:
                draw_areas(ax, case.scenario, case.course(SEEDS[0]))
            else:
                draw_lines(ax, case)
            ax.get_legend().remove()
        for ax in part.axes[1:]:
            ax.set_ylabel("")
        handles, labels = part.axes[0].get_legend_handles_labels()
        part.legend(handles, labels, loc="outside lower center", ncols=6)
    return figure


def figure_name(case: Case) -> str:
    """The picture that the case is drawn in."""
    return case.figure or case.name


def save(figure: Figure, path: Path) -> None:
    """As a small PNG without dates."""
    raw = io.BytesIO()
    figure.savefig(raw, format="png", metadata={"Software": None})
    image = Image.open(raw).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(path, optimize=True)


def bounds(claim: Claim) -> str:
    """What is asked of the metric."""
    low, high = np.isfinite(claim.low), np.isfinite(claim.high) and claim.high != 1.0
    if low and high:
        return f"{claim.low:g} to {claim.high:g}"
    return f"≥ {claim.low:g}" if low else f"≤ {claim.high:g}"


def digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    """The smallest and the largest value, once if they read the same."""
    low, high = digits(min(values)), digits(max(values))
    return low if low == high else f"{low}–{high}"


def row(case: Case) -> str:
    """The case's line of the table."""
    said = "; ".join(
        f"{'mean ' * claim.on_average}{claim.metric} {spread(seen(case, claim))} ({bounds(claim)})"
        for claim in case.claims
    )
    scale = "" if case.step_scale == 1.0 else f" (step × {case.step_scale:g})"
    return f"| `{case.label}`{scale} | {case.prediction} | {said} |"


def table(scenario: Scenario) -> str:
    """What is asked in a scenario, and what happened to each algorithm in it."""
    setting = scenario.setting
    updates = "one update" if setting.updates == 1 else f"{setting.updates} updates"
    lines = [
        f"### {scenario.name.capitalize()}",
        "",
        f"{scenario.asks} {scenario.optimum} {setting.budget} rollouts, gradient descent with step "
        f"{setting.learning_rate:g}, {updates} on each batch.",
        "",
        f"| Algorithm | Theory predicts | Seen in {len(scenario.seeds)} seeds (has to be) |",
        "| --- | --- | --- |",
        *(row(case) for case in CASES if case.scenario is scenario),
    ]
    return "\n".join(lines)


def generated() -> str:
    """Tables and pictures, as Markdown."""
    pictures = [f"### `{name}`\n\n![exact courses of {name}]({name}.png)" for name in dict.fromkeys(NAMES)]
    tables = [table(scenario) for scenario in SCENARIOS]
    return "\n\n".join(["## What happened", *tables, "## Pictures", *pictures])


NAMES = [figure_name(case) for case in CASES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER)
    out: Path = parser.parse_args().out
    with matplotlib.rc_context(STYLE):
        save(overview(), out / "overview.png")
        for name in dict.fromkeys(NAMES):
            save(picture([case for case in CASES if figure_name(case) == name]), out / f"{name}.png")
    page = out / "learning.md"
    text = page.read_text(encoding="utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    page.write_text(f"{before}{START}\n\n{generated()}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
