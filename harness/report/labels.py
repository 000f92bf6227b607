"""What one label scored on one task: estimates over all its runs, run by run, and by subject or level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from groupwise.harness import statistics
from groupwise.harness.report.cells import ACCURACY, TOKENS, TRUNCATED, Measure
from groupwise.harness.report.contrasts import total

Grid = Mapping[str, pd.DataFrame]
Summary = dict[str, Any]

PARTS = range(2, 21)  # how many values a field of the problems may have to be worth a breakdown
PER_PART = 3  # problems per value that it then has at least, on average
FEW = 5  # problems below which a value is no part of its own: its interval would span next to everything
OTHER = "other"


def describe(table: Grid, measures: Sequence[Measure], ks: Sequence[int]) -> Summary:
    """One label's estimates from its grids (problems x seeds)."""
    scored, drawn = total(table["scored"]), total(table["drawn"])
    per_cell = int(np.nanmax(table["drawn"].to_numpy()))
    spread = statistics.spread(table["accuracy"])

    def used(column: str) -> int:
        """Scored rollouts of the cells that have something to say about a measure."""
        there, counts = np.asarray(table[column].notna()), np.asarray(table["scored"])
        # The base model's measures are averaged over its seeds, its counts are not.
        return int(
            np.nansum(np.where(there if there.shape == counts.shape else there.any(1, keepdims=True), counts, 0))
        )

    def curve(name: str) -> Summary:
        columns = {str(k): f"{name}{k}" for k in ks if f"{name}{k}" in table}
        return {k: statistics.proportion(table[c], used(c), cap=k == "1").to_dict() for k, c in columns.items()}

    diversity = {
        m.column: statistics.average(table[m.column], used(m.column), m.bounds(per_cell)).to_dict()
        for m in measures
        if m is not ACCURACY and table[m.column].notna().any(axis=None)
    }
    return {
        "accuracy": statistics.proportion(table["accuracy"], scored).to_dict(),
        "iqm": statistics.interquartile_mean(table["accuracy"], scored, (0.0, 1.0)).to_dict(),
        "source": spread.source,
        "seed_share": spread.seed_share,
        "pass_at_k": curve("pass@"),
        "pass_hat_k": curve("pass^"),
        "maj_at_k": curve("maj@"),
        "best_of_k": curve("best@"),
        "diversity": diversity,
        "tokens": statistics.average(table["tokens"], drawn, TOKENS.bounds(per_cell)).to_dict(),
        "truncated": statistics.proportion(table[TRUNCATED.column], drawn).to_dict(),
        "parsed": statistics.proportion(table["parsed_share"], drawn).to_dict(),
        "unscored": drawn - scored,
        "rollouts": drawn,
        "samples_per_problem": per_cell,
    }


def by_seed(table: Grid, ks: Sequence[int]) -> list[Summary]:
    """Each training run by itself: intervals are over problems, and say nothing about other runs."""
    top = str(max(ks, default=1))
    rows = []
    for seed in table["accuracy"].columns:
        one = {name: grid[[seed]] for name, grid in table.items()}
        scored = total(one["scored"])
        row = {"seed": int(seed), "accuracy": statistics.proportion(one["accuracy"], scored).to_dict()}
        if f"pass@{top}" in one:
            row["pass_at_k"] = {top: statistics.proportion(one[f"pass@{top}"], scored, cap=False).to_dict()}
        for column in ("distinct", "distinct_right", "tokens"):
            found = statistics.spread(one[column]) if column in one else None
            row[column] = found.mean if found else None
        rows.append(row)
    return rows


def breakdown(mine: Mapping[str, Grid], metadata: Mapping[str, Mapping[str, Any]]) -> Summary:
    """Accuracy by the fields of the problems' metadata that sort them: {field: {value: {problems, labels}}}.

    A field sorts them when it has 2 to 20 values and some problems for each. Values of fewer than `FEW` problems are
    one part, the last, whose `pooled` names them; a single such value stays. A field with one part left sorts nothing.
    """
    found: Summary = {}
    for name in sorted({name for one in metadata.values() for name in one}):
        parts: dict[Any, list[str]] = {}
        for problem, one in metadata.items():
            if one.get(name) is not None:
                parts.setdefault(one[name], []).append(problem)
        if len(parts) in PARTS and sum(map(len, parts.values())) >= PER_PART * len(parts):
            order = sorted(parts, key=lambda value: (isinstance(value, str), value))
            pooled = _pooled(mine, {str(value): parts[value] for value in order})
            if len(pooled) > 1:
                found[name] = pooled
    return found


def unsorted(parts: Summary, metadata: Mapping[str, Mapping[str, Any]]) -> Summary:
    """Problems that are in no part of a breakdown: {field: how many have no value}."""
    return {name: sum(one.get(name) is None for one in metadata.values()) for name in parts}


def _pooled(mine: Mapping[str, Grid], parts: Mapping[str, list[str]]) -> Summary:
    few = [value for value, problems in parts.items() if len(problems) < FEW]
    few = few if len(few) > 1 else []
    found = {value: _part(mine, problems) for value, problems in parts.items() if value not in few}
    if few:
        name = OTHER
        while name in found:
            name = f"all {name}"
        found[name] = {**_part(mine, [problem for value in few for problem in parts[value]]), "pooled": few}
    return found


def _part(mine: Mapping[str, Grid], problems: list[str]) -> Summary:
    labels = {}
    for label, table in mine.items():
        accuracy, scored = (table[name].reindex(problems).dropna(how="all") for name in ("accuracy", "scored"))
        if len(accuracy):
            labels[label] = statistics.proportion(accuracy, total(scored)).to_dict()
    return {"problems": len(problems), "labels": labels}
