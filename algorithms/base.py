"""The contract of a group-based optimizer: rollouts, groups, the recipe, and three hooks.

    collect(problems, sampler) -> groups          which rollouts are drawn
    advantages(groups)         -> named arrays    what each rollout (or token) is worth
    loss(batch, advantages)    -> scalar, metrics how the policy moves

Every draw goes through the sampler, and the sampler charges the budget: an algorithm cannot get a free
rollout. ``advantages`` is a pure function over the whole batch, in float64 numpy; ``loss`` sees torch
tensors and only uses their methods, so that nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from groupwise.algorithms.ingredients import clip, groups as group_stats

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
Stage = Literal["final", "draft", "reference"]


class Verdict(Protocol):
    """What an algorithm reads of a verdict."""

    @property
    def score(self) -> float | None: ...
    @property
    def answer(self) -> str | None: ...
    @property
    def components(self) -> Mapping[str, float | None]: ...


class Problem(Protocol):
    """What an algorithm reads of a problem."""

    @property
    def id(self) -> str: ...
    @property
    def answers(self) -> tuple[str, ...]: ...
    @property
    def solution(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion of one prompt, graded.

    ``prompt_tokens`` is its own prompt (it may differ inside a group: a draft can be part of it).
    ``logprobs`` are the log-probabilities of ``tokens`` under the policy that drew them, one per token;
    None for a reference text, which no policy drew. ``entropies`` are the policy's entropies (nats) at
    each token, when the engine knows them. ``finish_reason`` is ``stop`` or ``length``.
    """

    problem_id: str
    index: int
    stage: Stage
    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    text: str
    finish_reason: str
    verdict: Verdict
    entropies: tuple[float, ...] | None = None

    @property
    def reward(self) -> float | None:
        """The verdict's score; None when it could not be scored."""
        return self.verdict.score


@dataclass(frozen=True, slots=True)
class Group:
    """The rollouts compared with one another, in order. ``embeddings``: (rollouts, d), unit rows."""

    problem: Problem
    rollouts: tuple[Rollout, ...]
    embeddings: Array | None = None

    @property
    def rewards(self) -> Array:
        """Scores as float64, shape (rollouts,); NaN stands for a rollout that was not scored."""
        return np.array([np.nan if r.reward is None else r.reward for r in self.rollouts])

    @property
    def kind(self) -> Literal["all_right", "all_wrong", "mixed", "unscored"]:
        """``all_right`` when every scored reward is 1, ``all_wrong`` when every one is 0."""
        scored = [r.reward for r in self.rollouts if r.reward is not None]
        if not scored:
            return "unscored"
        if min(scored) >= 1.0:
            return "all_right"
        return "all_wrong" if max(scored) <= 0.0 else "mixed"


class Sampler(Protocol):
    """Draws rollouts, has them graded, and charges each one to the budget as it is drawn."""

    def sample(self, problems: Sequence[Problem], n: int) -> list[Group]:
        """n rollouts for each problem, one group a problem. Raises BudgetExceeded if not affordable."""
        ...

    def affords(self, rollouts: int) -> bool:
        """Whether the budget still covers that many rollouts."""
        ...

    def next_problems(self, n: int) -> Sequence[Problem]:
        """The next n problems of the training order (for algorithms that draw more than one batch)."""
        ...

    def discard(self, groups: Sequence[Group]) -> None:
        """Book groups that were drawn and will not be trained on to the ledger's own line for them."""
        ...

    def reference(self, problem: Problem, index: int) -> Rollout:
        """The problem's worked solution as a rollout of stage ``reference``, charged as reference tokens.

        Raises ValueError when the problem has no solution.
        """
        ...

    def embed(self, texts: Sequence[str], embedder: str) -> Array:
        """Unit-norm embeddings, shape (texts, d), from the named embedder."""
        ...


@dataclass(frozen=True, slots=True)
class Totals:
    """Sizes of the whole optimizer batch. Losses divide by these, so that micro-batches add up."""

    rollouts: int
    tokens: int
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch as the loss sees it. Tensors are (rollouts, tokens), padded on the right.

    ``logprobs`` carry the gradient. ``old_logprobs`` are those at sampling time (for a reference text:
    those of the policy when the batch was drawn). ``mask`` is 1.0 on completion tokens, 0.0 on padding.
    ``drawn`` is (rollouts,), True where the policy drew the text itself.
    """

    logprobs: Tensor
    old_logprobs: Tensor
    ref_logprobs: Tensor | None
    mask: Tensor
    drawn: Tensor
    totals: Totals


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that makes one "GRPO" differ from another, in words that can be printed as a formula."""

    title: str
    citation: str
    baseline: str
    scale: str
    normalised_over: str
    ratio: str
    clip: str
    aggregation: str
    kl: str
    sampling: str
    signal_free: str
    supervision: Literal["verdict only", "reference solutions", "list of valid answers"]
    reconstruction: bool = False
    deviations: tuple[str, ...] = ()

    def formula(self) -> str:
        """The recipe as one readable line."""
        advantage = f"A = {self.baseline}" + (f" / {self.scale}" if self.scale != "1" else "")
        return (
            f"{advantage} over the {self.normalised_over}; ratio: {self.ratio}; clip: {self.clip}; "
            f"sum: {self.aggregation}; KL: {self.kl}"
        )


Advantages = Mapping[str, Array]


@dataclass(frozen=True)
class Algorithm:
    """Plain GRPO in all three hooks; each optimizer overrides what its paper changes.

    ``group_size`` rollouts are drawn for a problem. ``kl_coef`` > 0 adds the k3 estimate of
    KL(policy || reference) to the loss, and makes the harness keep a reference model.
    """

    name: ClassVar[str]
    group_size: int = field(default=8, kw_only=True)
    kl_coef: float = field(default=0.0, kw_only=True)
    epsilon: float = field(default=0.2, kw_only=True)

    @property
    def recipe(self) -> Recipe:
        raise NotImplementedError

    def collect(self, problems: Sequence[Problem], sampler: Sampler) -> list[Group]:
        """One group of ``group_size`` rollouts for each problem."""
        return sampler.sample(problems, self.group_size)

    def advantages(self, groups: Sequence[Group]) -> Advantages:
        """(r - mean) / (std + 1e-4) in each group (ddof 1); arrays are flat in rollout order."""
        return {"advantage": np.concatenate([group_stats.standardise(g.rewards) for g in groups])}

    def loss(self, batch: Batch, advantages: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Clipped token-level surrogate, mean over each sequence's tokens, then over sequences."""
        ratio = clip.token_ratio(batch.logprobs, batch.old_logprobs)
        per_token, clipped = clip.surrogate(ratio, advantages["advantage"][:, None], self.epsilon, self.epsilon)
        per_token = per_token + clip.kl_penalty(batch.logprobs, batch.ref_logprobs, self.kl_coef)
        loss = clip.mean_of_sequence_means(per_token, batch.mask, batch.totals)
        return loss, {"clip_fraction": clip.token_share(clipped, batch.mask, batch.totals)}

    def state_dict(self) -> dict[str, Any]:
        """What has to survive a resume; nothing unless the algorithm keeps a history."""
        return {}
