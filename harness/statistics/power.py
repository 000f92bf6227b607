"""What a design can detect: variance components from a pilot, power, and the cheapest design that is good enough.

A comparison of two labels is a table of differences d[p, s] of cell accuracies (see `estimates`):

    d_ps = delta + a_p + b_s + g_ps + noise_ps,    Var(noise_ps) = w / n

with problems (a), training seeds (b) and their interaction (g) random, and w the variance of one sample on both
sides together. With P problems, n samples and S seeds,

    Var(mean d) = problem / P + seed / S + cell / (P S) + sampling / (P S n)

so that more samples lower the last term alone, and no number of problems gets below seed / S.

Power is that of the test which `comparison.difference` makes, with its own variance estimate and weighted Student
quantile (`estimates.Spread`): for normal effects the mean squares are independent scaled chi-squares, independent of
the mean, and the probability of a rejection is integrated over them. With few seeds this differs from Bloom's (1995)
multiplier, critical value plus quantile of the wanted power, which takes the standard error as known in one place.
`tests/statistics/power_check.py` prints predicted beside simulated power.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product, starmap

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from groupwise.harness.statistics.estimates import FLOOR, LEVEL, POWER, Spread, spread

Array = NDArray[np.float64]
ALPHA = 1 - LEVEL
NODES = {"seeds": 40, "problems": 24, "error": 8}  # of the quadrature; doubling them moves no power by 0.002

# Problem, seed, cell and sampling of a difference between two optimizers, as shares of 2 m (1 - m) for accuracies near
# m: the largest median over optimizers of the five tasks in this repository's `optimizers`, `smollm2-arithmetic` and
# `smollm2-mawps` runs, rounded up (`tests/statistics/power_check.py --shares RUN` prints them).
ASSUMED_SHARES = (0.03, 0.003, 0.03, 0.65)


@dataclass(frozen=True)
class Components:
    """Variances of a quantity's cells: between problems, between seeds, of their interaction, and of one sample.

    In squared units of the quantity. `seed` is NaN where the source has one seed. source: where they come from.
    drawn: samples in a cell of a pilot, NaN where it does not tell them.
    """

    problem: float
    seed: float
    cell: float
    sampling: float
    source: str
    drawn: float = float("nan")


@dataclass(frozen=True, order=True)
class Design:
    """Sizes of an evaluation: problems, samples for each problem, training seeds."""

    problems: int
    samples: int
    seeds: int


@dataclass(frozen=True)
class Costs:
    """What a design costs, in any one unit. seed: training every label once; rollout: one sample of one problem, on
    every label; fixed: what does not depend on the design."""

    seed: float
    rollout: float
    fixed: float = 0.0

    def of(self, design: Design, problems: int | None = None) -> float:
        """The whole cost; problems: over all tasks together, where that is not the design's number."""
        drawn = (design.problems if problems is None else problems) * design.samples
        return self.fixed + design.seeds * (self.seed + self.rollout * drawn)


@dataclass(frozen=True)
class Limits:
    """What may be asked for. problems: how many each task has. samples, seeds: fewest and most."""

    problems: tuple[int, ...]
    samples: tuple[int, int] = (1, 64)
    seeds: tuple[int, int] = (2, 30)


@dataclass(frozen=True)
class Cheapest:
    """The cheapest design, what it costs and can detect; None and the reason when there is none."""

    design: Design | None
    cost: float
    detectable: float
    reason: str = ""


def of_label(values: ArrayLike, scored: ArrayLike, source: str = "") -> Components:
    """Components of one label's cells. values, scored: (problems, seeds) cell means and rollouts behind them.

    Unbiased, so that any but the sampling one may be negative: `pool` them before use. With one rollout in a cell
    sampling cannot be told from the interaction and counts as that, which more samples would not lower.
    """
    return _components(np.asarray(values, dtype=np.float64), *_noise(values, scored), source)


