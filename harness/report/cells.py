"""From rollouts to cells: one row per (label, task, evaluation, problem, seed), what statistics see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from groupwise.harness import statistics
from groupwise.harness.layout import RIGHT

KEY = ["label", "task", "at", "problem", "seed"]


@dataclass(frozen=True)
class Measure:
    """What a cell is measured by. column: in the cell table. unit: of the number. note: how it is counted."""

    column: str
    title: str
    unit: str
    note: str

    def bounds(self, samples: int) -> tuple[float, float]:
        """Range of one cell's value with `samples` rollouts."""
        top = {"answers": float(samples), "bits": float(np.log2(max(samples, 2))), "tokens": float("inf")}
        return 0.0, 1.0 if self.column.startswith("divergence") else top.get(self.unit, 1.0)


ACCURACY = Measure("accuracy", "Accuracy", "", "mean score of the scored rollouts")
TOKENS = Measure("tokens", "Tokens", "tokens", "mean length of a completion")
TRUNCATED = Measure("truncated", "Truncated", "", "share of completions cut at the length limit")
DIVERSITY = (
    Measure("distinct", "Distinct answers", "answers", "different extracted answers per problem"),
    Measure("distinct_right", "Distinct right answers", "answers", "different right answers per problem"),
    Measure("dominant", "Dominant answer", "", "share of a problem's most frequent answer"),
    Measure("dominant_right", "Dominant right answer", "", "the same among right answers, where there are any"),
    Measure("entropy", "Answer entropy", "bits", "of a problem's extracted answers"),
    Measure("entropy_right", "Entropy among right", "bits", "of a problem's right answers, where there are any"),
    Measure(
        "divergence",
        "JSD to uniform",
        "bits",
        "Jensen-Shannon divergence to the uniform law on the valid answers; wrong or no answer is outside; "
        "0 is uniform, 1 is never valid",
    ),
    Measure("divergence_right", "JSD among right", "bits", "the same among right answers, where there are any"),
)


