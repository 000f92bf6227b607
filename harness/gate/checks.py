"""One check for each label, task and metric, and the verdict on all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groupwise.harness.errors import InputError
from groupwise.harness.gate.evidence import Evidence, Loss, weigh
from groupwise.harness.gate.needs import Needs, needs, sampling_variance
from groupwise.harness.gate.pairing import Pair
from groupwise.harness.gate.policy import Policy
from groupwise.harness.gate.seeds import differences
from groupwise.harness.gate.verdict import Judged, Verdict, exit_code, judge, smallest_alpha
from groupwise.harness.scores.measures import Metric, cells, counts, metric
from groupwise.harness.scores.table import COUNTS, KEY, Scores
from groupwise.harness.statistics.estimates import POWER, Estimate, average, proportion

Array = NDArray[np.float64]

SAME_OUTPUTS = "the same counts and lengths in every cell: the same outputs"


@dataclass(frozen=True)
class Check:
    """What the gate says of one metric of one label on one task.

    new, old: the means. difference: new minus old; its low and high are one-sided limits at the policy's alpha
    each. tolerance: in the metric's unit. p, p_rise: one-sided, corrected over the gate's checks (two-sided
    for lengths). minimum_detectable: smallest true loss that this check finds with probability `POWER`.
    rise: significantly better than recorded. needed: what would have let an unchanged model pass, of an
    inconclusive check. source: what the variance of the difference comes from, see `Spread.source`.
    """

    label: str
    task: str
    metric: str
    verdict: Verdict
    new: Estimate
    old: Estimate
    difference: Estimate
    tolerance: float
    p: float
    p_rise: float
    rise: bool
    minimum_detectable: float
    needed: Needs | None
    source: str
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.label} {self.task} {self.metric}"

    @property
    def share(self) -> bool:
        return metric(self.metric).share

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "notes": list(self.notes)}


@dataclass(frozen=True)
class Outcome:
    """The gate's answer. results, baseline: where both were read from."""

    results: str
    baseline: str
    policy: Policy
    checks: list[Check]

    @property
    def code(self) -> int:
        return exit_code([check.verdict for check in self.checks])

    @property
    def verdict(self) -> Verdict:
        named: dict[int, Verdict] = {0: "pass", 1: "regression", 3: "inconclusive"}
        return named[self.code]

    def to_dict(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "exit_code": self.code,
            "results": self.results,
            "baseline": self.baseline,
            "policy": self.policy.to_dict(),
            "power": POWER,
            "checks": [check.to_dict() for check in self.checks],
        }


@dataclass(frozen=True)
class _Side:
    """One side's cells of a metric (P, S), and the samples behind each."""

    cells: Array
    sizes: Array

    @property
    def samples(self) -> int:
        return int(self.sizes.sum())


@dataclass(frozen=True)
class _Measured:
    pair: Pair
    metric: Metric
    new: _Side
    old: _Side
    tolerance: float
    evidence: Evidence
    notes: tuple[str, ...]


def check(pairs: Sequence[Pair], policy: Policy) -> list[Check]:
    """Every metric of the policy on every pair, judged as one family. Raises InputError for what is not there."""
    measured = [_measure(pair, metric(name), policy) for pair in pairs for name in policy.metrics]
    judged = judge([one.evidence for one in measured], policy.alpha, policy.correction)
    alone = smallest_alpha(policy.alpha, policy.correction, len(measured))
    return [_check(one, verdict, policy.alpha, alone) for one, verdict in zip(measured, judged, strict=True)]


def _check(one: _Measured, judged: Judged, alpha: float, alone: float) -> Check:
    evidence, notes = one.evidence, one.notes
    if judged.verdict == "pass" and judged.worse <= alpha:
        notes = (*notes, "a significant loss, shown to lie within the tolerance")
    difference = Estimate(
        (-1.0 if evidence.loss == "up" else 1.0) * evidence.found.mean + 0.0,  # never "-0.0"
        evidence.low,
        evidence.high,
        1 - 2 * alpha,
        _method(evidence),
        evidence.found.problems,
        one.new.samples + one.old.samples,
        evidence.found.seeds,
    )
    return Check(
        one.pair.label,
        one.pair.task,
        one.metric.name,
        judged.verdict,
        _mean(one.new, one.metric),
        _mean(one.old, one.metric),
        difference,
        one.tolerance,
        judged.worse,
        judged.better,
        judged.rise,
        evidence.detectable(alone),
        _needed(one, alpha) if judged.verdict == "inconclusive" else None,
        evidence.found.source,
        notes,
    )


def _measure(pair: Pair, what: Metric, policy: Policy) -> _Measured:
    new, old = (_side(scores, pair, what) for scores in (pair.new, pair.old))
    apart = differences(new.cells, old.cells, same_seeds=pair.same_seeds)
    if not apart.spread.problems:
        less = f"fewer than {what.k} scored samples for each problem" if what.k > 1 else "not stored, or nothing scored"
        raise InputError(f"{pair.new.place}: {pair.label}: {pair.task}: no {what.name} to compare: {less} on one side")
    notes = pair.notes
    if left := len(apart.table) - apart.spread.problems:
        notes = (*notes, f"{left} problems are left out: no {what.name} on one side")
    loss: Loss = "either" if what.name == "tokens" else "down" if what.higher_is_better else "up"
    tolerance = policy.tolerance(what.name)
    if what.name == "tokens":
        tolerance *= float(np.nanmean(old.cells))
    answers = min(new.samples, old.samples) if what.share else 0
    evidence = weigh(apart, what.bounds, loss, tolerance, policy.alpha, answers)
    if _same_outputs(pair.new.table, pair.old.table):
        notes = (*notes, SAME_OUTPUTS)
        evidence = replace(evidence, within=True)
    elif evidence.found.source == "one seed" and not pair.new.untrained:
        notes = (*notes, "one training seed: this speaks of two training runs, not of the optimizer")
    return _Measured(pair, what, new, old, tolerance, evidence, notes)


def _side(scores: Scores, pair: Pair, what: Metric) -> _Side:
    return _Side(cells(scores, pair.task, what.name).to_numpy(), counts(scores, pair.task, what.name).to_numpy())


def _same_outputs(new: pd.DataFrame, old: pd.DataFrame) -> bool:
    """Whether every cell has the same counts, lengths included: too much to agree by chance."""
    columns = [*KEY, *COUNTS]
    return bool(new["tokens"].notna().all()) and new[columns].equals(old[columns])


def _mean(side: _Side, what: Metric) -> Estimate:
    if what.share:
        return proportion(side.cells, side.samples, cap=what.k == 1)
    return average(side.cells, side.samples, what.bounds)


def _method(evidence: Evidence) -> str:
    crossed = evidence.found.problems > 1 and evidence.found.seeds > 1
    paired = "paired by problem and training seed, both random" if crossed else "paired by problem"
    if not evidence.found.paired:
        paired = "paired by problem, not by training seed (few, or not the same); both random"
    correction = "; continuity correction of one answer" if evidence.step else ""
    return f"{paired}; difference +- t SE{correction}, one-sided limits"


def _needed(one: _Measured, alpha: float) -> Needs:
    """Needs of a check; of metrics that are plain shares also in samples."""
    sampling, size = float("nan"), 1.0
    if one.metric.share and one.metric.k == 1:
        sampling = sum(sampling_variance(side.cells, side.sizes) for side in (one.new, one.old))
        size = one.new.samples / max(int((one.new.sizes > 0).sum()), 1)
    return needs(one.evidence, one.tolerance, alpha, sampling, size, untrained=one.pair.new.untrained)
