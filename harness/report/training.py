"""What happened while training: groups, entropy, lengths and collapse from the steps, cost from the ledgers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from groupwise.harness import statistics
from groupwise.harness.layout import BASE
from groupwise.harness.report.cells import KEY, grids, one_model
from groupwise.harness.report.read import FINAL, KINDS, Run
from groupwise.harness.statistics import collapse

WINDOW = 0.1  # share of the budget that "start" and "end" of training stand for
# Columns of the steps that are averaged over a window, with their ranges.
STEPPED = {
    "entropy": (0.0, math.inf),
    "clip_fraction": (0.0, 1.0),
    "kl": (-math.inf, math.inf),
    "length_mean": (0.0, math.inf),
    "truncated_share": (0.0, 1.0),
    "distinct_answers_mean": (0.0, math.inf),
    "dominant_share_mean": (0.0, 1.0),
    "repetition_mean": (0.0, 1.0),
    "engine_gap_mean": (0.0, math.inf),
}

Summary = dict[str, Any]


def has_steps(steps: pd.DataFrame, label: str) -> bool:
    return len(steps) > 0 and bool((steps["label"] == label).any())


def windows(steps: pd.DataFrame, label: str) -> Summary:
    """Shares of group kinds and of groups with an advantage, entropy, length and more at both ends of training.

    First and last `WINDOW` of the budget consumed; the unit is the seed. Shares of groups pool the groups of a
    window, so steps weigh by their groups.
    """
    mine = steps[steps["label"] == label]
    last = mine.groupby("seed")["rollouts"].transform("max")
    first = mine.groupby("seed")["rollouts"].transform("min")
    # At least one step, however few there are.
    parts = {
        "start": mine[(mine["rollouts"] <= WINDOW * last) | (mine["rollouts"] == first)],
        "end": mine[(mine["rollouts"] > (1 - WINDOW) * last) | (mine["rollouts"] == last)],
    }
    return {name: _window(part) for name, part in parts.items()}


def _window(window: pd.DataFrame) -> Summary:
    seed, kinds = window["seed"], window[list(KINDS)]
    counts = kinds.groupby(seed).sum()
    total = counts.sum(axis=1)
    shares = counts.div(total.where(total > 0), axis=0)
    groups, found = int(total.sum()), Summary()
    for kind in KINDS:
        # Groups of one window are of different problems: all of them count where no seed saw any of a kind.
        found[kind] = statistics.proportion(_over_seeds(shares[kind]), groups, units=groups).to_dict()
    if "signal_share" in window:
        weights = kinds.sum(axis=1).where(window["signal_share"].notna(), 0.0)
        signal = (window["signal_share"].fillna(0.0) * weights).groupby(seed).sum()
        signal = signal / weights.groupby(seed).sum().where(lambda n: n > 0)
        found["signal_share"] = statistics.average(_over_seeds(signal), groups, (0.0, 1.0)).to_dict()
    for column, bounds in STEPPED.items():
        if column in window and window[column].notna().any():
            values = _over_seeds(window.groupby("seed")[column].mean())
            found[column] = statistics.average(values, len(window), bounds).to_dict()
    return found


def _over_seeds(values: pd.Series[float]) -> Any:
    return values.to_numpy(dtype=float)[None, :]


def collapses(steps: pd.DataFrame, label: str) -> Summary:
    """The verdict on every training run of a label, and the share of them that collapsed."""
    verdicts, mine = [], steps[steps["label"] == label]
    for seed in sorted({int(s) for s in mine["seed"]}):
        part = mine[mine["seed"] == seed]
        columns = {str(name): part[name].to_numpy(dtype=float) for name in part if name != "label"}
        verdicts.append((seed, collapse.verdict(columns)))
    rows = [{"seed": seed, **verdict.to_dict()} for seed, verdict in verdicts]
    return {"verdicts": rows, "share": collapse.share([verdict for _, verdict in verdicts]).to_dict()}


def curve(cells: pd.DataFrame, run: Run) -> Summary:
    """Accuracy against what training consumed: per label a list of {rollouts, tokens, accuracy}.

    Curve evaluations see fewer problems. Start (the base model, unless the curve has its own point at 0) and
    end (the final evaluation) are therefore cut down to the same problems: one line shows one quantity. tokens:
    generated for training until then, mean over seeds; None where no step says.
    """
    points = cells[cells["at"] != FINAL]
    problems = set(points["problem"])
    common = cells[cells["problem"].isin(problems)] if problems else cells
    base = common[(common["label"] == BASE) & (common["at"] == FINAL)]
    lines: Summary = {}
    for label in run.labels:
        final = common[(common["label"] == label) & (common["at"] == FINAL)]
        own = points[points["label"] == label].copy()
        # Checkpoints are numbered per seed: the seeds of an optimizer need not stop at the very same rollout.
        own["point"] = own.groupby("seed")["at"].rank("dense")
        line = []
        for _, part in own.groupby("point"):
            at = part.groupby("seed")["at"].first()
            line.append({"rollouts": float(at.mean()), "tokens": _tokens(run, label, dict(at)), **_accuracy(part)})
        if len(base) and not (line and line[0]["rollouts"] == 0):
            line.insert(0, {"rollouts": 0.0, "tokens": 0.0, **_accuracy(base)})
        if len(final) and (spent := _consumed(run, label, sorted(set(final["seed"])))):
            line.append({**spent, **_accuracy(final)})
        if len(own) or len(final):
            lines[label] = line
    return lines


def _accuracy(cells: pd.DataFrame) -> Summary:
    table = grids(cells[[*KEY, "accuracy", "scored", "drawn"]])
    table = one_model(table) if (cells["label"] == BASE).all() else table
    return {"accuracy": statistics.proportion(table["accuracy"], int(cells["scored"].sum())).to_dict()}


def _tokens(run: Run, label: str, at: Mapping[Any, Any]) -> float | None:
    """Training tokens generated by the time that each seed had drawn so many rollouts, mean over the seeds."""
    if not has_steps(run.steps, label) or "generated_tokens" not in run.steps:
        return None
    mine, found = run.steps[run.steps["label"] == label], []
    for seed, rollouts in at.items():
        steps = mine[mine["seed"] == seed].sort_values("rollouts")
        if not len(steps) or steps["generated_tokens"].isna().any():
            return None
        drawn, generated = (
            np.append(0.0, steps[name].to_numpy(dtype=float)) for name in ("rollouts", "generated_tokens")
        )
        found.append(float(np.interp(float(rollouts), drawn, generated)))
    return float(np.mean(found))


def _consumed(run: Run, label: str, seeds: list[int]) -> Summary | None:
    """What was drawn for training, mean over the seeds: from the ledgers, or the last steps where there are none."""
    spent = [line for seed in seeds if (line := charged(run.ledgers.get((label, seed), {})))]
    if spent:
        rollouts, tokens = (float(np.mean([line[unit] for line in spent])) for unit in ("rollouts", "generated_tokens"))
        return {"rollouts": rollouts, "tokens": tokens}
    if not has_steps(run.steps, label):
        return None
    mine = run.steps[run.steps["label"] == label]
    ends = mine.groupby("seed")["rollouts"].max()
    return {"rollouts": float(ends.mean()), "tokens": _tokens(run, label, dict(ends))}


def charged(ledger: Mapping[str, Any]) -> dict[str, int]:
    """Training rollouts and generated tokens of one ledger, whatever became of them."""
    lines = [ledger.get(name) or {} for name in ("final", "draft", "discarded")] if ledger else []
    units = ("rollouts", "generated_tokens")
    return {unit: sum(int(line.get(unit, 0)) for line in lines) for unit in units} if lines else {}


def ledger(run: Run, label: str) -> Summary:
    """Counts of one label, mean per cell over its seeds; empty when no cell has a ledger."""
    rows = []
    for seed in run.seeds:
        if not (found := run.ledgers.get((label, seed))):
            continue
        row: dict[str, float] = {f"training_{unit}": value for unit, value in charged(found).items()}
        for name in ("final", "draft", "discarded", "evaluation", "reference"):
            line = found.get(name) or {}
            row[f"{name}_rollouts"] = line.get("rollouts", 0)
            row[f"{name}_tokens"] = line.get("generated_tokens", line.get("tokens", 0))
        for name in ("charged", "budget", "optimizer_steps", "trained_tokens", "verifier_calls"):
            row[name] = found.get(name, math.nan)
        rows.append(row)
    if not rows:
        return {}
    table = pd.DataFrame(rows)
    return {"cells": len(rows), **{str(name): float(table[name].mean()) for name in table}}
