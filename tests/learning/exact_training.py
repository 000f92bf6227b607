"""Training on an exact problem: a sampler in memory, and the harness's own update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from exact_policy import Language, TablePolicy, Tokens
from numpy.typing import NDArray

from groupwise.algorithms.base import Algorithm, Array, DrawnStage, Group, Rollout, Stage
from groupwise.harness.experiment import TaskConfig, TrainConfig
from groupwise.harness.update import update


@dataclass(frozen=True)
class Verdict:
    """A verdict as the algorithms read it."""

    score: float | None
    answer: str | None
    components: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ExactProblem:
    """A prompt with the shares of its texts at the start, and the score of each text that earns something.

    ``noise``: with this probability a score is replaced by ``outlier``. ``components``: further rewards by text.
    ``meaning``: text -> direction of its embedding; a text that is not named has a direction of its own.
    """

    number: int
    start: Mapping[str, float]
    scores: Mapping[str, float]
    solution: str | None = None
    components: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    meaning: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    noise: float = 0.0
    outlier: float = 0.0
    draft: Tokens = ()

    @property
    def id(self) -> str:
        return f"exact/{self.number}"

    @property
    def answers(self) -> tuple[str, ...]:
        return tuple(text.rstrip(".") for text, score in self.scores.items() if score >= 1.0)

    @property
    def prompt(self) -> Tokens:
        return (self.number, *self.draft)


def rollout_of(
    language: Language,
    problem: ExactProblem,
    word: Tokens,
    index: int = 0,
    stage: Stage = "final",
    logprobs: tuple[float, ...] | None = None,
    accident: bool = False,
) -> Rollout:
    """The word as a graded completion; an ``accident`` earns the outlier."""
    text = language.text(word)
    ended = text.endswith(".")
    score = problem.outlier if accident else problem.scores.get(text, 0.0)
    components = {name: table.get(text, 0.0) for name, table in problem.components.items()}
    return Rollout(
        problem_id=problem.id,
        index=index,
        stage=stage,
        prompt_tokens=problem.prompt,
        tokens=word,
        logprobs=logprobs,
        text=text,
        finish_reason="stop" if ended else "length",
        verdict=Verdict(score, text.rstrip(".") if ended else None, components),
    )


class OutOfBudget(Exception):
    """A draw that the budget does not cover."""


class MemorySampler:
    """``algorithms.base.Sampler`` over a table policy.

    The n-th rollout of a problem uses the same random numbers whatever the algorithm, as in the harness.
    """

    def __init__(self, policy: TablePolicy, problems: Sequence[ExactProblem], budget: int, seed: int) -> None:
        self.policy = policy
        self.language = policy.language
        self.problems = problems
        self.budget = budget
        self.charged: dict[str, int] = {"final": 0, "draft": 0, "discarded": 0, "reference": 0}
        self.kinds = {"all_right": 0, "all_wrong": 0, "mixed": 0, "unscored": 0}
        generator = np.random.default_rng(seed)
        self.luck = generator.random((len(problems), budget))
        self.accidents = generator.random((len(problems), budget))
        self.draws = [0] * len(problems)
        self.cursor = 0

    @property
    def rollouts(self) -> int:
        """All rollouts drawn so far."""
        return sum(self.charged[line] for line in ("final", "draft", "discarded"))

    def affords(self, rollouts: int) -> bool:
        return self.rollouts + rollouts <= self.budget

    def next_problems(self, n: int) -> Sequence[ExactProblem]:
        chosen = [self.problems[(self.cursor + i) % len(self.problems)] for i in range(n)]
        self.cursor += n
        return chosen

    def sample(self, problems: Sequence[ExactProblem], n: int, stage: DrawnStage = "final") -> list[Group]:
        if not self.affords(len(problems) * n):
            raise OutOfBudget
        self.charged[stage] += len(problems) * n
        groups = [Group(problem, tuple(self._draw(problem, n, stage))) for problem in problems]
        for group in groups:
            self.kinds[group.kind] += 1
        return groups

    def _draw(self, problem: ExactProblem, n: int, stage: DrawnStage) -> list[Rollout]:
        first = self.draws[problem.number]
        self.draws[problem.number] += n
        with torch.no_grad():
            logprobs = self.policy.word_logprobs(problem.prompt)
        bounds = logprobs.sum(-1).exp().cumsum(0).numpy()
        luck = self.luck[problem.number, first : first + n] * bounds[-1]
        drawn = [(int(i), self.language.words[i]) for i in np.searchsorted(bounds, luck, side="right")]
        accidents = self.accidents[problem.number, first : first + n] < problem.noise
        return [
            rollout_of(
                self.language, problem, word, first + place, stage,
                tuple(logprobs[number, : len(word)].tolist()), bool(accidents[place]),
            )
            for place, (number, word) in enumerate(drawn)
        ]  # fmt: skip

    def discard(self, groups: Sequence[Group]) -> None:
        gone = sum(len(group.rollouts) for group in groups)
        self.charged["final"] -= gone
        self.charged["discarded"] += gone

    def reference(self, problem: ExactProblem, index: int) -> Rollout:
        if problem.solution is None:
            raise ValueError(f"{problem.id} has no worked solution")
        self.charged["reference"] += 1
        known = self.problems[problem.number]
        return rollout_of(self.language, known, self.language.tokens(problem.solution), index, "reference")

    def extended(self, problem: ExactProblem, text: str) -> ExactProblem:
        """The problem with the text's last word of the language as the draft in its prompt."""
        words = [part for part in text.split() if set(part) <= set(self.language.letters + ".")]
        return replace(self.problems[problem.number], draft=self.language.tokens(words[-1]))

    def embed(self, texts: Sequence[str], embedder: str) -> Array:
        """The directions that the problem gives to its texts; others are orthogonal to all of them."""
        meaning = self.problems[0].meaning
        known = len(next(iter(meaning.values()))) if meaning else 0
        rows = np.zeros((len(texts), known + len(self.language.words)))
        for row, text in zip(rows, texts, strict=True):
            if text in meaning:
                row[:known] = meaning[text]
            else:
                row[known + self.language.at(text)] = 1.0
        unit: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def reference_logprobs(self, rollouts: Sequence[Rollout]) -> list[tuple[float, ...]]:
        scores = self.policy.reference_logprobs(rollouts, 1.0).tolist()
        return [tuple(row[: len(r.tokens)]) for row, r in zip(scores, rollouts, strict=True)]