def of_difference(
    first: ArrayLike, first_scored: ArrayLike, second: ArrayLike, second_scored: ArrayLike, source: str = ""
) -> Components:
    """Components of the paired difference of two labels, over the cells both have; see `of_label`.

    A side whose numbers are the same in every seed has no noise of its own within a problem: infinitely many scored.
    Raises ValueError when the tables' shapes differ.
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape:
        raise ValueError(f"paired tables must have one shape, got {one.shape} and {two.shape}")
    noises = [np.add(a, b) for a, b in zip(_noise(one, first_scored), _noise(two, second_scored), strict=True)]
    return _components(one - two, noises[0], noises[1], source)


def pool(parts: Sequence[Components], source: str) -> Components:
    """The mean of several estimates of the same components, cut at zero.

    A pair that is right (or wrong) throughout does not tell how many samples it had: the others do. Labels that share
    their random numbers err alike, so that sampling can explain more than varies: then what varies within cells is all
    there is of it.
    """
    table = np.array([[c.problem, c.seed, c.cell, c.sampling, c.drawn] for c in parts])
    problem, seed, cell, sampling = (float(mean) for mean in table[:, :4].mean(axis=0))
    told = table[~np.isnan(table[:, 4]), 4]
    drawn = float(told.mean()) if told.size else float("nan")
    if cell < 0 < sampling:
        sampling += drawn * cell
    return Components(max(problem, 0.0), max(seed, 0.0), max(cell, 0.0), max(sampling, 0.0), source, drawn)


def assumed(accuracy: float) -> Components:
    """Components of a difference between two optimizers where there is no pilot: `ASSUMED_SHARES` of 2 m (1 - m)."""
    problem, seed, cell, sampling = (share * 2 * accuracy * (1 - accuracy) for share in ASSUMED_SHARES)
    return Components(problem, seed, cell, sampling, f"assumed for accuracies near {accuracy:g}")


def standard_error(components: Components, design: Design) -> float:
    """Of the mean over the design's cells, both problems and seeds being random."""
    return float(np.sqrt(_mean_squares(components, design)[3]))


def power(
    components: Components, design: Design, difference: float, *, alpha: float = ALPHA, comparisons: int = 1
) -> float:
    """Probability that the two-sided test finds a true difference of that size.

    comparisons: size of the family; the level is that of Holm's first step, alpha / comparisons. 0 with one seed
    where seeds differ: one training run does not tell the optimizer's effect from the run's.
    """
    if _unknowable(components, design):
        return 0.0
    rejects = _rejection(_mean_squares(components, design), design.problems, design.seeds, alpha / comparisons)
    return rejects.chance(difference)


def detectable(
    components: Components, design: Design, *, alpha: float = ALPHA, wanted: float = POWER, comparisons: int = 1
) -> float:
    """The smallest true difference that is found with probability `wanted`; infinite where `power` is always 0."""
    if _unknowable(components, design):
        return float("inf")
    squares = _mean_squares(components, design)
    return _rejection(squares, design.problems, design.seeds, alpha / comparisons).smallest(wanted)


def detectable_in(found: Spread, *, alpha: float = ALPHA, wanted: float = POWER) -> float:
    """What a comparison that was made could have detected, taking the variances it saw for the true ones.

    0 where nothing varied; seeds count as far as there were any.
    """
    return _rejection_in(found, alpha).smallest(wanted)


def power_in(found: Spread, difference: float, *, alpha: float = ALPHA) -> float:
    """Probability that a comparison like the one that was made finds a true difference of that size, taking the
    variances it saw for the true ones; what `detectable_in` inverts.

    Not a normal curve through the detectable difference: with few seeds the width beyond which a mean is significant
    is itself so uncertain that power rises far more slowly. 1 for any difference where nothing varied.
    """
    return _rejection_in(found, alpha).chance(difference)


