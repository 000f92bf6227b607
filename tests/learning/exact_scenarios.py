"""The exact problems that algorithms are tried on: settings whose optimum is known, and what is measured on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from exact_policy import Language
from exact_training import Course, ExactProblem, Setting

from groupwise.algorithms.base import Array

Metric = Callable[[Course], Array]
WORDS = Language("abc", max_tokens=3)
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Scenario:
    """A setting, what is asked in it, and exact measures along the way, each (points,).

    ``lines`` are the metrics that a figure draws; with ``areas`` it also stacks the probabilities of these texts of
    the first problem. ``seeds``: more of them where luck decides.
    """

    name: str
    asks: str
    optimum: str
    setting: Setting
    metrics: Mapping[str, Metric]
    lines: tuple[str, ...]
    areas: tuple[str, ...] = ()
    seeds: tuple[int, ...] = SEEDS


def chance(problem: int, texts: Sequence[str]) -> Metric:
    """Probability of these texts."""
    columns = [WORDS.at(text) for text in texts]
    return lambda course: course.probabilities[:, problem][:, columns].sum(1)


def mean_of(metrics: Sequence[Metric]) -> Metric:
    """The mean of other metrics."""
    return lambda course: np.mean([metric(course) for metric in metrics], axis=0)


def pass_at(k: int, metrics: Sequence[Metric]) -> Metric:
    """Mean chance that one of k rollouts is right, for chances of being right."""
    return lambda course: np.mean([1.0 - (1.0 - metric(course)) ** k for metric in metrics], axis=0)


def shares(groups: Sequence[Sequence[str]]) -> Callable[[Course], Array]:
    """Shares of the sets of texts among all of them, (points, sets), for the first problem."""

    def measure(course: Course) -> Array:
        mass = np.stack([chance(0, texts)(course) for texts in groups], axis=1)
        found: Array = mass / mass.sum(1, keepdims=True)
        return found

    return measure


def entropy(groups: Sequence[Sequence[str]]) -> Metric:
    """Entropy in bits of the shares."""
    return lambda course: -(shares(groups)(course) * np.log2(shares(groups)(course))).sum(1)


def top(groups: Sequence[Sequence[str]]) -> Metric:
    """The largest share."""
    return lambda course: shares(groups)(course).max(1)


def rarest(groups: Sequence[Sequence[str]]) -> Metric:
    """The smallest share."""
    return lambda course: shares(groups)(course).min(1)


def jsd(groups: Sequence[Sequence[str]]) -> Metric:
    """Jensen-Shannon divergence in bits of the shares to the uniform distribution."""

    def measure(course: Course) -> Array:
        p = shares(groups)(course)
        q = np.full(p.shape, 1.0 / len(groups))
        middle = (p + q) / 2.0
        divergence: Array = ((p * np.log2(p / middle) + q * np.log2(q / middle)) / 2.0).sum(1)
        return divergence

    return measure


def discarded(course: Course) -> Array:
    """Share of all rollouts that were thrown away, at every point that of the whole training."""
    drawn = sum(course.charged[line] for line in ("final", "draft", "discarded"))
    return np.full(len(course.rollouts), course.charged["discarded"] / drawn)


def references(course: Course) -> Array:
    """Reference solutions read, at every point those of the whole training."""
    return np.full(len(course.rollouts), float(course.charged["reference"]))


# Many right answers to one question, unequally likely at the start.

VALID = {"a.": 0.33, "b.": 0.22, "ab.": 0.12, "bc.": 0.08, "ca.": 0.05}
EACH = [[text] for text in VALID]
MANY_METRICS = {
    "right": chance(0, tuple(VALID)),
    "entropy": entropy(EACH),
    "top share": top(EACH),
    "rarest share": rarest(EACH),
    "JSD to uniform": jsd(EACH),
}
MANY = Scenario(
    name="many",
    asks="One question with five right answers of 1 or 2 letters, at the start 33, 22, 12, 8 and 5 % likely; "
    "20 % are wrong.",
    optimum="Every distribution over the five is optimal for the score; the uniform one (2.32 bits) covers them.",
    setting=Setting(WORDS, (ExactProblem(0, VALID, dict.fromkeys(VALID, 1.0)),), budget=4000, learning_rate=1.5),
    metrics=MANY_METRICS,
    lines=("entropy",),
    areas=tuple(VALID),
)

EVEN = replace(
    MANY,
    name="even",
    asks="The same question from an even start: each right answer is 10 % likely.",
    setting=replace(MANY.setting, problems=(ExactProblem(0, dict.fromkeys(VALID, 0.1), dict.fromkeys(VALID, 1.0)),)),
    lines=(),
)

# The first question, where embeddings see three meanings: {a, ab}, {b, bc} and {ca}.

NEAR = 0.95  # cosine of two answers with the same meaning
MEANING = {
    "a.": (1.0, 0.0, 0.0, 0.0, 0.0), "ab.": (NEAR, 0.0, 0.0, (1 - NEAR**2) ** 0.5, 0.0),
    "b.": (0.0, 1.0, 0.0, 0.0, 0.0), "bc.": (0.0, NEAR, 0.0, 0.0, (1 - NEAR**2) ** 0.5),
    "ca.": (0.0, 0.0, 1.0, 0.0, 0.0),
}  # fmt: skip
CLUSTERS = [["a.", "ab."], ["b.", "bc."], ["ca."]]
MEANINGS = replace(
    MANY,
    name="meanings",
    asks="The question of many, where an embedding sees three meanings: {a, ab}, {b, bc} (cosine 0.95) and {ca}.",
    optimum="Uniform over the three meanings (1.58 bits between them), whatever the wording.",
    setting=replace(MANY.setting, problems=(replace(MANY.setting.problems[0], meaning=MEANING),)),
    metrics={
        **MANY_METRICS,
        "entropy of meanings": entropy(CLUSTERS),
        "largest meaning": top(CLUSTERS),
        "rarest meaning": rarest(CLUSTERS),
    },
    lines=("entropy of meanings",),
)

# Prompts with one right answer each.

RIGHT = ("a.", "bc.", "ab.", "c.")
POPULAR_WRONG = (("b.", 0.5), ("ca.", 0.2), ("cb.", 0.1), ("aa.", 0.05))


def prompts(*chances: float) -> tuple[ExactProblem, ...]:
    """Prompts whose right answers are that likely at the start; the most popular wrong one has half of the rest."""
    return tuple(
        ExactProblem(
            number,
            {right: chance_of_it, **{wrong: share * (1.0 - chance_of_it) for wrong, share in POPULAR_WRONG}},
            scores={right: 1.0},
            solution=right,
        )
        for number, (right, chance_of_it) in enumerate(zip(RIGHT, chances, strict=True))
    )


SOLVED = [chance(number, [right]) for number, right in enumerate(RIGHT)]
PROMPT_METRICS: dict[str, Metric] = {
    "accuracy": mean_of(SOLVED),
    "easiest": SOLVED[0],
    "hardest": SOLVED[3],
    "hard three": mean_of(SOLVED[1:]),
    "popular wrong": chance(0, ["b."]),
    "pass@8": pass_at(8, SOLVED),
    "discarded": discarded,
    "references": references,
}
RARE_LINES = ("20 %", "2 %", "1 %", "0.4 %")
RARE = Scenario(
    name="rare",
    asks="Four prompts with one right answer each, at the start 20, 2, 1 and 0.4 % likely: most groups of 8 are "
    "all wrong, and whether a training meets the rarest answer is luck, hence ten seeds and claims about their mean.",
    optimum="Probability 1 of each right answer.",
    setting=Setting(WORDS, prompts(0.2, 0.02, 0.01, 0.004), budget=3200, learning_rate=4.0),
    metrics={**PROMPT_METRICS, **dict(zip(RARE_LINES, SOLVED, strict=True))},
    lines=RARE_LINES,
    seeds=tuple(range(10)),
)
HOPELESS = replace(
    RARE,
    name="hopeless",
    asks="Four prompts, one right answer each: 20 % likely at one of them, 0.05 % at three.",
    setting=replace(RARE.setting, problems=prompts(0.2, 0.0005, 0.0005, 0.0005)),
    lines=("easiest", "popular wrong"),
    seeds=SEEDS,
)
EQUAL = replace(
    RARE,
    name="equal",
    asks="Four prompts that are equally hopeless: each right answer is 0.05 % likely.",
    setting=replace(RARE.setting, problems=prompts(0.0005, 0.0005, 0.0005, 0.0005)),
    lines=("accuracy",),
    seeds=SEEDS,
)
MIXED = replace(
    RARE,
    name="mixed",
    asks="Four prompts with one right answer each, 5, 10, 30 and 50 % likely at the start.",
    setting=Setting(WORDS, prompts(0.05, 0.1, 0.3, 0.5), budget=1600, learning_rate=4.0, updates=2, copying=1.5),
    lines=("accuracy",),
    seeds=SEEDS,
)

# Graded scores, of which some are replaced by an outlier.

GRADES = {"a.": 0.5, "bc.": 0.4, "ab.": 0.3, "cc.": 0.2, "b.": 0.1}
OUTLIERS = Scenario(
    name="outliers",
    asks="One question with graded answers (0.5, 0.4, 0.3, 0.2, 0.1; the best is 10 % likely at the start); with "
    "probability 0.15 a grade is replaced by 10, whatever the answer.",
    optimum="Probability 1 of the best answer: the accidents are the same for all.",
    setting=Setting(
        WORDS,
        (
            ExactProblem(
                0, {"a.": 0.1, "bc.": 0.2, "ab.": 0.3, "b.": 0.2, "cc.": 0.1}, GRADES, noise=0.15, outlier=10.0
            ),
        ),
        budget=3200,
        learning_rate=1.0,
    ),
    metrics={"best": chance(0, ["a."]), "right": chance(0, tuple(GRADES))},
    lines=("best",),
)

# Two rewards at once, one worth ten times the other: the first letter is the format, the second the answer.

FORMAT = {"a": 0.3, "b": 0.42, "c": 0.28}
ANSWER = {"a": 0.54, "b": 0.1, "c": 0.36}
PAIRS = {f"{x}{y}.": 0.98 * FORMAT[x] * ANSWER[y] for x in FORMAT for y in ANSWER}
FORMATTED = [text for text in PAIRS if text[0] == "a"]
CORRECT = [text for text in PAIRS if text[1] == "b"]


def two_rewards(worth: float) -> Setting:
    """A score that adds the format's reward (1) and the answer's (``worth``), scaled to at most 1, and both as
    components."""
    scores = {text: ((text in FORMATTED) + worth * (text in CORRECT)) / (1.0 + worth) for text in PAIRS}
    components = {"format": dict.fromkeys(FORMATTED, 1.0), "correct": dict.fromkeys(CORRECT, worth)}
    return Setting(WORDS, (ExactProblem(0, PAIRS, scores, components=components),), budget=800, learning_rate=0.3)


TWO_REWARDS = Scenario(
    name="two rewards",
    asks="Two-letter answers: the first letter earns the format's reward, the second, a tenth of it, the answer's. "
    "At the start 30 and 10 % earn them.",
    optimum="Probability 1 of both.",
    setting=two_rewards(0.1),
    metrics={"format": chance(0, FORMATTED), "correct": chance(0, CORRECT)},
    lines=("correct", "format"),
)

SCENARIOS = (MANY, EVEN, MEANINGS, RARE, HOPELESS, EQUAL, MIXED, OUTLIERS, TWO_REWARDS)