@dataclass(frozen=True)
class Setting:
    """What is the same for every algorithm of a scenario. ``updates``: optimizer steps on each batch."""

    language: Language
    problems: tuple[ExactProblem, ...]
    budget: int
    learning_rate: float
    updates: int = 1
    copying: float = 0.0

    def policy(self) -> TablePolicy:
        """The policy at the start."""
        return TablePolicy(self.language, [self.language.logits(p.start) for p in self.problems], self.copying)

    @property
    def train(self) -> TrainConfig:
        """The part of an experiment file that the update reads; its task is never asked for anything."""
        return TrainConfig(tasks=[TaskConfig(name="none", split="train")], epochs=self.updates)


@dataclass(frozen=True)
class Course:
    """What a training did: rollouts charged (points,), exact probabilities (points, problems, words), the ledger's
    lines, and how many groups of each kind were drawn."""

    rollouts: NDArray[np.int64]
    probabilities: Array
    charged: Mapping[str, int]
    kinds: Mapping[str, int]


def train(algorithm: Algorithm, setting: Setting, seed: int, step_scale: float = 1.0) -> Course:
    """Train on batches of one group for each problem until the next batch does not fit the budget."""
    policy, config = setting.policy(), setting.train
    sampler = MemorySampler(policy, setting.problems, setting.budget, seed)
    rollouts, shares = [0], [policy.probabilities().numpy()]
    while sampler.affords(len(setting.problems) * algorithm.group_size):
        try:
            groups = algorithm.draw(sampler.next_problems(len(setting.problems)), sampler)
        except OutOfBudget:
            break
        learning_rate = setting.learning_rate * step_scale
        update(policy, algorithm, groups, config, learning_rate, setting.language.max_tokens)
        rollouts.append(sampler.rollouts)
        shares.append(policy.probabilities().numpy())
    return Course(np.array(rollouts), np.stack(shares), sampler.charged, sampler.kinds)
