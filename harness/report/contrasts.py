"""Differences between labels: paired by problem and seed, tested, and corrected for the size of the family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from groupwise.harness import statistics
from groupwise.harness.layout import BASE
from groupwise.harness.report.cells import Measure, beside, paired

MARGIN = 0.02  # of "no worse than" and "equivalent": accuracy points that few would act on

Grids = Mapping[str, Mapping[str, pd.DataFrame]]
Summary = dict[str, Any]


def family(
    mine: Grids, others: list[str], reference: str, measure: Measure, *, tested: bool, untrained: bool = False
) -> Summary:
    """Differences `label - reference` in one measure, corrected together: one family.

    A difference from one training run survives nothing: it says nothing about other runs of the optimizer, however
    many problems it rests on. tested: add permutation and McNemar test, bootstrap, effect, runs won, probability of
    improvement and the test of "no worse", as for the measures that claims are made of. untrained: all labels are
    models as they are, and what is said of them is meant of no training run: problems alone are a sample.
    """
    found = {
        label: _difference(mine, label, reference, measure, tested=tested, untrained=untrained) for label in others
    }
    # One training run has no p about optimizers: it is no member of a family of those that have.
    crossed = not untrained and any(row["seeds"] > 1 for row in found.values())
    p_values = [row["p"] if row["seeds"] > 1 or not crossed else float("nan") for row in found.values()]
    holm, discoveries = statistics.holm(p_values), statistics.benjamini_hochberg(p_values)
    alpha = 1 - statistics.LEVEL
    for row, strict, rate in zip(found.values(), holm, discoveries, strict=True):
        several = untrained or row["seeds"] > 1
        row |= {"p_holm": strict, "survives": bool(strict < alpha and several)}
        row |= {"p_bh": rate, "survives_bh": bool(rate < alpha and several)}
    return found


def _difference(mine: Grids, label: str, reference: str, measure: Measure, *, tested: bool, untrained: bool) -> Summary:
    first, second = paired_grids(mine, label, reference, measure.column)
    used = (first - second).notna()
    drawn = [mine[name]["drawn"] for name in (label, reference)]
    most = max((int(np.nanmax(d.to_numpy())) for d in drawn if d.size), default=1)
    samples = sum(
        _rollouts(mine[name]["scored"], used, untrained=untrained or name == BASE) for name in (label, reference)
    )
    found = statistics.difference(first, second, samples, measure.bounds(most))
    if not tested:
        return found.to_dict()
    trained, single = not untrained and BASE not in (label, reference), most == 1 and first.shape[1] == 1
    return {**found.to_dict(), **_tests(found, first.to_numpy(), second.to_numpy(), samples, trained, single)}


def paired_grids(mine: Grids, label: str, reference: str, column: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both sides' grids on the problems and seeds that both have; the base model stands beside every seed."""
    first, second = mine[label][column], mine[reference][column]
    if label == BASE:
        first = beside(first, second)
    if reference == BASE:
        second = beside(second, first)
    return paired(first, second)


def _rollouts(scored: pd.DataFrame, used: pd.DataFrame, *, untrained: bool) -> int:
    """Scored rollouts of one side in the cells that were compared; of a base model, those of all its seeds."""
    if untrained:
        return total(scored.reindex(used.index[used.any(axis=1)]))
    return total(scored.reindex(index=used.index, columns=used.columns).where(used))


def _tests(found: statistics.Difference, first: Any, second: Any, samples: int, trained: bool, single: bool) -> Summary:
    """runs_won, improvement: of pairs of training runs with one seed; the base model is not a training run."""
    if found.spread.problems == 0:
        names = ("p_permutation", "p_mcnemar", "bootstrap", "no_worse", "runs_won", "improvement")
        return dict.fromkeys(names)
    binary = set(np.unique(np.concatenate([first[~np.isnan(first)], second[~np.isnan(second)]]))) <= {0.0, 1.0}
    resampled = statistics.bootstrap(first, second, samples)
    return {
        "p_permutation": statistics.permutation(first - second).p,
        "p_mcnemar": statistics.mcnemar(first, second).p if single and binary else None,
        "bootstrap": {"low": resampled.low, "high": resampled.high, "method": resampled.method},
        "no_worse": statistics.noninferior(found, MARGIN).to_dict(),
        "runs_won": statistics.runs_won(first, second, samples).to_dict() if trained else None,
        "improvement": statistics.probability_of_improvement(first, second, samples).to_dict() if trained else None,
    }


def total(counts: pd.DataFrame) -> int:
    return int(np.nansum(counts.to_numpy()))
