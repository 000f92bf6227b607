"""Random graded batches, and what our optimizers make of them: the one side of every comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from groupwise import algorithms
from groupwise.algorithms.base import Algorithm, Batch, Group, Rollout, Totals

EOS = 1
WORD = 2
LONGEST = 9
MAX_NEW_TOKENS = 12  # longer than any rollout, so that dividing by it differs from dividing by the padded width
COMPONENTS = ("correct", "format")


@dataclass(frozen=True)
class Verdict:
    score: float | None
    components: Mapping[str, float | None]
    answer: str | None = None


@dataclass(frozen=True)
class Problem:
    id: str
    answers: tuple[str, ...] = ()
    solution: str | None = None


@dataclass(frozen=True)
class Case:
    """A batch as it was drawn and as it is now. Tensors are (rollouts, LONGEST), float64; padding holds noise.

    ``components`` are (rollouts, 2), NaN for what could not be scored; a rollout's score is their sum, None when
    both are missing.
    """

    groups: list[Group]
    components: torch.Tensor
    lengths: torch.Tensor
    truncated: torch.Tensor
    logprobs: torch.Tensor
    old_logprobs: torch.Tensor
    ref_logprobs: torch.Tensor
    entropies: torch.Tensor

    @property
    def rollouts(self) -> list[Rollout]:
        return [rollout for group in self.groups for rollout in group.rollouts]

    @property
    def scores(self) -> torch.Tensor:
        """Scores, (rollouts,), NaN for None."""
        return torch.tensor([np.nan if r.reward is None else r.reward for r in self.rollouts])

    @property
    def group_size(self) -> int:
        return len(self.groups[0].rollouts)

    @property
    def mask(self) -> torch.Tensor:
        """1.0 on the tokens of every rollout."""
        return (torch.arange(LONGEST)[None, :] < self.lengths[:, None]).to(torch.float64)


def make_case(
    seed: int,
    *,
    groups: int = 4,
    size: int = 4,
    unscored: float = 0.0,
    missing: float = 0.0,
    truncated: float = 0.0,
    equal_group: bool = True,
    shortest: int = 1,
) -> Case:
    """A batch of ragged rollouts whose ratios lie on both sides of every clip range.

    ``unscored`` and ``truncated`` are shares of rollouts, ``missing`` the share of single components without a
    value. With ``equal_group`` the rewards of the last group are all equal. ``shortest`` is the least length.
    Rewards are multiples of 1/8, which TRL's way through float32 leaves as they are.
    """
    random = np.random.default_rng(seed)
    n = groups * size
    lengths = random.integers(shortest, LONGEST + 1, n)
    lengths[0] = LONGEST
    cut = random.random(n) < truncated
    rewards = random.choice([0.0, 0.125, 0.5, 1.0], (n, 2))
    if equal_group:
        rewards[-size:] = 0.5
    rewards[random.random((n, 2)) < missing] = np.nan
    rewards[random.random(n) < unscored] = np.nan
    now = -random.exponential(1.2, (n, LONGEST))
    old = now + random.normal(0.0, 0.45, (n, LONGEST)) * random.choice([0.0, 0.3, 1.0, 3.0], (n, LONGEST))
    ref = np.clip(now + random.normal(0.0, 0.5, (n, LONGEST)), old - 2.4, old + 2.4)  # verl's k3 stops at 10
    entropies = random.exponential(1.0, (n, LONGEST))

    def rollout(i: int) -> Rollout:
        length = int(lengths[i])
        values = {name: None if np.isnan(v) else float(v) for name, v in zip(COMPONENTS, rewards[i], strict=True)}
        known = [v for v in values.values() if v is not None]
        score = sum(known) if known else None
        return Rollout(
            problem_id=f"p/{i // size}",
            index=i % size,
            stage="final",
            prompt_tokens=(WORD,),
            tokens=(WORD,) * length if cut[i] else (WORD,) * (length - 1) + (EOS,),
            logprobs=tuple(old[i, :length]),
            text=f"answer {i}",
            finish_reason="length" if cut[i] else "stop",
            verdict=Verdict(score, values),
            entropies=tuple(entropies[i, :length]),
            ref_logprobs=tuple(ref[i, :length]),
        )

    drawn = [rollout(i) for i in range(n)]
    return Case(
        groups=[Group(Problem(f"p/{g}"), tuple(drawn[g * size : (g + 1) * size])) for g in range(groups)],
        components=torch.tensor(rewards),
        lengths=torch.tensor(lengths),
        truncated=torch.tensor(cut),
        logprobs=torch.tensor(now),
        old_logprobs=torch.tensor(old),
        ref_logprobs=torch.tensor(ref),
        entropies=torch.tensor(entropies),
    )


@dataclass(frozen=True)
class Result:
    """Loss and gradients of a batch: with respect to the log-probabilities, and to the entropies (0 if unused)."""

    loss: float
    gradient: torch.Tensor
    entropy_gradient: torch.Tensor


def ours(name: str, case: Case, **options: Any) -> Algorithm:
    """The registered algorithm, at the case's group size."""
    return algorithms.make(name, group_size=case.group_size, **options)


