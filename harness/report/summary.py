"""Everything numeric of a run as one dictionary: what summary.json holds, what tables, figures and the page show.

Every number in it is an Estimate (a dictionary with value, low, high, level, method, problems, samples,
seeds), a Difference (the same with p, p_holm, p_bh, survives, minimum_detectable, source) or a count.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from groupwise.harness import statistics
from groupwise.harness.layout import BASE, COMPARATOR
from groupwise.harness.report import texts, training
from groupwise.harness.report.cells import (
    ACCURACY,
    DIVERSITY,
    KEY,
    Measure,
    cell_table,
    grids,
    one_model,
    with_k,
)
from groupwise.harness.report.contrasts import MARGIN, family
from groupwise.harness.report.labels import breakdown, by_seed, describe, unsorted
from groupwise.harness.report.read import FINAL, Run
from groupwise.harness.report.rows import TEXT_PROBLEMS

SCHEMA_VERSION = 2
DIGITS = 10
# One right answer per problem: there is no diversity of answers among right ones to speak of.
SEVERAL_RIGHT = ("distinct_right", "entropy_right", "dominant_right")
RANKED = 3  # optimizers, and training seeds, from which on a ranking says more than the differences

Summary = dict[str, Any]


def summarize(run: Run) -> Summary:
    """The whole summary; keys as written below. Labels without records are absent from the task tables."""
    order = list(run.order)
    worded = run.rollouts[run.rollouts["label"].isin(order) & run.rollouts["seed"].isin(run.seeds)]
    rollouts = worded.drop(columns="text")  # a million texts are not to be copied at every turn
    cells, notes = cell_table(rollouts)
    cells, measures, more = _with_texts(cells, worded[worded["text"].notna()], rollouts, run)
    final = cells[cells["at"] == FINAL]
    comparator = COMPARATOR if COMPARATOR in run.labels and not run.untrained else run.labels[0]
    tasks = {}
    for task in run.tasks:
        found, gaps = _task(final[final["task"] == task], rollouts, order, comparator, run, task, measures)
        curve = {} if run.untrained else training.curve(cells[cells["task"] == task], run)
        tasks[task] = {"kind": run.kind, **found, "curve": curve}
        notes += [f"{task}: {gap}" for gap in gaps]
    trained = [label for label in run.labels if training.has_steps(run.steps, label)]
    summary = {
        "schema_version": SCHEMA_VERSION,
        "kind": run.kind,
        "name": run.manifest.get("name", run.folder.name),
        "status": run.manifest.get("status"),
        "model": run.model,
        "budget": run.experiment.get("budget"),
        "labels": order,
        "seeds": list(run.seeds),
        "comparator": comparator,
        "level": statistics.LEVEL,
        "power": statistics.POWER,
        "alpha": round(1 - statistics.LEVEL, 12),
        "margin": MARGIN,
        "correction": "Holm, one family per task, measure and reference",
        "missing": _missing(run, final) + _unrecorded(run, cells[cells["at"] != FINAL]),
        "notes": notes + more,
        "overlap": run.manifest.get("overlap", {}),
        "recipes": {label: dict(run.manifest.get("recipes", {}).get(label, {})) for label in run.labels},
        "measures": {m.column: {"title": m.title, "unit": m.unit, "note": m.note} for m in (ACCURACY, *measures)},
        "tasks": tasks,
        "training": {label: training.windows(run.steps, label) for label in trained},
        "collapse": {label: training.collapses(run.steps, label) for label in trained},
        "ledger": {label: line for label in run.labels if (line := training.ledger(run, label))},
    }
    rounded: Summary = _rounded(summary)
    return rounded


def _with_texts(
    cells: pd.DataFrame, worded: pd.DataFrame, rollouts: pd.DataFrame, run: Run
) -> tuple[pd.DataFrame, list[Measure], list[str]]:
    """Measures of wording added to the final cells, and those that `groupwise diversity` left in the run folder."""
    measures, notes = list(DIVERSITY), list[str]()
    if len(worded):
        cells = cells.merge(texts.wording_cells(worded), how="left", on=KEY)
        measures += texts.WORDING
        final = rollouts[rollouts["at"] == FINAL]
        for task in run.tasks:
            kept, every = (rows.loc[rows["task"] == task, "problem"].nunique() for rows in (worded, final))
            if 0 < kept < every:
                notes.append(
                    f"{task}: measures of wording are estimated on {kept} of {every} problems (at most "
                    f"{TEXT_PROBLEMS} of a task, the same for every label)."
                )
    trained = texts.trained_with(run.manifest)
    if len(worded) and (same := [label for label, name in trained.items() if name == "hash"]):
        notes.append(
            f"{', '.join(same)} learned from embeddings of trigrams, which Vendi (trigrams) and Distance (trigrams) "
            "are made of. Self-BLEU and distinct-n are independent of them; `groupwise diversity` adds other embedders."
        )
    stored_cells, gaps = texts.stored_measures(run.folder, cells)
    notes += gaps
    for embedder, stored in stored_cells.items():
        cells = cells.merge(stored, how="left", on=KEY)
        measures += texts.embedding_measures(embedder, {str(key): value for key, value in stored.attrs.items()})
        if same := [label for label, name in trained.items() if name == embedder]:
            notes.append(
                f"{', '.join(same)} learned from the embeddings of {embedder}: what these say of its diversity has no "
                "independent witness but the measures that need no embedder."
            )
    return cells, measures, notes


def _task(
    cells: pd.DataFrame, rollouts: pd.DataFrame, order: list[str], comparator: str, run: Run, task: str,
    measures: list[Measure],
) -> tuple[Summary, list[str]]:  # fmt: skip
    """Estimates per label and differences for one task's final evaluation; and what had to be left out."""
    present = [label for label in order if (cells["label"] == label).any()]
    if not present:
        return {"labels": {}, "differences": {}, "k": []}, ["no final evaluation yet"]
    rows = rollouts[(rollouts["task"] == task) & (rollouts["at"] == FINAL)]
    cells, usable, gaps = with_k(cells, rows, run.ks)
    measures = [m for m in (ACCURACY, *measures) if cells[m.column].notna().any()]
    if cells["valid"].isna().all() and cells["distinct_right"].max() <= 1:
        measures = [m for m in measures if m.column not in SEVERAL_RIGHT]
    # The largest k asks how much of what the model could do is left, so it is compared as well; k = 1 is the
    # accuracy.
    tops = [Measure(f"pass@{k}", f"pass@{k}", "", "unbiased") for k in usable[-1:] if k > 1]
    mine = {label: grids(cells[cells["label"] == label]) for label in present}
    shown = {label: one_model(table) if run.untrained or label == BASE else table for label, table in mine.items()}
    differences: Summary = {}
    for reference in dict.fromkeys((comparator, BASE)):
        others = [label for label in present if label != reference]
        if reference in mine and (others or not run.untrained):
            compared = (*measures[:1], *tops, *measures[1:])
            differences[reference] = {
                m.column: family(
                    shown if run.untrained else mine,
                    others,
                    reference,
                    m,
                    tested=m is ACCURACY or m in tops,
                    untrained=run.untrained,
                )
                for m in compared
            }
    metadata = run.metadata.get(task, {})
    parts = breakdown(shown, metadata)
    found = {
        "labels": {
            label: {
                **describe(shown[label], measures, usable),
                "per_seed": [] if run.untrained or label == BASE else by_seed(mine[label], usable),
            }
            for label in present
        },
        "differences": differences,
        "k": usable,
        "breakdown": parts,
        "unsorted": unsorted(parts, metadata),
        "ranks": None if run.untrained else _ranks({label: mine[label] for label in present if label != BASE}),
    }
    return found, gaps


