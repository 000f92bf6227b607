"""What the cells of a run say: estimates per label, and paired differences to the comparator, Holm-corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from groupwise.harness.layout import BASE
from groupwise.harness.report.cells import Measure, grids, one_model
from groupwise.harness.report.contrasts import paired_grids
from groupwise.harness.statistics.comparison import difference
from groupwise.harness.statistics.correction import holm
from groupwise.harness.statistics.estimates import LEVEL, average

Found = dict[str, Any]
Grids = Mapping[str, pd.DataFrame]


def findings(
    cells: pd.DataFrame, labels: Sequence[str], comparator: str, measures: Sequence[Measure], *, untrained: bool = False
) -> Found:
    """Per label estimates, and differences to the comparator, of one task's cells.

    cells: columns `KEY`, scored, right, and one per measure. One family of tests for each measure. The base model is
    one model: averaged over its seeds, it stands beside every seed of an optimizer. untrained: so is every label, and
    nothing is said of training runs.
    """
    mine = {label: grids(cells[cells["label"] == label]) for label in labels if (cells["label"] == label).any()}
    found: Found = {"labels": {label: _estimates(label, table, measures) for label, table in mine.items()}}
    others = [label for label in mine if label != comparator]
    found["differences"] = {
        m.column: _family(mine, others, comparator, m, untrained) for m in measures if comparator in mine and others
    }
    return found


def _estimates(label: str, table: Grids, measures: Sequence[Measure]) -> Found:
    most = int(np.nanmax(table["scored"].to_numpy()))
    shown = one_model(dict(table)) if label == BASE else table
    return {m.column: average(shown[m.column], _samples(table, m), m.bounds(most)).to_dict() for m in measures}


def _samples(table: Grids, measure: Measure, problems: pd.Index | None = None) -> int:
    """Rollouts behind the cells of a measure that are numbers, on the named problems (or on all).

    Of a measure among right rollouts these are the right ones; distinct_k draws its k from all.
    """
    among = measure.column.endswith("_right") and not measure.column.startswith("distinct_k")
    sizes = table["right" if among else "scored"].where(table[measure.column].notna(), 0)
    return int(np.nansum((sizes if problems is None else sizes.loc[problems]).to_numpy()))


def _family(
    mine: Mapping[str, Grids], others: Sequence[str], reference: str, measure: Measure, untrained: bool
) -> Found:
    found: Found = {}
    for label in others:
        sides = [mine[label], mine[reference]]
        first, second = paired_grids(mine, label, reference, measure.column)
        both = first.notna() & second.notna()
        samples = sum(
            _samples(side, measure, both.index[both.any(axis=1)]) if name == BASE
            else _samples({k: grid.reindex_like(both).where(both) for k, grid in side.items()}, measure)
            for side, name in zip(sides, (label, reference), strict=True)
        )  # fmt: skip
        most = max((int(np.nanmax(side["scored"].to_numpy())) for side in sides), default=1)
        found[label] = difference(first, second, samples, measure.bounds(most)).to_dict()
    corrected = holm([row["p"] for row in found.values()])
    for row, p in zip(found.values(), corrected, strict=True):
        # One training run says nothing about other runs of the optimizer, however many problems it rests on.
        row["p_holm"], row["survives"] = p, bool(p < 1 - LEVEL and (untrained or row["seeds"] > 1))
    return found


def show(task: str, found: Found, comparator: str, measures: Sequence[Measure], console: Console) -> None:
    """Tables of one task: estimates and differences, of all rollouts and of right ones."""
    there = [m for m in measures if any(_there(row[m.column]) for row in found["labels"].values())]
    right = [m for m in there if m.column.endswith("_right")]
    for words, some in (("all rollouts", [m for m in there if m not in right]), ("right rollouts", right)):
        if not some:
            continue
        table = _table(f"{task}, {words}: estimates with {LEVEL:.0%} intervals", some)
        for label, row in found["labels"].items():
            table.add_row(label, *(_words(row[m.column]) for m in some))
        console.print(table)
        if not found["differences"]:
            continue
        table = _table(f"{task}, {words}: difference to {comparator}; * survives Holm", some)
        for label in found["labels"]:
            if label != comparator:
                rows = [found["differences"][m.column][label] for m in some]
                table.add_row(label, *(_words(row, sign="+") + (" *" if row["survives"] else "") for row in rows))
        console.print(table)


def _table(title: str, measures: Sequence[Measure]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("label", no_wrap=True)
    for measure in measures:
        # The title of the table says which rollouts, and the line below all tables which embedder.
        table.add_column(measure.title.removesuffix(", right").partition(" (")[0], justify="right", overflow="fold")
    return table


def _there(row: Found) -> bool:
    return row["value"] is not None


def _words(row: Found, sign: str = "") -> str:
    if not _there(row):
        return "-"
    return f"{row['value']:{sign}.3f} [{row['low']:{sign}.3f}, {row['high']:{sign}.3f}]"