def our_advantages(algorithm: Algorithm, case: Case) -> dict[str, torch.Tensor]:
    """Each array of the batch as a tensor, (rollouts,) or (rollouts, LONGEST)."""
    arrays = {name: torch.tensor(values) for name, values in algorithm.advantages(case.groups).items()}
    return {
        name: values if values.dim() == 1 else torch.nn.functional.pad(values, (0, LONGEST - values.shape[1]))
        for name, values in arrays.items()
    }


def our_result(algorithm: Algorithm, case: Case, rows: Sequence[int] | None = None) -> Result:
    """Our loss of the whole batch, or the part of it that a micro-batch of these rows contributes."""
    rows = range(len(case.lengths)) if rows is None else rows
    index = torch.tensor(list(rows))
    advantages = our_advantages(algorithm, case)
    trained = torch.tensor([algorithm.trains_on(rollout) for rollout in case.rollouts], dtype=torch.float64)
    mask = case.mask * trained[:, None]
    signal = torch.stack([(a.reshape(len(a), -1) != 0).any(1) for a in advantages.values()]).any(0).double() * trained
    totals = Totals(
        rollouts=len(case.lengths),
        tokens=int(mask.sum()),
        max_new_tokens=MAX_NEW_TOKENS,
        signals=int(signal.sum()),
        signal_tokens=int((signal * case.lengths).sum()),
    )
    logprobs, entropies = (t.clone().requires_grad_() for t in (case.logprobs, case.entropies))
    batch = Batch(
        logprobs=logprobs[index],
        old_logprobs=case.old_logprobs[index],
        ref_logprobs=case.ref_logprobs[index] if algorithm.reference_in_loss else None,
        mask=mask[index],
        drawn=torch.ones(len(index), dtype=torch.bool),
        totals=totals,
        entropies=entropies[index] if algorithm.entropy_coef else None,
    )
    columns = {name: values[index].reshape(len(index), -1) for name, values in advantages.items()}
    loss, _ = algorithm.loss(batch, columns)
    return result_of(loss, logprobs, entropies)


def result_of(loss: torch.Tensor, logprobs: torch.Tensor, entropies: torch.Tensor) -> Result:
    """Differentiate a loss, ours or theirs."""
    gradients = torch.autograd.grad(loss, (logprobs, entropies), allow_unused=True)
    of_logprobs, of_entropies = (torch.zeros_like(logprobs) if g is None else g for g in gradients)
    return Result(float(loss.detach()), of_logprobs, of_entropies)


def assert_same(mine: Result, theirs: Result, tolerance: float = 1e-6) -> None:
    """Equal losses and gradients, none of them trivially zero."""
    assert theirs.gradient.abs().max() > 1e-3
    torch.testing.assert_close(mine.gradient, theirs.gradient, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(mine.entropy_gradient, theirs.entropy_gradient, rtol=tolerance, atol=tolerance)
    assert abs(mine.loss - theirs.loss) <= tolerance * max(1.0, abs(theirs.loss))


def with_scores(case: Case, scores: Sequence[float | None]) -> Case:
    """The case with other scores."""
    values = iter(scores)
    groups = [
        replace(
            g,
            rollouts=tuple(replace(r, verdict=replace(r.verdict, score=next(values))) for r in g.rollouts),
        )
        for g in case.groups
    ]
    return replace(case, groups=groups)