def cell_table(rollouts: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Cells with columns `KEY`, drawn, scored, unscored, right, one per measure; and notes on gaps.

    NaN: the cell has nothing to say about that measure. Rollouts that could not be scored count in `drawn`,
    `unscored`, `tokens` and `truncated` alone.
    """
    parts, notes = [], []
    for _, rows in rollouts.groupby("task", sort=True, observed=True):
        part, note = _one_task(rows.reset_index(drop=True))
        parts.append(part)
        notes += note
    if not parts:
        return pd.DataFrame(columns=KEY), notes
    return pd.concat(parts, ignore_index=True).sort_values(KEY, ignore_index=True), notes


def _one_task(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    grouped = rows.groupby(KEY, sort=True, observed=True)
    code = grouped.ngroup().to_numpy()
    table: pd.DataFrame = grouped.agg(
        drawn=("sample", "size"), scored=("score", "count"), accuracy=("score", "mean"),
        tokens=("tokens", "mean"), truncated=("truncated", "mean"), parsed=("answer", "count"),
        valid=("valid", "first"),
    ).reset_index()  # fmt: skip
    # As plain strings from here on: categories would sort by where a name was first met.
    table = table.astype({"label": str, "task": str, "problem": str})
    count, notes = len(table), list[str]()
    table["unscored"] = table["drawn"] - table["scored"]
    table["parsed_share"] = table.pop("parsed") / table["drawn"]
    scored = rows["score"].notna().to_numpy()
    good = rows["score"].to_numpy() >= RIGHT  # NaN compares as False
    answer = pd.factorize(rows["answer"])[0]
    table["right"] = np.bincount(code[good], minlength=count)
    for suffix, among in (("", scored), ("_right", good)):
        table["distinct" + suffix] = statistics.distinct(code[among], answer[among], count)
        table["entropy" + suffix] = statistics.entropy_bits(code[among], answer[among], count)
        table["dominant" + suffix] = statistics.dominant_share(code[among], answer[among], count)
        try:
            found = statistics.divergence_to_uniform(code[among], answer[among], good[among], table["valid"])
        except ValueError as error:
            found = np.full(count, np.nan)
            if not suffix:
                notes.append(f"{rows['task'].iloc[0]}: no divergence to uniform, the records disagree: {error}")
        table["divergence" + suffix] = found
    # A cell without a scored rollout gave no answers because nobody looked, not because there were none.
    table.loc[table["scored"] == 0, ["distinct", "distinct_right"]] = np.nan
    # One sample is one answer, whatever the model could have said.
    table.loc[table["drawn"] == 1, [measure.column for measure in DIVERSITY]] = np.nan
    return table, notes


def with_k(cells: pd.DataFrame, rollouts: pd.DataFrame, ks: Sequence[int]) -> tuple[pd.DataFrame, list[int], list[str]]:
    """Columns pass@k, pass^k and maj@k, and best@k where scores are graded, added to one task's final cells.

    rollouts: of the same evaluation. A cell with fewer than k scored rollouts is left out for that k, and the list of
    gaps says so. Returns the cells, the k that can be estimated, and the gaps.
    """
    cells, usable, gaps = cells.reset_index(drop=True).copy(), [], []
    scored = rollouts[rollouts["score"].notna()]
    keys = ["label", "problem", "seed"]
    wanted = pd.MultiIndex.from_frame(scored[keys].astype({"label": str, "problem": str}))
    owner = pd.MultiIndex.from_frame(cells[keys]).get_indexer(wanted)
    answer = pd.factorize(scored["answer"])[0]
    score = scored["score"].to_numpy()
    graded = bool(((score > 0) & (score < RIGHT)).any())
    for k in ks:
        enough = (cells["scored"] >= k).to_numpy()
        if k > cells["drawn"].max():
            gaps.append(f"pass@{k} needs {k} samples per problem, {int(cells['drawn'].max())} were drawn: left out")
            continue
        if not enough.any():
            gaps.append(f"pass@{k}: no problem x seed cell has {k} scored samples: left out")
            continue
        if not enough.all():
            few = f"{int((~enough).sum())} of {len(cells)} problem x seed cells"
            gaps.append(f"pass@{k}: {few} have fewer than {k} scored samples and are left out of it")
        n, c = cells["scored"][enough], cells["right"][enough]
        cells.loc[enough, f"pass@{k}"] = statistics.pass_at_k(n, c, k)
        cells.loc[enough, f"pass^{k}"] = statistics.pass_hat_k(n, c, k)
        code = np.cumsum(enough) - 1
        mine = enough[owner]
        who, size = code[owner[mine]], int(enough.sum())
        cells.loc[enough, f"maj@{k}"] = statistics.majority_at_k(who, answer[mine], score[mine] >= RIGHT, size, k)
        if graded:
            cells.loc[enough, f"best@{k}"] = statistics.best_of_k(who, score[mine], size, k)
        usable.append(k)
    return cells, usable, gaps


def grids(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Cells of one label, task and evaluation as a table (problems, seeds) per column.

    Problems and seeds are sorted; NaN where there is no cell.
    """
    rows, problems = pd.factorize(cells["problem"], sort=True)
    columns, seeds = pd.factorize(cells["seed"], sort=True)
    index, header = pd.Index(problems, name="problem"), pd.Index(seeds, name="seed")
    found = {}
    for name in cells.columns.difference(KEY, sort=False):
        grid = np.full((len(problems), len(seeds)), np.nan)
        grid[rows, columns] = cells[name].to_numpy(dtype=np.float64)
        found[str(name)] = pd.DataFrame(grid, index=index, columns=header)
    return found


def one_model(table: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The grids of the base model, its seeds averaged: it is one model, and they are but more samples of it.

    An optimizer's seeds are training runs, a sample of those there could have been; the base's are not.
    Counts stay as they are.
    """
    counts = ("scored", "drawn")
    return {name: grid if name in counts else grid.mean(axis=1).to_frame() for name, grid in table.items()}


def beside(base: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """A base model's grid (problems, seeds), averaged over its seeds and set beside every seed of the other grid.

    Its sampling noise is then a part of the problems' differences, where it belongs, and no factor of its own.
    """
    mean = base.mean(axis=1)
    return pd.DataFrame(dict.fromkeys(other.columns, mean), index=base.index)


def paired(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two tables (problems, seeds) cut down to the problems and seeds that both have."""
    one, two = first.align(second, join="inner")
    return one, two