def _ranks(mine: dict[str, dict[str, pd.DataFrame]]) -> Summary | None:
    """Mean ranks in accuracy over the training seeds that all labels have; None where that says nothing."""
    if len(mine) < RANKED:
        return None
    means = pd.DataFrame({label: table["accuracy"].mean() for label, table in mine.items()}).dropna()
    if len(means) < RANKED:
        return None
    ranked = statistics.ranks(means.to_numpy())
    names = list(means.columns)
    return {
        "labels": names,
        "mean_ranks": [float(rank) for rank in ranked.mean],
        "critical_difference": ranked.critical_difference,
        "p": ranked.p,
        "groups": [[names[i] for i in group] for group in ranked.groups],
        "blocks": len(means),
    }


def _missing(run: Run, final: pd.DataFrame) -> list[Summary]:
    """What the experiment asks for and the records do not have (yet)."""
    gaps: list[Summary] = []
    keys = zip(final["label"], final["seed"], final["task"], strict=True)
    have = Counter((str(label), int(seed), str(task)) for label, seed, task in keys)
    most = {task: max((n for key, n in have.items() if key[2] == task), default=0) for task in run.tasks}
    for label in run.order:
        for seed in run.seeds:
            for task in run.tasks:
                found = have.get((label, seed, task), 0)
                if found == 0:
                    gaps.append({"label": label, "seed": seed, "what": f"final evaluation on {task}"})
                elif found < most[task]:
                    what = f"{most[task] - found} of {most[task]} problems of the final evaluation on {task}"
                    gaps.append({"label": label, "seed": seed, "what": what})
            if label != BASE and not run.untrained and (label, seed) not in run.ledgers:
                gaps.append({"label": label, "seed": seed, "what": "ledger"})
    return gaps


def _unrecorded(run: Run, curve: pd.DataFrame) -> list[Summary]:
    """Training runs without steps or without the intermediate evaluations that were asked for."""
    stepped = set(zip(run.steps["label"], run.steps["seed"], strict=True)) if len(run.steps) else set()
    points = set(zip(curve["label"], curve["seed"], curve["task"], strict=True))
    asked = int(run.experiment["evaluation"].get("curve_points") or 1) > 1
    gaps: list[Summary] = []
    for label in () if run.untrained else run.labels:
        for seed in run.seeds:
            if (label, seed) not in stepped:
                gaps.append({"label": label, "seed": seed, "what": "steps"})
            for task in run.tasks if asked else ():
                if (label, seed, task) not in points:
                    gaps.append({"label": label, "seed": seed, "what": f"intermediate evaluations on {task}"})
    return gaps


def _rounded(value: Any) -> Any:
    """Floats to `DIGITS` significant digits (the rest differs between processors), non-finite to None."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
