"""Expected updates: every group that a policy can draw, weighted by its probability. Nothing is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from exact_policy import Language, TablePolicy
from exact_training import ExactProblem, MemorySampler, Setting, rollout_of
from torch import Tensor

from groupwise.algorithms.base import Algorithm, DrawnStage, Group
from groupwise.harness.update import update

RARE = 1e-9  # groups that are less likely than this are left out


class ScriptedSampler(MemorySampler):
    """Draws the words that it is told to."""

    script: Sequence[int] = ()

    def sample(self, problems: Sequence[ExactProblem], n: int, stage: DrawnStage = "final") -> list[Group]:
        (problem,) = problems
        logprobs = self.policy.word_logprobs(problem.prompt).detach()
        words = [self.language.words[number] for number in self.script]
        return [
            Group(
                problem,
                tuple(
                    rollout_of(
                        self.language, problem, word, index, stage, tuple(logprobs[number, : len(word)].tolist())
                    )
                    for index, (number, word) in enumerate(zip(self.script, words, strict=True))
                ),
            )
        ]


class GradientSum(TablePolicy):
    """A policy that stands still and adds up its gradients, each times ``weight``."""

    weight: float = 0.0
    total: Tensor | None = None

    def step(self, learning_rate: float, max_grad_norm: float) -> float:
        part = self.weight * self.model.logits.grad
        self.total = part if self.total is None else self.total + part
        self.model.logits.grad = None
        return 0.0


def policy_at(language: Language, shares: dict[str, float], reference: dict[str, float] | None = None) -> GradientSum:
    """A policy with these shares of its texts; its reference has them too, or others."""
    policy = GradientSum(language, [language.logits(reference or shares)])
    policy.model.logits.data = language.logits(shares)[None]
    return policy


def expected_gradient(algorithm: Algorithm, policy: GradientSum, problem: ExactProblem) -> Tensor:
    """The mean over all groups of the gradient of the algorithm's loss, (prefixes, tokens).

    Takes as many updates as there are groups: (words of the language)^group_size.
    """
    chances = policy.probabilities()[0]
    config = Setting(policy.language, (problem,), 1, 1.0).train
    sampler = ScriptedSampler(policy, [problem], budget=1, seed=0)
    policy.total = torch.zeros_like(policy.model.logits)
    likely = [number for number, chance in enumerate(chances.tolist()) if chance > RARE]
    for script in product(likely, repeat=algorithm.group_size):
        policy.weight = float(chances[list(script)].prod())
        if policy.weight > RARE:
            sampler.script = script
            groups = algorithm.draw([problem], sampler)
            update(policy, algorithm, groups, config, 1.0, policy.language.max_tokens)
    return policy.total[0]


def gradient_of_score(policy: TablePolicy, problem: ExactProblem) -> Tensor:
    """The exact gradient of minus the expected score, (prefixes, tokens)."""
    scores = torch.tensor([problem.scores.get(policy.language.text(word), 0.0) for word in policy.language.words])
    expected = (policy.word_logprobs().sum(-1)[0].exp() * scores).sum()
    (gradient,) = torch.autograd.grad(-expected, [policy.model.logits])
    return gradient[0]
