"""How far two rankings of the same optimizers agree: Kendall's tau, with problems and seeds drawn anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from groupwise.harness.statistics.estimates import LEVEL, Estimate

Array = NDArray[np.float64]

REPLICATES = 2000


def rank_agreement(
    first: Sequence[ArrayLike],
    second: Sequence[ArrayLike],
    samples: int,
    *,
    same_seeds: bool = True,
    level: float = LEVEL,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Estimate | None:
    """Kendall's tau-b between the rankings of k labels by their means over two sets of tables (P, S).

    first, second: a table for each label, labels in the same order; all tables of a side have one shape, problems
    are the same on both. samples: rollouts behind both. same_seeds: the second side's seeds are those of the
    first, graded or cut otherwise, and are drawn together with them.

    Interval: percentiles over draws of problems (for all tables together) and of seeds (the pigeonhole bootstrap, Owen
    2007), so the noise of both rankings is in it. With few seeds it is too narrow; and tau of noisy rankings lies
    nearer to 0 than that of the true ones, so the draws lie below the value. None with fewer than two labels, or where
    a ranking has but ties. Raises ValueError when problems or labels differ.
    """
    sides = [[np.asarray(table, dtype=np.float64) for table in side] for side in (first, second)]
    shapes = [{table.shape for table in side} for side in sides]
    if len(sides[0]) != len(sides[1]) or any(len(shape) > 1 for shape in shapes):
        raise ValueError(f"rankings need the same labels, and tables of one shape each, got {shapes}")
    if len(sides[0]) < 2:
        return None
    (rows, columns), (others, more) = (side[0].shape for side in sides)
    if rows != others or (same_seeds and columns != more):
        raise ValueError(f"rankings need the same problems{' and seeds' if same_seeds else ''}, got {shapes}")
    rng = np.random.default_rng(seed)
    problems = _draws(rng, rows, replicates)
    seeds = _draws(rng, columns, replicates)
    other_seeds = seeds if same_seeds else _draws(rng, more, replicates)
    value = _tau(*(_means(side, np.ones((1, rows)), np.ones((1, side[0].shape[1])))[:, 0] for side in sides))
    drawn = zip(_means(sides[0], problems, seeds).T, _means(sides[1], problems, other_seeds).T, strict=True)
    taus = np.array([_tau(one, two) for one, two in drawn])
    if np.isnan(value) or np.isnan(taus).all():
        return None
    low, high = np.nanquantile(taus, [(1 - level) / 2, (1 + level) / 2])
    method = f"Kendall's tau-b; percentiles of {replicates} draws of problems and seeds"
    return Estimate(value, min(float(low), value), max(float(high), value), level, method, rows, samples, columns)


def _draws(rng: np.random.Generator, size: int, replicates: int) -> Array:
    """How often each of ``size`` is drawn, (replicates, size)."""
    return rng.multinomial(size, np.full(size, 1 / size), replicates).astype(np.float64)


def _tau(first: Array, second: Array) -> float:
    return float(stats.kendalltau(first, second).statistic)


def _means(tables: Sequence[Array], of_problems: Array, of_seeds: Array) -> Array:
    """(labels, replicates): the mean of each table (problems, seeds) with these multiplicities; NaN cells do not
    count."""
    result = []
    for table in tables:
        have = ~np.isnan(table)
        sums, weights = (
            np.einsum("rp,ps,rs->r", of_problems, part, of_seeds, optimize=True)
            for part in (np.where(have, table, 0.0), have.astype(np.float64))
        )
        result.append(np.divide(sums, weights, out=np.full(len(sums), np.nan), where=weights > 0))
    return np.stack(result)
