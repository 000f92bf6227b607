"""Everything numeric of a run as one dictionary: what summary.json holds, what tables and figures show.

Every number in it is an Estimate (a dictionary with value, low, high, level, method, problems, samples,
seeds), a Difference (the same with p, p_holm, survives, minimum_detectable, source) or a count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from groupwise.harness import statistics
from groupwise.harness.layout import BASE
from groupwise.harness.report.cells import (
    ACCURACY,
    DIVERSITY,
    TOKENS,
    TRUNCATED,
    Measure,
    cell_table,
    grids,
    one_model,
    paired,
)
from groupwise.harness.report.read import FINAL, KINDS, Run

SCHEMA_VERSION = 1
COMPARATOR = "grpo"
WINDOW = 0.1  # share of the budget that "start" and "end" of training stand for
DIGITS = 10

Summary = dict[str, Any]


def summarize(run: Run) -> Summary:
    """The whole summary; keys as written below. Labels without records are absent from the task tables."""
    order = [BASE, *run.labels]
    cells, notes = cell_table(run.rollouts[run.rollouts["label"].isin(order) & run.rollouts["seed"].isin(run.seeds)])
    final = cells[cells["at"] == FINAL]
    comparator = COMPARATOR if COMPARATOR in run.labels else run.labels[0]
    tasks = {}
    for task in run.tasks:
        found, gaps = _task(final[final["task"] == task], order, comparator, run.ks)
        tasks[task] = {**found, "curve": _curve(cells[cells["task"] == task], run)}
        notes += [f"{task}: {gap}" for gap in gaps]
    summary = {
        "schema_version": SCHEMA_VERSION,
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
        "correction": "Holm, one family per task, measure and reference",
        "missing": _missing(run, final),
        "notes": notes,
        "overlap": run.manifest.get("overlap", {}),
        "recipes": {label: dict(run.manifest.get("recipes", {}).get(label, {})) for label in run.labels},
        "measures": {m.column: {"title": m.title, "unit": m.unit, "note": m.note} for m in (ACCURACY, *DIVERSITY)},
        "tasks": tasks,
        "training": {label: _training(run.steps, label) for label in run.labels if _has(run.steps, label)},
        "ledger": {label: line for label in run.labels if (line := _ledger(run, label))},
    }
    rounded: Summary = _rounded(summary)
    return rounded


def _task(cells: pd.DataFrame, order: list[str], comparator: str, ks: tuple[int, ...]) -> tuple[Summary, list[str]]:
    """Estimates per label and differences for one task's final evaluation; and what had to be left out."""
    present = [label for label in order if (cells["label"] == label).any()]
    if not present:
        return {"labels": {}, "differences": {}, "k": []}, ["no final evaluation yet"]
    cells, usable, gaps = _with_pass_at_k(cells, ks)
    measures = [m for m in (ACCURACY, *DIVERSITY) if cells[m.column].notna().any()]
    if cells["valid"].isna().all() and cells["distinct_right"].max() <= 1:
        # One right answer per problem: there is no diversity among right answers to speak of.
        measures = [m for m in measures if m.column not in ("distinct_right", "entropy_right")]
    # The largest k asks how much of what the model could do is left, so it is compared as well; k = 1 is the
    # accuracy.
    tops = [Measure(f"pass@{k}", f"pass@{k}", "", "unbiased") for k in usable[-1:] if k > 1]
    mine = {label: grids(cells[cells["label"] == label]) for label in present}
    labels = {
        label: _label(one_model(mine[label]) if label == BASE else mine[label], measures, usable) for label in present
    }
    differences: Summary = {}
    for reference in dict.fromkeys((comparator, BASE)):
        if reference in mine:
            others = [label for label in present if label != reference]
            differences[reference] = {
                m.column: _family(mine, others, reference, m) for m in (*measures[:1], *tops, *measures[1:])
            }
    return {"labels": labels, "differences": differences, "k": usable}, gaps


def _with_pass_at_k(cells: pd.DataFrame, ks: tuple[int, ...]) -> tuple[pd.DataFrame, list[int], list[str]]:
    """Columns pass@k added. A cell with fewer than k scored rollouts is left out for that k, and said."""
    cells, usable, gaps = cells.copy(), [], []
    for k in ks:
        enough = (cells["scored"] >= k).to_numpy()
        if k > cells["drawn"].max():
            gaps.append(f"pass@{k} needs {k} samples per problem, {int(cells['drawn'].max())} were drawn: left out")
            continue
        if not enough.all():
            few = f"{int((~enough).sum())} of {len(cells)} problem x seed cells"
            gaps.append(f"pass@{k}: {few} have fewer than {k} scored samples and are left out of it")
        column = np.full(len(cells), np.nan)
        column[enough] = statistics.pass_at_k(cells["scored"][enough], cells["right"][enough], k)
        cells[f"pass@{k}"] = column
        usable.append(k)
    return cells, usable, gaps


