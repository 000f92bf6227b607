"""What the tests of the algorithms are made of: graded groups, a sampler in memory, and batches of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from groupwise.algorithms.base import Algorithm, Array, Batch, Group, Rollout, Totals


@dataclass(frozen=True)
class Verdict:
    """A verdict as the algorithms read it."""

    score: float | None
    answer: str | None = None
    components: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """A problem as the algorithms read it."""

    id: str
    answers: tuple[str, ...] = ("right",)
    solution: str | None = "worked"
    extra: str = ""


def make_group(
    scores: Sequence[float | None],
    answers: Sequence[str | None] | None = None,
    *,
    embeddings: Array | None = None,
    lengths: Sequence[int] | None = None,
    problem: Problem | None = None,
    components: Sequence[Mapping[str, float | None]] | None = None,
    logprobs: Sequence[Sequence[float]] | None = None,
    ref_logprobs: Sequence[Sequence[float]] | None = None,
    finish_reasons: Sequence[str] | None = None,
    stage: Any = "final",
) -> Group:
    """A group with these scores; answers default to one right and one wrong answer, lengths to 1,
    log-probabilities to -1, finish reasons to ``stop``."""
    problem = problem or Problem("p/0")
    answers = answers if answers is not None else ["right" if score else "wrong" for score in scores]
    lengths = lengths or [len(row) for row in logprobs or [[0.0]] * len(scores)]
    rollouts = tuple(
        Rollout(
            problem_id=problem.id,
            index=i,
            stage=stage,
            prompt_tokens=(1, 2),
            tokens=tuple(range(length)),
            logprobs=tuple(logprobs[i]) if logprobs else (-1.0,) * length,
            text=f"{answer} {i}",
            finish_reason=finish_reasons[i] if finish_reasons else "stop",
            verdict=Verdict(score, answer, components[i] if components else {}),
            ref_logprobs=tuple(ref_logprobs[i]) if ref_logprobs else None,
        )
        for i, (score, answer, length) in enumerate(zip(scores, answers, lengths, strict=True))
    )
    return Group(problem, rollouts, embeddings)


def permuted(group: Group, order: Sequence[int]) -> Group:
    """The same group with its rollouts in another order."""
    rows = None if group.embeddings is None else group.embeddings[list(order)]
    return replace(group, rollouts=tuple(group.rollouts[i] for i in order), embeddings=rows)


def with_random_embeddings(group: Group, seed: int = 0, dimensions: int = 3) -> Group:
    """The group with unit rows drawn at random."""
    rows = np.random.default_rng(seed).normal(size=(len(group.rollouts), dimensions))
    return replace(group, embeddings=rows / np.linalg.norm(rows, axis=1, keepdims=True))


@dataclass
class FakeSampler:
    """Draws what ``scores_of(problem id, n)`` says, and counts every rollout against ``budget``."""

    scores_of: Callable[[str, int], Sequence[float | None]]
    budget: int = 10_000
    lengths_of: Callable[[str, int], Sequence[int]] | None = None
    drawn: int = 0
    discarded: list[Group] = field(default_factory=list)
    draws: list[list[str]] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    asked: list[list[Problem]] = field(default_factory=list)
    references: list[tuple[str, int]] = field(default_factory=list)
    embedded: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    position: int = 0

    def sample(self, problems: Sequence[Problem], n: int, stage: str = "final") -> list[Group]:
        if not self.affords(len(problems) * n):
            raise RuntimeError("budget exceeded")
        self.drawn += len(problems) * n
        self.draws.append([problem.id for problem in problems])
        self.stages.append(stage)
        self.asked.append(list(problems))
        return [
            make_group(
                self.scores_of(problem.id, n),
                problem=problem,
                stage=stage,
                lengths=self.lengths_of(problem.id, n) if self.lengths_of else None,
            )
            for problem in problems
        ]

    def affords(self, rollouts: int) -> bool:
        return self.drawn + rollouts <= self.budget

    def next_problems(self, n: int) -> Sequence[Problem]:
        start, self.position = self.position, self.position + n
        return [Problem(f"p/{i}") for i in range(start, start + n)]

    def discard(self, groups: Sequence[Group]) -> None:
        self.discarded += groups

    def reference(self, problem: Problem, index: int) -> Rollout:
        if problem.solution is None:
            raise ValueError(f"{problem.id} has no solution")
        self.references.append((problem.id, index))
        return Rollout(
            problem_id=problem.id,
            index=index,
            stage="reference",
            prompt_tokens=(1, 2),
            tokens=(7, 8, 9),
            logprobs=None,
            text=problem.solution,
            finish_reason="stop",
            verdict=Verdict(1.0, problem.answers[0]),
        )

    def extended(self, problem: Problem, text: str) -> Problem:
        return replace(problem, extra=problem.extra + text)

    def reference_logprobs(self, rollouts: Sequence[Rollout]) -> list[tuple[float, ...]]:
        return [tuple(-1.5 for _ in rollout.tokens) for rollout in rollouts]

    def embed(self, texts: Sequence[str], embedder: str) -> Array:
        self.embedded.append((tuple(texts), embedder))
        rows = np.array([[1.0, float(i)] for i in range(len(texts))])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_batch(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    lengths: Sequence[int],
    *,
    ref_logprobs: torch.Tensor | None = None,
    references: Sequence[int] = (),
    totals: Totals | None = None,
    entropies: torch.Tensor | None = None,
) -> Batch:
    """A batch with these lengths; ``references`` are the rows that no policy drew. Every rollout has a signal."""
    mask = (torch.arange(logprobs.shape[1])[None, :] < torch.tensor(lengths)[:, None]).to(logprobs.dtype)
    drawn = torch.tensor([row not in references for row in range(len(lengths))])
    rows, tokens = len(lengths), sum(lengths)
    totals = totals or Totals(rows, tokens, logprobs.shape[1], signals=rows, signal_tokens=tokens)
    return Batch(logprobs, old_logprobs, ref_logprobs, mask, drawn, totals, entropies)


def rows_of(batch: Batch, rows: Sequence[int]) -> Batch:
    """A micro-batch: some rows, with the totals of the whole batch."""
    index = torch.tensor(rows)
    ref = None if batch.ref_logprobs is None else batch.ref_logprobs[index]
    entropies = None if batch.entropies is None else batch.entropies[index]
    return replace(
        batch,
        logprobs=batch.logprobs[index],
        old_logprobs=batch.old_logprobs[index],
        ref_logprobs=ref,
        mask=batch.mask[index],
        drawn=batch.drawn[index],
        entropies=entropies,
    )


def loss_and_gradient(
    algorithm: Algorithm, batch: Batch, advantages: Mapping[str, torch.Tensor]
) -> tuple[float, torch.Tensor, dict[str, float]]:
    """Loss, its gradient with respect to the log-probabilities, and the metrics.

    Advantages (rollouts,) become the columns (rollouts, 1) that a loss sees.
    """
    leaf = batch.logprobs.detach().clone().requires_grad_()
    columns = {name: values if values.ndim == 2 else values[:, None] for name, values in advantages.items()}
    loss, metrics = algorithm.loss(replace(batch, logprobs=leaf), columns)
    loss.backward()
    assert leaf.grad is not None
    return loss.item(), leaf.grad, {name: value.item() for name, value in metrics.items()}


def tensor(values: object) -> torch.Tensor:
    """A float64 tensor."""
    return torch.tensor(values, dtype=torch.float64)
