"""Words of the page, and how its numbers are made. The methods are quoted from the estimates themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from groupwise.harness.report.tables import evaluated

Summary = dict[str, Any]

TERMS = (
    (
        "Optimizer",
        "A way to learn from a group of rollouts. Its formula is under Recipes; the name alone is ambiguous.",
    ),
    ("base", "The model before reinforcement learning. One model: its seeds are more samples of it, not more runs."),
    ("Comparator", "The optimizer with which the others are compared, problem by problem and seed by seed."),
    ("Problem", "One question of a task. Problems are a sample of those that could have been asked."),
    ("Rollout, sample", "One completion drawn for a problem. Samples of one problem never count as independent."),
    ("Seed", "One training run. Runs are a sample of those that could have been made."),
    ("Accuracy", "Mean score of scored rollouts: per problem and seed first, then over all of those."),
    ("pass@k", "Chance that at least one of k rollouts is right; the unbiased estimate from the n drawn."),
    ("Δ", "Difference from the optimizer or model named, on the same problems and seeds."),
    ("p (Holm)", "Two-sided p of the difference, corrected for all comparisons of its column."),
    ("MDD", "Smallest true difference that a test without correction would have found, at the power stated."),
    ("Bold", "The difference from the comparator survives the correction. Nothing else is ever bold in a table."),
    ("[low, high]", "The interval of the number before it; not corrected for the number of comparisons."),
    ("Unscored", "The verifier could not give a score. Left out of every mean, never counted as wrong."),
    ("Truncated", "The completion hit the limit of new tokens before it ended."),
    ("Mixed group", "Some rollouts right, some wrong: the only groups whose verdicts carry a signal."),
    ("Signal", "Share of groups in which the optimizer found an advantage other than 0."),
    ("Charged", "Rollouts taken from the budget: those learned from, drafts and discarded ones."),
    ("†", "A reconstruction after the abstract of a paper, without reference code to compare with."),
)


OF_MODELS = (
    ("Comparator", "The model with which the others are compared, problem by problem: the first that was named."),
    ("Seed", "Of the sampling. The models are as they are: no training run is part of these numbers."),
    ("Accuracy", "Mean score of scored rollouts: per problem first, then over the problems."),
    ("Δ", "Difference from the model named, on the same problems."),
)
OF_TRAINING = ("Optimizer", "base", "Mixed group", "Signal", "Charged", "†")


def terms(summary: Summary) -> list[tuple[str, str]]:
    """The words that a report of this kind uses."""
    if not evaluated(summary):
        return list(TERMS)
    own = dict(OF_MODELS)
    return [(term, own.get(term, meaning)) for term, meaning in TERMS if term not in OF_TRAINING]


def method(summary: Summary) -> list[str]:
    """How the numbers of this report were made, as paragraphs."""
    level, alpha, power = 100 * summary["level"], summary["alpha"], 100 * summary["power"]
    unit = (
        "The unit of inference is the problem and the training run. Problems and seeds are crossed and both random: "
        "another draw of either would give another number. Rollouts of one problem are averaged first."
    )
    if evaluated(summary):
        unit = (
            "The unit of inference is the problem: other problems of the same kind would give another number, and "
            "that is what intervals and tests are about. Rollouts of one problem are averaged first; drawing them anew "
            "is a part of the variation between problems."
        )
    paired = "problem" if evaluated(summary) else "problem and seed"
    return [
        unit,
        f"Intervals have a nominal coverage of {level:.0f} %; each says how it was made, from how many problems, "
        "samples and seeds, in summary.json.",
        f"Differences are paired by {paired}. Correction: {summary['correction']}; a difference survives when "
        f"its corrected p is below {alpha:g}. Intervals are not corrected.",
        f"The smallest detectable difference assumes {power:.0f} % power, a two-sided test at {alpha:g} and no "
        "correction: with correction it is larger.",
        "A difference that does not survive is not a proof of equality: it may be smaller than what this design could "
        "have detected.",
    ]


def ways(summary: Summary) -> list[str]:
    """Distinct method texts of the summary's estimates, in the order met."""
    return list(dict.fromkeys(text for text in _walk(summary["tasks"]) if text))


def _walk(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("method"), str) and "value" in value:
            yield value["method"]
        for inner in value.values():
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)
