"""An algorithm: plain GRPO in every hook, and the ingredients that all can use.

    collect(problems, sampler) -> groups          which rollouts are drawn
    advantages(groups)         -> named arrays    what each rollout (or each of its tokens) is worth
    loss(batch, advantages)    -> scalar, metrics how the policy moves

Every draw goes through the sampler, and the sampler charges the budget: an algorithm cannot get a free
rollout. ``advantages`` is a pure function over the whole batch, in float64 numpy; ``loss`` sees torch
tensors and only uses their methods, so that nothing here imports torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from groupwise.algorithms import wording
from groupwise.algorithms.contract import (
    Advantages,
    Array,
    Batch,
    DrawnStage,
    Group,
    Problem,
    Recipe,
    Rollout,
    Sampler,
    SignalFree,
    Stage,
    Totals,
    Verdict,
)
from groupwise.algorithms.ingredients import clip, kl, redundancy, texts
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.ingredients.lengths import overlong_penalty
from groupwise.algorithms.options import about, check, used_by

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Advantages",
    "Algorithm",
    "Array",
    "Batch",
    "DrawnStage",
    "Embedder",
    "Group",
    "Problem",
    "Recipe",
    "Rollout",
    "Sampler",
    "SignalFree",
    "Stage",
    "Totals",
    "Verdict",
]

Embedder = Literal["hash", "minilm"]


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """Plain GRPO in every hook; each optimizer overrides what its paper changes.

    The fields are the hyper-parameters; a value that is not accepted raises ValueError at construction. Those
    that every optimizer can use are ingredients: clip values, KL, entropy, length, redundancy. An optimizer whose
    formula has no place for one names it in ``unused``, and refuses it.

    Beside the three hooks of the contract there are smaller ones, the slots in which the papers differ:
    ``rewards``, ``ratio``, ``policy_loss``, ``aggregate``.
    """

    name: ClassVar[str]
    unused: ClassVar[frozenset[str]] = frozenset()
    # Micro-batches are cut anywhere between rollouts; with this only between groups (for losses over pairs).
    whole_groups: ClassVar[bool] = False

    group_size: int = field(default=8, metadata=about("rollouts drawn for each problem", "TRL num_generations", low=2))
    std_eps: float = field(
        default=1e-4,
        metadata=about("added to the standard deviation that divides the advantage", "TRL", low=0),
    )
    epsilon: float = field(
        default=0.2,
        metadata=about("the ratio is clipped below 1 - epsilon, and above 1 + epsilon", "TRL, verl", above=0),
    )
    epsilon_high: float = field(
        default=0.0,
        metadata=about("the ratio is clipped above 1 + epsilon_high; 0: at 1 + epsilon", "TRL epsilon_high", low=0),
    )
    ratio_cap: float = field(
        default=0.0,
        metadata=about(
            "two-sided clip: the ratio never counts more than this, whatever the sign of the advantage",
            "TRL delta; INTELLECT-2 has 4", above=1, off=True,
        ),
    )  # fmt: skip
    dual_clip: float = field(
        default=0.0,
        metadata=about(
            "loss of a negative advantage is at most this times it",
            "verl clip_ratio_c has 3 (arXiv:1912.09729)", above=1, off=True,
        ),
    )  # fmt: skip
    kl_coef: float = field(
        default=0.0,
        metadata=about(
            "weight of the estimate of KL(policy || reference); needs a reference model",
            "TRL beta; GRPO's paper has 0.04",
            low=0,
        ),
    )
    kl_estimator: kl.Estimator = field(
        default="k3",
        metadata=about(
            "k1: log ratio, k2: half its square, k3: exp(-k1) - 1 + k1",
            "GRPO's paper; Schulman 2020",
            choices=get_args(kl.Estimator),
        ),
    )
    kl_place: kl.Place = field(
        default="loss",
        metadata=about(
            "loss: a term of every token with its gradient; reward: subtracted from the rollout's reward",
            "GRPO's paper: loss; RLOO, REINFORCE++: reward",
            choices=get_args(kl.Place),
        ),
    )
    kl_weighted: bool = field(
        default=False,
        metadata=about(
            "multiply the estimate in the loss by the importance ratio, gradient included",
            "TRL use_bias_correction_kl, true there; DeepSeek-V3.2",
        ),
    )
    entropy_coef: float = field(
        default=0.0, metadata=about("weight of the policy's entropy, a bonus in the loss", "verl entropy_coeff", low=0)
    )
    overlong_limit: int = field(
        default=0,
        metadata=about("length in tokens at which the penalty is 1; 0: no penalty", "DAPO paper: 20480", low=0),
    )
    overlong_cache: int = field(
        default=4096, metadata=about("tokens over which the penalty grows from 0 to 1", "DAPO paper", low=1)
    )
    mask_truncated: bool = field(
        default=False,
        metadata=about(
            "leave rollouts that were cut off out of the loss (they still count in the group's statistics)",
            "TRL mask_truncated_completions",
        ),
    )
    redundancy_coef: float = field(
        default=0.0,
        metadata=about(
            "divides a reward by 1 + this times the similarity to the rest of the group, right or wrong",
            "coefficient ours; 1 is DRA-GRPO, arXiv:2505.09655", low=0,
        ),
    )  # fmt: skip
    embedder: Embedder = field(
        default="hash",
        metadata=about(
            "embedding of the texts, where they are compared (with redundancy_coef; in gcpo_cooperative always): hash "
            "sees wording (character trigrams), minilm meaning (a small model)",
            "ours",
            choices=get_args(Embedder),
        ),
    )
    embedded_part: texts.Part = field(
        default="whole",
        metadata=about(
            "what of a completion is embedded (with redundancy_coef; in gcpo_cooperative always): all of it, or the "
            "reasoning before the answer",
            "ours",
            choices=get_args(texts.Part),
        ),
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            check(self.name, option, getattr(self, option.name), used_by(type(self), option))
        if 0 < self.overlong_limit < self.overlong_cache:
            raise ValueError(
                f"{self.name}: overlong_limit {self.overlong_limit} is less than overlong_cache {self.overlong_cache}: "
                "the penalty would begin below a length of 0"
            )

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """What this instance does, with its hyper-parameters filled in."""

    # which rollouts are drawn

    def draw(self, problems: Sequence[Problem], sampler: Sampler) -> list[Group]:
        """``collect``, with what the rewards need beside the verdicts: embeddings, reference log-probabilities."""
        groups = self.collect(problems, sampler)
        if self.embeds and groups:
            parts = [texts.part_of(r.text, self.embedded_part) for group in groups for r in group.rollouts]
            rows = sampler.embed(parts, self.embedder)
            ends = np.cumsum([len(group.rollouts) for group in groups])[:-1]
            groups = [replace(g, embeddings=part) for g, part in zip(groups, np.split(rows, ends), strict=True)]
        if self.reference_in_reward and groups:
            scores = iter(sampler.reference_logprobs([r for group in groups for r in group.rollouts]))
            groups = [
                replace(g, rollouts=tuple(replace(r, ref_logprobs=next(scores)) for r in g.rollouts)) for g in groups
            ]
        return groups

    def collect(self, problems: Sequence[Problem], sampler: Sampler) -> list[Group]:
        """The groups to learn from; an empty list means no update. Here: one group for each problem."""
        return sampler.sample(problems, self.group_size)

    # what each rollout is worth

    def advantages(self, groups: Sequence[Group]) -> Advantages:
        """What each rollout is worth: named float64 arrays, (rollouts of the batch,) or, with a value for each
        token, (rollouts of the batch, longest), 0 behind a rollout's end.

        They are in the order of the groups and of the rollouts within a group. Values are finite, and
        0 for a rollout that was not scored. The names are the algorithm's own, read by its ``loss``. Every
        array is an advantage: a rollout carries a signal when it is non-zero in any of them, and only such
        rollouts move the policy unless ``every_rollout_counts``.

        Here: "advantage" = (r - mean) / (std + std_eps) within the group, ddof 1.
        """
        return {"advantage": group_stats.flatten(self._standardise(self.rewards(group)) for group in groups)}

    def rewards(self, group: Group) -> Array:
        """What the advantage is made of, shape (rollouts,); NaN for unscored. Here: the score, ``shaped``."""
        return self.shaped(group, group.rewards)

    def shaped(self, group: Group, rewards: Array) -> Array:
        """Rewards, shape (rollouts,), after the ingredients that act on them: redundancy, length, KL."""
        if self.redundancy_coef:
            if group.embeddings is None:
                raise ValueError(f"{self.name}: {group.problem.id} needs embeddings for the redundancy penalty")
            rewards = redundancy.discounted(rewards, group.embeddings, self.redundancy_coef)
        if self.overlong_limit:
            rewards = rewards + overlong_penalty(group.lengths, self.overlong_limit, self.overlong_cache)
        if self.reference_in_reward:
            rewards = rewards - self.kl_coef * np.array([self.token_kl(r).sum() for r in group.rollouts])
        return rewards

    def token_kl(self, rollout: Rollout) -> Array:
        """The KL estimate at each token of a drawn rollout, shape (tokens,); 0 for a text no policy drew."""
        if rollout.logprobs is None:
            return np.zeros(len(rollout.tokens))
        if rollout.ref_logprobs is None:
            raise ValueError(f"{self.name}: {rollout.problem_id} has no reference log-probabilities")
        return kl.estimate_array(rollout.logprobs, rollout.ref_logprobs, self.kl_estimator)

    # how the policy moves

    def loss(self, batch: Batch, advantages: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The micro-batch's part of the batch's loss, and of its metrics; parts add up to the whole.

        ``advantages`` holds this micro-batch's slice of each array, as (rollouts, 1) or (rollouts, tokens).
        """
        per_token, clipped = self.policy_loss(batch, advantages)
        if self.kl_in_loss:
            per_token = per_token + self.kl_coef * self._loss_kl(batch)
        if batch.entropies is not None:
            per_token = per_token - self.entropy_coef * batch.entropies
        return self.aggregate(per_token, batch), {"clip_fraction": clip.token_share(clipped, batch.mask, batch.totals)}

    def _loss_kl(self, batch: Batch) -> Tensor:
        estimate = kl.estimate(batch.logprobs, batch.ref_logprobs, self.kl_estimator)
        return estimate * self.ratio(batch) if self.kl_weighted else estimate

    def policy_loss(self, batch: Batch, advantages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss at each token, (rollouts, tokens), and 1.0 where clipping stops its gradient.

        A sequence-level loss may be (rollouts, 1). Here: the clipped surrogate.
        """
        return self.surrogate(self.ratio(batch), advantages["advantage"])

    def surrogate(self, ratio: Tensor, advantage: Tensor) -> tuple[Tensor, Tensor]:
        """The clipped surrogate with this algorithm's clip values."""
        low, high = self.epsilon, self.upper_epsilon
        return clip.surrogate(ratio, advantage, low, high, self.dual_clip or None, self.ratio_cap or None)

    def ratio(self, batch: Batch) -> Tensor:
        """The importance ratio, (rollouts, tokens) or (rollouts, 1). Here: of each token."""
        return clip.token_ratio(batch.logprobs, batch.old_logprobs)

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        """One number of all token losses. Here: the mean over each rollout's tokens, then over rollouts."""
        return clip.mean_of_sequence_means(per_token, batch.mask, batch.totals)

    @property
    def upper_epsilon(self) -> float:
        """How far above 1 the ratio may go."""
        return self.epsilon_high or self.epsilon

    @property
    def kl_in_loss(self) -> bool:
        """Whether the loss has a KL term."""
        return self.kl_coef > 0 and self.kl_place == "loss"

    # what the harness has to provide

    @property
    def embeds(self) -> bool:
        """Whether the rewards need embeddings of the texts."""
        return self.redundancy_coef > 0

    @property
    def reference_in_loss(self) -> bool:
        """Whether the loss reads the reference model's log-probabilities."""
        return self.kl_in_loss

    @property
    def reference_in_reward(self) -> bool:
        """Whether the rewards do."""
        return self.kl_coef > 0 and self.kl_place == "reward"

    @property
    def components(self) -> tuple[str, ...]:
        """The verdict's components that are rewards beside the score."""
        return ()

    @property
    def every_rollout_counts(self) -> bool:
        """Whether a rollout without advantage moves the policy too, through a KL or entropy term."""
        return self.kl_in_loss or self.entropy_coef > 0

    def trains_on(self, rollout: Rollout) -> bool:
        """Whether the rollout is in the loss at all (``mask_truncated``)."""
        return not (self.mask_truncated and rollout.finish_reason == "length")

    def state_dict(self) -> dict[str, Any]:
        """What has to survive a resume, as JSON data; nothing unless the algorithm keeps a history."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` gave. Raises ValueError for a state that this algorithm does not keep."""
        if state:
            raise ValueError(f"{self.name} keeps no state, but the checkpoint has {', '.join(state)}")

    def _standardise(self, rewards: Array) -> Array:
        """The advantages of one group's rewards, (rollouts,): NaN in, for one that was not scored, is 0 out.

        The part of ``advantages`` that most papers change. Here: (r - mean) / (std + std_eps), ddof 1.
        """
        return group_stats.standardise(rewards, eps=self.std_eps)

    @property
    def plain_recipe(self) -> Recipe:
        """The recipe of the hooks as they are here, to be changed where an optimizer differs."""
        return Recipe(
            title="GRPO: Group Relative Policy Optimization",
            citation="Shao et al. 2024, arXiv:2402.03300",
            baseline="(r - mean r)",
            scale=wording.deviation(self),
            normalised_over="group",
            shaping=wording.shaping(self),
            ratio="token",
            clip=wording.clip(self),
            aggregation="mean over each rollout's tokens, then over rollouts",
            kl=wording.kl(self),
            entropy=wording.entropy(self),
            masking=wording.masking(self),
            sampling=f"{self.group_size} rollouts for each problem",
            cost=wording.cost(self, f"{self.group_size} rollouts"),
            signal_free=wording.signal_free(self),
            learns_from=wording.learns_from(self),
            supervision="verdict only",
        )
