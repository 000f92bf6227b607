"""What a file of graded completions amounts to: counts, and shares with intervals clustered by problem."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from groupwise.harness import statistics
from groupwise.harness.statistics import Estimate
from groupwise.verifiers import Verdict

RIGHT = 1.0  # a score between 0 and 1 counts in the mean alone
REASONS = 5  # of unscored completions, the most frequent
MARKING = ("strict", "loose")  # components that are compared with one another


class Cells:
    """Means by problem: what the samples of one problem add up to is one cell."""

    def __init__(self) -> None:
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.counts: Counter[str] = Counter()

    def add(self, problem: str, value: float) -> None:
        self.sums[problem] += value
        self.counts[problem] += 1

    def estimate(self) -> Estimate:
        """The mean of the problems' means, with its interval; NaN without any."""
        return statistics.proportion(self.means(), self.counts.total())

    def means(self) -> list[float]:
        return [self.sums[problem] / count for problem, count in self.counts.items()]


@dataclass
class Agreement:
    """A verifier against labels: of the right completions those it calls wrong, of the wrong those it calls right."""

    right: int = 0
    missed: int = 0
    wrong: int = 0
    passed: int = 0
    unscored: int = 0

    def add(self, label: float, score: float | None) -> None:
        if score is None:
            self.unscored += 1
        elif label >= RIGHT:
            self.right += 1
            self.missed += score < RIGHT
        else:
            self.wrong += 1
            self.passed += score >= RIGHT

    def to_dict(self) -> dict[str, Any]:
        """Counts, and rates with exact binomial intervals: each completion counts as one trial."""
        scored = self.right + self.wrong
        return {
            "labelled": scored + self.unscored,
            "unscored": self.unscored,
            "agreement": rate(scored - self.missed - self.passed, scored),
            "false_negatives": rate(self.missed, self.right),
            "false_positives": rate(self.passed, self.wrong),
        }


def rate(hits: int, of: int) -> dict[str, Any]:
    """``hits`` of ``of`` independent trials as a share with its Clopper-Pearson interval; None where ``of`` is 0."""
    found = statistics.proportion([hits / of] if of else [], of)
    return {"count": hits, "of": of, **interval(found)}


def interval(found: Estimate) -> dict[str, float | None]:
    """An estimate as JSON: None for "no data"."""
    shown = {"value": found.value, "low": found.low, "high": found.high}
    return {key: value if found.problems else None for key, value in shown.items()}


@dataclass
class Tally:
    """Everything that the summary of graded completions needs, in memory that grows with the problems alone.

    ``by``: the names of metadata fields to break the accuracy down by.
    """

    by: Sequence[str] = ()
    completions: int = 0
    right: int = 0
    wrong: int = 0
    unscored: int = 0
    unparsed: int = 0
    problems: set[str] = field(default_factory=set)
    score: Cells = field(default_factory=Cells)
    strict: Cells = field(default_factory=Cells)
    loose: Cells = field(default_factory=Cells)
    rewards: defaultdict[str, Cells] = field(default_factory=lambda: defaultdict(Cells))
    parts: dict[str, defaultdict[str, Cells]] = field(init=False)
    reasons: Counter[str] = field(default_factory=Counter)
    labels: Agreement = field(default_factory=Agreement)

    def __post_init__(self) -> None:
        self.parts = {name: defaultdict(Cells) for name in self.by}

    def add(self, problem: str, verdict: Verdict, label: float | None, metadata: Mapping[str, Any]) -> None:
        """Count one verdict."""
        score = verdict.score
        self.completions += 1
        self.problems.add(problem)
        if label is not None:
            self.labels.add(label, score)
        if score is None:
            self.unscored += 1
            self.reasons[verdict.reason] += 1
            return
        self.right += score >= RIGHT
        self.wrong += score == 0
        self.unparsed += verdict.answer is None
        self.score.add(problem, score)
        for name, cells in self.parts.items():
            cells[str(metadata.get(name))].add(problem, score)
        strict, loose = verdict.components.get("strict"), verdict.components.get("loose")
        if strict is not None and loose is not None:
            self.strict.add(problem, strict)
            self.loose.add(problem, loose)
        for name, value in verdict.components.items():
            if name not in MARKING and value is not None:
                self.rewards[name].add(problem, value)

    def summary(self) -> dict[str, Any]:
        """JSON data."""
        scored = self.completions - self.unscored
        accuracy = self.score.estimate()
        return {
            "completions": self.completions,
            "problems": len(self.problems),
            "right": self.right,
            "wrong": self.wrong,
            "partly_right": scored - self.right - self.wrong,
            "unscored": self.unscored,
            "unscored_reasons": dict(self.reasons.most_common(REASONS)),
            "unparsed": {"count": self.unparsed, "share": self.unparsed / scored if scored else None},
            "accuracy": {**interval(accuracy), "method": accuracy.method},
            **self._marking(),
            # without intervals, which would need to know the range of each
            "components": {name: fmean(cells.means()) for name, cells in sorted(self.rewards.items())},
            "by": {name: self._breakdown(cells) for name, cells in self.parts.items()},
            "labels": self.labels.to_dict() if self.labels.to_dict()["labelled"] else None,
        }

    def _marking(self) -> dict[str, Any]:
        """Accuracy when only a marked answer counts, and under any rule; None where the verifier tells no two apart."""
        if not self.strict.counts:
            return {"strict": None, "loose": None, "gap": None}
        samples = self.strict.counts.total()
        gap = statistics.difference(self.loose.means(), self.strict.means(), 2 * samples, (0.0, 1.0)).estimate
        shares = {"strict": self.strict.estimate(), "loose": self.loose.estimate(), "gap": gap}
        return {name: interval(found) for name, found in shares.items()}

    def _breakdown(self, parts: Mapping[str, Cells]) -> list[dict[str, Any]]:
        def key(group: str) -> tuple[int, float, str]:
            return (0, float(group), "") if group.replace(".", "", 1).isdecimal() else (1, 0.0, group)

        return [
            {
                "group": group,
                "problems": len(parts[group].counts),
                "completions": parts[group].counts.total(),
                **interval(parts[group].estimate()),
            }
            for group in sorted(parts, key=key)
        ]
