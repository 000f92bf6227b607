"""The contract of a group-based optimizer: rollouts, groups, the recipe, and three hooks.

    collect(problems, sampler) -> groups          which rollouts are drawn
    advantages(groups)         -> named arrays    what each rollout is worth
    loss(batch, advantages)    -> scalar, metrics how the policy moves

Every draw goes through the sampler, and the sampler charges the budget: an algorithm cannot get a free
rollout. ``advantages`` is a pure function over the whole batch, in float64 numpy; ``loss`` sees torch
tensors and only uses their methods, so that nothing here imports torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from groupwise.algorithms.ingredients import clip
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.options import about, check

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
DrawnStage = Literal["final", "draft"]
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
        return np.array([np.nan if r.reward is None else r.reward for r in self.rollouts], dtype=np.float64)

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

    def sample(self, problems: Sequence[Problem], n: int, stage: DrawnStage = "final") -> list[Group]:
        """n rollouts for each problem, one group a problem, charged to the line of their stage.

        When they are not affordable nothing is drawn, and the training of the cell ends with this batch.
        """
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
    those of the policy when the batch was drawn). ``mask`` is 1.0 on completion tokens, 0.0 on padding,
    where the log-probabilities may be anything finite.
    ``drawn`` is (rollouts,), boolean, True where the policy drew the text itself.
    """

    logprobs: Tensor
    old_logprobs: Tensor
    ref_logprobs: Tensor | None
    mask: Tensor
    drawn: Tensor
    totals: Totals


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that makes one "GRPO" differ from another, in words that can be printed as a formula.

    ``baseline`` is the numerator of the advantage, ``scale`` its denominator ("1" for none), both over
    ``normalised_over``. ``signal_free`` says what happens to groups whose rewards are all equal.
    ``reconstruction`` marks what is not known from a primary source.
    """

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


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """Plain GRPO in all three hooks; each optimizer overrides what its paper changes.

    The fields are the hyper-parameters; a value that is not accepted raises ValueError at construction.
    """

    name: ClassVar[str]

    group_size: int = field(default=8, metadata=about("rollouts drawn for each problem", "TRL num_generations", low=2))
    kl_coef: float = field(
        default=0.0,
        metadata=about(
            "weight of the k3 estimate of KL(policy || reference) in the loss; needs a reference model",
            "TRL beta; GRPO's paper has 0.04",
            low=0,
        ),
    )
    epsilon: float = field(
        default=0.2,
        metadata=about("the ratio is clipped below 1 - epsilon, and above 1 + epsilon", "TRL, verl", above=0),
    )
    std_eps: float = field(
        default=1e-4,
        metadata=about("added to the standard deviation that divides the advantage", "TRL", low=0),
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            check(self.name, option, getattr(self, option.name))

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """What this instance does, with its hyper-parameters filled in."""

    def collect(self, problems: Sequence[Problem], sampler: Sampler) -> list[Group]:
        """The groups to learn from; an empty list means no update. Here: one group for each problem."""
        return sampler.sample(problems, self.group_size)

    def advantages(self, groups: Sequence[Group]) -> Advantages:
        """What each rollout is worth: named float64 arrays, each (rollouts of the batch,).

        They are flat, in the order of the groups and of the rollouts within a group. Values are finite, and
        0 for a rollout that was not scored. The names are the algorithm's own, read by its ``loss``. Every
        array is an advantage: a rollout carries a signal when it is non-zero in any of them, and only such
        rollouts move the policy while ``kl_coef`` is 0.

        Here: "advantage" = (r - mean) / (std + std_eps) within the group, ddof 1.
        """
        return {"advantage": group_stats.flatten(self._standardise(group.rewards) for group in groups)}

    def loss(self, batch: Batch, advantages: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The micro-batch's part of the batch's loss, and of its metrics; parts add up to the whole.

        ``advantages`` holds this micro-batch's slice of each array, (rollouts,). Here: the clipped
        token-level surrogate, averaged over each rollout's tokens, then over rollouts.
        """
        ratio = clip.token_ratio(batch.logprobs, batch.old_logprobs)
        advantage = advantages["advantage"][:, None]
        per_token, clipped = clip.surrogate(ratio, advantage, self.epsilon, self.epsilon)
        per_token = per_token + clip.kl_penalty(batch.logprobs, batch.ref_logprobs, self.kl_coef)
        loss = clip.mean_of_sequence_means(per_token, batch.mask, batch.totals)
        return loss, {"clip_fraction": clip.token_share(clipped, batch.mask, batch.totals)}

    def state_dict(self) -> dict[str, Any]:
        """What has to survive a resume, as JSON data; nothing unless the algorithm keeps a history."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` gave. Raises ValueError for a state that this algorithm does not keep."""
        if state:
            raise ValueError(f"{self.name} keeps no state, but the checkpoint has {', '.join(state)}")

    def _standardise(self, rewards: Array) -> Array:
        return group_stats.standardise(rewards, eps=self.std_eps)

    @property
    def plain_recipe(self) -> Recipe:
        """The recipe of the three hooks as they are here, to be changed where an optimizer differs."""
        return Recipe(
            title="GRPO: Group Relative Policy Optimization",
            citation="Shao et al. 2024, arXiv:2402.03300",
            baseline="(r - mean r)",
            scale=f"(std with ddof 1 + {self.std_eps:g})",
            normalised_over="group",
            ratio="token",
            clip=f"[1 - {self.epsilon:g}, 1 + {self.epsilon:g}]",
            aggregation="mean over each rollout's tokens, then over rollouts",
            kl=f"{self.kl_coef:g} x k3 estimate in the loss" if self.kl_coef else "none",
            sampling=f"{self.group_size} rollouts for each problem",
            signal_free="advantage 0",
            supervision="verdict only",
        )