def cheapest(
    components: Sequence[Components],
    costs: Costs,
    wanted: float,
    limits: Limits,
    *,
    alpha: float = ALPHA,
    chance: float = POWER,
    comparisons: int = 1,
) -> Cheapest:
    """The cheapest design with which every task finds a difference of `wanted` with probability `chance`.

    components: one for each task, as limits.problems; a task that has fewer problems than the design uses all it
    has. Exact over `grid`; of designs that cost the same, the one with the fewest problems.
    """
    per_problem, per_sample, per_seed = grid(limits)
    # No test does better than that which knows its standard error; 0.95 is for rounding, and for chance near 0.5.
    enough = wanted / 0.95 / float(-special.ndtri(alpha / comparisons / 2) + special.ndtri(chance))

    def reaches(design: Design) -> bool:
        held = [(c, _at_most(design, n)) for c, n in zip(components, limits.problems, strict=True)]
        if chance > 0.5 and any(standard_error(c, d) > enough for c, d in held):
            return False
        return all(power(c, d, wanted, alpha=alpha, comparisons=comparisons) >= chance for c, d in held)

    # In order of cost, and not by bisection: with few seeds more problems can even lower the power, because the
    # weighted quantile then leans on the seeds' few degrees of freedom.
    every = sorted((cost_of(costs, d, limits), d) for d in starmap(Design, product(per_problem, per_sample, per_seed)))
    best = next(((cost, design) for cost, design in every if reaches(design)), None)
    shown = best[1] if best else Design(per_problem[-1], per_sample[-1], per_seed[-1])
    worst, task = max(
        (detectable(c, _at_most(shown, n), alpha=alpha, wanted=chance, comparisons=comparisons), i)
        for i, (c, n) in enumerate(zip(components, limits.problems, strict=True))
    )
    if best:
        return Cheapest(best[1], best[0], worst)
    return Cheapest(
        None, float("inf"), worst, _why_none(components[task], _at_most(shown, limits.problems[task]), worst)
    )


def grid(limits: Limits) -> tuple[list[int], list[int], list[int]]:
    """The numbers of problems, samples and seeds that `cheapest` looks at, ascending.

    Problems: about ten to the decade, and every task's own number. Samples: powers of two. Seeds: every number.
    """
    most = max(limits.problems)
    steps = {round(10 ** (i / 10)) for i in range(10, 10 * len(str(most)) + 1)}
    problems = sorted(p for p in steps | set(limits.problems) if p <= most)
    low, high = limits.samples
    samples = sorted({low, high, *(2**i for i in range(12) if low <= 2**i <= high)})
    return problems, samples, list(range(limits.seeds[0], limits.seeds[1] + 1))


def cost_of(costs: Costs, design: Design, limits: Limits) -> float:
    """What a design costs when every task uses as many problems as it has, up to the design's number."""
    return costs.of(design, sum(min(design.problems, n) for n in limits.problems))


def _at_most(design: Design, problems: int) -> Design:
    return Design(min(design.problems, problems), design.samples, design.seeds)


def _why_none(components: Components, design: Design, found: float) -> str:
    """Of the largest design and the task on which it finds least."""
    if _unknowable(components, design):
        return "one training seed does not tell an optimizer's effect from a training run's"
    sizes = f"{design.problems} problems x {design.samples} samples x {design.seeds} seeds"
    of = "seeds" if components.seed / design.seeds > components.problem / design.problems else "problems"
    return f"even {sizes} would find no less than {found:.4f}, most of it because of the differences between {of}"


