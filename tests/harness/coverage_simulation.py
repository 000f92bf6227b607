"""How often do the intervals hold what they are to hold?

    python tests/harness/coverage_simulation.py [--repeats N]

draws accuracies from a known world and counts. World: logit of the success probability of problem p under training
seed s is mu + a_p + b_s + c_ps, all normal; n samples per cell are coins with that probability. The true value is the
mean over all problems and seeds.

First table: coverage of the nominal 95 % interval (`proportion`), misses with the interval above and below the truth,
its mean width, and the coverage of the interval that treats every sample as independent ("pooled"). Second table:
paired differences of two optimizers that do not differ: coverage of 0, and how often p falls below 0.05 and 0.005.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from groupwise.harness import statistics

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


@dataclass(frozen=True)
class Design:
    """Sizes of an evaluation and the world it is drawn from; standard deviations in logits."""

    problems: int
    samples: int
    seeds: int
    mean: float
    problem_sd: float = 1.5
    seed_sd: float = 0.0
    cell_sd: float = 0.0

    @property
    def sizes(self) -> str:
        return f"{self.problems} x {self.samples} x {self.seeds}"


@dataclass(frozen=True)
class Coverage:
    """Shares of the repeats, in [0, 1], and the mean width."""

    covered: float
    above: float
    below: float
    width: float
    pooled: float


def designs() -> Iterator[Design]:
    for mean in (0.02, 0.5, 0.98):
        yield Design(30, 16, 1, mean)
        yield Design(1319, 1, 1, mean)
        for seeds in (3, 5, 10):
            for seed_sd in (0.0, 0.15, 0.4):
                yield Design(100, 16, seeds, mean, seed_sd=seed_sd, cell_sd=0.3)


def location(design: Design) -> float:
    """mu such that the mean over all problems and seeds is the design's, by Gauss-Hermite quadrature."""
    spread = np.sqrt(design.problem_sd**2 + design.seed_sd**2 + design.cell_sd**2)

    def excess(mu: float) -> float:
        return float((_WEIGHTS * special.expit(mu + spread * _NODES)).sum() / _WEIGHTS.sum()) - design.mean

    return float(optimize.brentq(excess, -60.0, 60.0))


def draw(design: Design, rng: np.random.Generator, problems: NDArray[np.float64]) -> NDArray[np.float64]:
    """One optimizer's table of cell accuracies (problems, seeds), given the problems' difficulties (problems, 1)."""
    shape = (design.problems, design.seeds)
    seeds = design.seed_sd * rng.standard_normal((1, design.seeds))
    logits = problems + seeds + design.cell_sd * rng.standard_normal(shape)
    return rng.binomial(design.samples, special.expit(logits), shape) / design.samples


def difficulties(design: Design, rng: np.random.Generator) -> NDArray[np.float64]:
    return location(design) + design.problem_sd * rng.standard_normal((design.problems, 1))


def cover(design: Design, repeats: int, seed: int = 0) -> Coverage:
    """Coverage of `statistics.proportion` and of the pooled interval."""
    rng = np.random.default_rng(seed)
    total = design.problems * design.samples * design.seeds
    rows = []
    for _ in range(repeats):
        table = draw(design, rng, difficulties(design, rng))
        found = statistics.proportion(table, total)
        half = 1.96 * np.sqrt(max(found.value * (1 - found.value), 0.0) / total)
        pooled = abs(found.value - design.mean) <= half
        above, below = found.low > design.mean, found.high < design.mean
        rows.append((not above and not below, above, below, found.high - found.low, pooled))
    return Coverage(*(float(x) for x in np.mean(np.array(rows, dtype=float), axis=0)))


def null_differences(design: Design, repeats: int, seed: int = 0) -> tuple[float, float, float]:
    """Two optimizers with the same mean: coverage of 0, share of p < 0.05 and of p < 0.005."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(repeats):
        problems = difficulties(design, rng)
        # Each optimizer finds other problems hard, a little: pairing does not remove everything.
        own = [problems + 0.4 * rng.standard_normal(problems.shape) for _ in range(2)]
        one, two = (draw(design, rng, mine) for mine in own)
        found = statistics.difference(one, two, 2 * one.size * design.samples, (0.0, 1.0))
        rows.append((found.estimate.low <= 0 <= found.estimate.high, found.p < 0.05, found.p < 0.005))
    covered, five, half = (float(x) for x in np.mean(np.array(rows, dtype=float), axis=0))
    return covered, five, half


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of the intervals, by simulation.")
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    print(f"{repeats} repeats; standard error of a coverage of 95 %: {100 * (0.95 * 0.05 / repeats) ** 0.5:.1f} points")
    print("problems x samples x seeds  mean  seed sd  covered  above  below  width  pooled")
    for design in designs():
        c = cover(design, repeats)
        covered, above, below, pooled = (100 * x for x in (c.covered, c.above, c.below, c.pooled))
        world = f"{design.sizes:>26}  {design.mean:4.2f}  {design.seed_sd:7.2f}"
        print(f"{world}  {covered:7.1f}  {above:5.1f}  {below:5.1f}  {c.width:5.3f}  {pooled:6.1f}", flush=True)
    print("\npaired differences, no true difference\nproblems x samples x seeds  seed sd  covered  p<0.05  p<0.005")
    for problems, samples, seeds in ((30, 16, 1), (24, 8, 3), (100, 16, 3), (100, 16, 5), (100, 16, 10)):
        for seed_sd in (0.0, 0.15, 0.4) if seeds > 1 else (0.0,):
            design = Design(problems, samples, seeds, 0.5, seed_sd=seed_sd, cell_sd=0.3)
            covered, five, half = (100 * x for x in null_differences(design, repeats))
            print(f"{design.sizes:>26}  {seed_sd:7.2f}  {covered:7.1f}  {five:6.1f}  {half:7.2f}", flush=True)


if __name__ == "__main__":
    main()