def _label(table: Mapping[str, pd.DataFrame], measures: list[Measure], ks: list[int]) -> Summary:
    """One label's estimates from its grids."""
    scored, drawn = _total(table["scored"]), _total(table["drawn"])
    per_cell = int(np.nanmax(table["drawn"].to_numpy()))
    spread = statistics.spread(table["accuracy"])
    passes = {str(k): statistics.proportion(table[f"pass@{k}"], scored, cap=k == 1) for k in ks}
    diversity = {
        m.column: statistics.average(table[m.column], scored, m.bounds(per_cell)) for m in measures if m is not ACCURACY
    }
    return {
        "accuracy": statistics.proportion(table["accuracy"], scored).to_dict(),
        "source": spread.source,
        "seed_share": spread.seed_share,
        "pass_at_k": {k: found.to_dict() for k, found in passes.items()},
        "diversity": {name: found.to_dict() for name, found in diversity.items()},
        "tokens": statistics.average(table["tokens"], drawn, TOKENS.bounds(per_cell)).to_dict(),
        "truncated": statistics.proportion(table[TRUNCATED.column], drawn).to_dict(),
        "unscored": drawn - scored,
        "rollouts": drawn,
        "samples_per_problem": per_cell,
    }


def _family(
    mine: Mapping[str, Mapping[str, pd.DataFrame]], others: list[str], reference: str, measure: Measure
) -> Summary:
    """Differences `label - reference` in one measure, Holm-corrected together: one family."""
    found: Summary = {}
    for label in others:
        first, second = paired(mine[label][measure.column], mine[reference][measure.column])
        sizes = paired(mine[label]["scored"], mine[reference]["scored"])
        drawn = paired(mine[label]["drawn"], mine[reference]["drawn"])
        most = max((int(np.nanmax(d.to_numpy())) for d in drawn if d.size), default=1)
        samples = sum(_total(size) for size in sizes)
        found[label] = statistics.difference(first, second, samples, measure.bounds(most)).to_dict()
    corrected = statistics.holm([row["p"] for row in found.values()])
    for row, p in zip(found.values(), corrected, strict=True):
        row["p_holm"], row["survives"] = p, bool(p < 1 - statistics.LEVEL)
    return found


def _total(counts: pd.DataFrame) -> int:
    return int(np.nansum(counts.to_numpy()))


def _curve(cells: pd.DataFrame, run: Run) -> Summary:
    """Accuracy against rollouts consumed: per label a list of {rollouts, accuracy}, on the curve's problems.

    Curve evaluations see fewer problems. Start (the base model, unless the curve has its own point at 0) and
    end (the final evaluation) are therefore cut down to the same problems: one line shows one quantity.
    """
    points = cells[cells["at"] != FINAL]
    problems = set(points["problem"])
    common = cells[cells["problem"].isin(problems)] if problems else cells
    lines: Summary = {}
    for label in run.labels:
        final = common[(common["label"] == label) & (common["at"] == FINAL)]
        own = points[points["label"] == label].copy()
        # Checkpoints are numbered per seed: the seeds of an optimizer need not stop at the very same rollout.
        own["point"] = own.groupby("seed")["at"].rank("dense")
        line = [{"rollouts": float(part.groupby("seed")["at"].first().mean()), "accuracy": _accuracy(part)}
                for _, part in own.groupby("point")]  # fmt: skip
        base = common[(common["label"] == BASE) & (common["at"] == FINAL)]
        if len(base) and not (line and line[0]["rollouts"] == 0):
            line.insert(0, {"rollouts": 0.0, "accuracy": _accuracy(base)})
        if len(final):
            end = _consumed(run, label, sorted(set(final["seed"])))
            line += [{"rollouts": end, "accuracy": _accuracy(final)}] if end is not None else []
        if len(own) or len(final):
            lines[label] = line
    return lines


def _accuracy(cells: pd.DataFrame) -> Summary:
    table = grids(cells)
    table = one_model(table) if (cells["label"] == BASE).all() else table
    return statistics.proportion(table["accuracy"], int(cells["scored"].sum())).to_dict()