def _noise(values: ArrayLike, scored: ArrayLike) -> tuple[Array, Array]:
    """Variance by sampling of each cell's mean, and of one sample of it, both (problems, seeds); NaN with n < 2.

    v (1 - v) n / (n - 1) is unbiased for right-or-wrong scores, and the largest possible value for scores between.
    """
    v, n = np.asarray(values, dtype=np.float64), np.asarray(scored, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        single = np.where(n > 1, v * (1 - v) / (1 - 1 / n), np.nan)
        return single / n, single


def _components(values: Array, noise: Array, single: Array, source: str) -> Components:
    """From the mean squares of the two-way table (as `Spread` holds them), less what sampling explains."""
    found = spread(values)
    known = ~np.isnan(values) & ~np.isnan(noise)
    within, one = (float(x[known].mean()) if known.any() else 0.0 for x in (noise, single))
    drawn = one / within if within > 0 else float("nan")
    problem = (found.by_problem - found.by_error) * found.problems
    if found.seeds < 2:  # what one seed adds to a problem looks like the problem's own
        return Components(problem - within, float("nan"), 0.0, one, source, drawn)
    seed = (found.by_seed - found.by_error) * found.seeds
    residual = found.by_error * int((~np.isnan(values)).sum())
    return Components(problem, seed, residual - within, one, source, drawn)


def _unknowable(components: Components, design: Design) -> bool:
    return design.problems < 2 or (design.seeds < 2 and components.seed > 0)


def _mean_squares(components: Components, design: Design) -> tuple[float, float, float, float]:
    """Expected mean squares over P S (of problems, seeds and error) and the variance of the mean."""
    p, n, s = design.problems, design.samples, design.seeds
    error = components.cell + components.sampling / n
    by_problem = (s * components.problem + error) / (p * s)
    by_seed = (p * components.seed + error) / (p * s)
    return by_problem, by_seed, error / (p * s), by_problem + by_seed - error / (p * s)


@dataclass(frozen=True)
class _Rejection:
    """When a two-sided test rejects. width: beyond which a mean is significant, over the law of the mean squares, with
    weight; error: the true standard error of the mean."""

    width: Array
    weight: Array
    error: float

    def chance(self, difference: float) -> float:
        if self.error == 0:
            return float(difference != 0)
        above = special.ndtr((difference - self.width) / self.error)
        below = special.ndtr((-difference - self.width) / self.error)
        return float(((above + below) * self.weight).sum())

    def smallest(self, wanted: float) -> float:
        if self.error == 0 or self.chance(0.0) >= wanted:
            return 0.0
        top = float(self.width.max()) + 10 * self.error
        return float(optimize.brentq(lambda difference: self.chance(difference) - wanted, 0.0, top, xtol=1e-9))


def _rejection_in(found: Spread, alpha: float) -> _Rejection:
    squares = found.by_problem, found.by_seed, found.by_error, found.variance
    return _rejection(squares, found.problems, found.seeds, alpha)


def _rejection(squares: tuple[float, float, float, float], problems: int, seeds: int, alpha: float) -> _Rejection:
    """squares: as `_mean_squares` gives them."""
    by_problem, by_seed, by_error, variance = squares
    rows, columns = problems - 1, seeds - 1
    quantiles = -special.stdtrit([max(rows, 1), max(columns, 1)], alpha / 2)
    (p, p_weight), (s, s_weight), (e, e_weight) = (
        _scaled_chi_square(rows, NODES["problems"]),
        _scaled_chi_square(columns, NODES["seeds"]),
        _scaled_chi_square(rows * columns, NODES["error"]),
    )
    p, s, e = by_problem * p[:, None, None], by_seed * s[None, :, None], by_error * e[None, None, :]
    seen = np.maximum(p + s - e, FLOOR * e)
    total = p + s
    critical = np.divide(p * quantiles[0] + s * quantiles[1], total, out=np.zeros_like(total), where=total > 0)
    weight = p_weight[:, None, None] * s_weight[None, :, None] * e_weight[None, None, :]
    return _Rejection(critical * np.sqrt(seen), weight, float(np.sqrt(variance)))


@lru_cache(maxsize=4096)
def _scaled_chi_square(df: int, nodes: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes on the quantiles of chi-square / df, with weights; 0 where there are no degrees."""
    if df < 1:
        return np.zeros(1), np.ones(1)
    points, weights = np.polynomial.legendre.leggauss(nodes)
    return np.asarray(stats.chi2.ppf((points + 1) / 2, df) / df), weights / 2