def _consumed(run: Run, label: str, seeds: list[int]) -> float | None:
    """Rollouts drawn for training, mean over the seeds: from the ledgers, or the last steps where there are none."""
    drawn = [line["rollouts"] for seed in seeds if (line := _charged(run.ledgers.get((label, seed), {})))]
    if not drawn and _has(run.steps, label):
        drawn = list(run.steps[run.steps["label"] == label].groupby("seed")["rollouts"].max())
    return float(np.mean(drawn)) if drawn else None


def _charged(ledger: Mapping[str, Any]) -> dict[str, int]:
    """Training rollouts and generated tokens of one ledger, whatever became of them."""
    lines = [ledger.get(name) or {} for name in ("final", "draft", "discarded")] if ledger else []
    units = ("rollouts", "generated_tokens")
    return {unit: sum(int(line.get(unit, 0)) for line in lines) for unit in units} if lines else {}


def _ledger(run: Run, label: str) -> Summary:
    """Counts of one label, mean per cell over its seeds; empty when no cell has a ledger."""
    rows = []
    for seed in run.seeds:
        if not (ledger := run.ledgers.get((label, seed))):
            continue
        row: dict[str, float] = {f"training_{unit}": value for unit, value in _charged(ledger).items()}
        for name in ("final", "draft", "discarded", "evaluation", "reference"):
            line = ledger.get(name) or {}
            row[f"{name}_rollouts"] = line.get("rollouts", 0)
            row[f"{name}_tokens"] = line.get("generated_tokens", line.get("tokens", 0))
        for name in ("charged", "budget", "optimizer_steps", "trained_tokens", "verifier_calls"):
            row[name] = ledger.get(name, math.nan)
        rows.append(row)
    if not rows:
        return {}
    table = pd.DataFrame(rows)
    return {"cells": len(rows), **{str(name): float(table[name].mean()) for name in table}}


def _has(steps: pd.DataFrame, label: str) -> bool:
    return len(steps) > 0 and bool((steps["label"] == label).any())


def _training(steps: pd.DataFrame, label: str) -> Summary:
    """Group kinds and entropy at the start and end of training (`WINDOW` of the budget); the unit is the seed."""
    mine = steps[steps["label"] == label]
    last = mine.groupby("seed")["rollouts"].transform("max")
    first = mine.groupby("seed")["rollouts"].transform("min")
    # At least one step, however few there are.
    windows = {
        "start": mine[(mine["rollouts"] <= WINDOW * last) | (mine["rollouts"] == first)],
        "end": mine[(mine["rollouts"] > (1 - WINDOW) * last) | (mine["rollouts"] == last)],
    }
    found: Summary = {}
    for name, window in windows.items():
        counts = window.groupby("seed")[list(KINDS)].sum()
        total = counts.sum(axis=1)
        shares = counts.div(total.where(total > 0), axis=0)
        found[name] = {}
        for kind in KINDS:
            values = shares[kind].to_numpy(dtype=float)[None, :]
            groups = int(total.sum())
            # Groups of one window are of different problems: all of them count where no seed saw any of a kind.
            found[name][kind] = statistics.proportion(values, groups, units=groups).to_dict()
        for column, top in (("entropy", math.inf), ("clip_fraction", 1.0), ("signal_share", 1.0)):
            if column in window:
                values = window.groupby("seed")[column].mean().to_numpy(dtype=float)[None, :]
                found[name][column] = statistics.average(values, len(window), (0.0, top)).to_dict()
    return found


def _missing(run: Run, final: pd.DataFrame) -> list[Summary]:
    """What the experiment asks for and the records do not have (yet)."""
    gaps: list[Summary] = []
    keys = zip(final["label"], final["seed"], final["task"], strict=True)
    have = Counter((str(label), int(seed), str(task)) for label, seed, task in keys)
    most = {task: max((n for key, n in have.items() if key[2] == task), default=0) for task in run.tasks}
    for label in (BASE, *run.labels):
        for seed in run.seeds:
            for task in run.tasks:
                found = have.get((label, seed, task), 0)
                if found == 0:
                    gaps.append({"label": label, "seed": seed, "what": f"final evaluation on {task}"})
                elif found < most[task]:
                    what = f"{most[task] - found} of {most[task]} problems of the final evaluation on {task}"
                    gaps.append({"label": label, "seed": seed, "what": what})
            if label != BASE and (label, seed) not in run.ledgers:
                gaps.append({"label": label, "seed": seed, "what": "ledger"})
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
