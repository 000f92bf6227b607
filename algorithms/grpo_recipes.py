"""What a paper and three libraries call GRPO, each with its own constants (arXiv:2402.03300).

``grpo`` is the neutral one. They differ in the deviation (ddof, eps, whether there is one), in how token losses are
summed, in the clip range and in the KL term, and so in what they learn from the same rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np

from groupwise.algorithms import libraries
from groupwise.algorithms.base import Advantages, Algorithm, Array, Batch, Group, Problem, Recipe, Sampler
from groupwise.algorithms.ingredients import clip
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor

Scale = Literal["group", "batch", "none"]
Normalisation = Literal["centered", "standard"]
TOKEN_MEAN = "mean over all tokens of the batch"


@dataclass(frozen=True, kw_only=True)
class GRPOPaper(Algorithm):
    """GRPO as DeepSeekMath states it: no eps beside the deviation, and a KL term in the loss.

        A_i  = (r_i - mean r) / std r                          within the group
        loss = mean_i mean_t -min(rho A_i, clip(rho) A_i) + 0.04 k3

    Groups without signal have advantage 0; the KL term still draws them to the reference model.
    Supervision: the verdict alone (the paper itself uses a reward model).

    Deviations: the paper states neither ddof (here 1) nor the clip value (here 0.2). It draws 64 rollouts for a
    question, and moves the reference model along in its iterative variant; here the reference is the start.
    """

    name: ClassVar[str] = "grpo_paper"

    std_eps: float = field(
        default=0.0, metadata=about("added to the standard deviation", "GRPO's paper writes none", low=0)
    )
    kl_coef: float = field(
        default=0.04, metadata=about("weight of the estimate of KL(policy || reference)", "GRPO's paper", low=0)
    )

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="GRPO as in its paper",
            trl=libraries.trl(self, "grpo"),
            verl=libraries.verl(self, "seq-mean-token-mean"),
            deviations=(
                "ddof 1 and clip 0.2: the paper states neither",
                "one reference model, the start (the paper's iterative variant renews it)",
            ),
        )


@dataclass(frozen=True, kw_only=True)
class GRPOTRL(Algorithm):
    """GRPO as TRL 1.16.0 does it by default: the loss is DAPO's token mean, under GRPO's name.

        A_i  = (r_i - mean_group r) / (s + 1e-4)
               s: std of the group (group), of the batch's rewards as they are (batch); none: A_i = r_i - mean_group r
        loss = sum_i,t [-min(rho A_i, clip(rho) A_i) + kl_coef rho k3] / tokens of the batch
        where: trl/trainer/grpo_trainer.py, ``_generate_and_score_completions`` and ``_compute_loss``;
               defaults in grpo_config.py (loss_type dapo, scale_rewards group, epsilon 0.2, beta 0)

    The KL term is weighted by the ratio, gradient included (use_bias_correction_kl, True by default).
    Groups without signal have advantage 0, and their tokens stay in the denominator.
    Supervision: the verdict alone.

    Deviations: equal rewards give exactly 0 (TRL, in float32: at times a rounding error divided by 1e-4). Log-ratios
    are limited to 20 in size. No correction for a separate inference engine (TRL: on with vLLM).
    """

    name: ClassVar[str] = "grpo_trl"

    kl_weighted: bool = field(
        default=True,
        metadata=about("multiply the estimate in the loss by the importance ratio", "TRL use_bias_correction_kl"),
    )
    scale_rewards: Scale = field(
        default="group",
        metadata=about("what the centred reward is divided by", "TRL scale_rewards", choices=get_args(Scale)),
    )

    @property
    def recipe(self) -> Recipe:
        plain = self.plain_recipe
        batch = f"(std of the batch's rewards with ddof 1 + {self.std_eps:g})"
        return replace(
            plain,
            title="GRPO as in TRL 1.16",
            known_from="TRL's code",
            scale={"group": plain.scale, "batch": batch, "none": "1"}[self.scale_rewards],
            aggregation=TOKEN_MEAN,
            trl=libraries.trl(self, "dapo", self.scale_rewards),
            verl=libraries.verl(self, "token-mean", norm_adv_by_std_in_grpo=self.scale_rewards != "none"),
            deviations=(
                "equal rewards give exactly 0 (TRL: a rounding error divided by eps)",
                "no correction for an inference engine that differs from the policy",
            ),
        )

    def advantages(self, groups: Sequence[Group]) -> Advantages:
        if self.scale_rewards == "group":
            return super().advantages(groups)
        rewards = [self.rewards(group) for group in groups]
        centred = group_stats.flatten(group_stats.centre(one) for one in rewards)
        if self.scale_rewards == "none":
            return {"advantage": centred}
        spread = group_stats.deviation(group_stats.flatten(rewards)) + self.std_eps
        return {"advantage": group_stats.divided(centred, spread)}

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        return clip.token_mean(per_token, batch.mask, batch.totals)


@dataclass(frozen=True, kw_only=True)
class GRPOVerl(Algorithm):
    """GRPO as verl 0.9.1 does it by default: a smaller eps, a dual clip, and the token mean.

        A_i  = (r_i - mean r) / (std r + 1e-6)                 within the group; one member: A = r / (1 + 1e-6)
        loss = sum_i,t min(-min(rho A_i, clip(rho) A_i), -3 A_i if A_i < 0) / tokens of the batch
        where: verl/trainer/ppo/core_algos.py, ``compute_grpo_outcome_advantage``, ``compute_policy_loss_vanilla``
               and ``agg_loss``; clip_ratio 0.2, clip_ratio_c 3.0, loss_agg_mode token-mean in its actor.yaml

    Groups without signal have advantage 0, except a group in which one rollout alone was scored: its A is r.
    Supervision: the verdict alone.

    Deviations: verl knows no rollout without a score; here it is left out of its group, which is how a group of
    one can arise. Equal rewards give exactly 0 (verl, in float32: at times a rounding error divided by 1e-6). Its
    k3 is at most 10. Its configuration estimates advantages by gae until adv_estimator=grpo is set.
    """

    name: ClassVar[str] = "grpo_verl"

    std_eps: float = field(
        default=1e-6, metadata=about("added to the standard deviation that divides the advantage", "verl", low=0)
    )
    dual_clip: float = field(
        default=3.0,
        metadata=about("loss of a negative advantage is at most this times it", "verl clip_ratio_c", above=1, off=True),
    )

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="GRPO as in verl 0.9",
            known_from="verl's code",
            aggregation=TOKEN_MEAN,
            signal_free="advantage 0; a group with one scored rollout: A = r",
            trl=libraries.trl(self, "dapo", delta=self.dual_clip or None),
            verl=libraries.verl(self, "token-mean"),
            deviations=(
                "unscored rollouts are left out (verl: every rollout has a score)",
                "equal rewards give exactly 0 (verl: a rounding error divided by eps)",
                "the k3 estimate is not limited to 10",
            ),
        )

    def _standardise(self, rewards: Array) -> Array:
        scored = ~np.isnan(rewards)
        if scored.sum() == 1:
            return np.where(scored, rewards, 0.0) / (1.0 + self.std_eps)
        return super()._standardise(rewards)

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        return clip.token_mean(per_token, batch.mask, batch.totals)


@dataclass(frozen=True, kw_only=True)
class GRPOOpenInstruct(Algorithm):
    """GRPO as open-instruct does it by default: no deviation, a wider upper clip, a KL term, a reward of 10.

        A_i  = 10 r_i - mean 10 r                              within the group (centered)
               (10 r_i - mean 10 r) / (std with ddof 0 + 1e-8)                  (standard: its default until 2025)
        loss = sum_i,t [-min(rho A_i, clip(rho, 0.8, 1.272) A_i) + 0.05 k3] / tokens of the batch
        where: open_instruct/grpo_utils.py (``GRPOExperimentConfig``, ``compute_grpo_loss``), data_loader.py
               (advantage_normalization_type, filter_zero_std_samples) and model_utils.py (``estimate_kl``), as of 2026

    Groups without signal (all scores equal) are dropped and not replaced (filter_zero_std_samples True,
    active_sampling False): neither their tokens nor their KL count. What is dropped stays charged.
    Supervision: the verdict alone.

    Deviations: the code was read, not run. Older versions clip at 1.2. Its group size is 4. No correction for a
    separate inference engine (its default caps that ratio at 2). Its token denominator is that of one gradient
    accumulation, which is our minibatch.
    """

    name: ClassVar[str] = "grpo_open_instruct"

    std_eps: float = field(
        default=1e-8,
        metadata=about("added to the standard deviation (standard only)", "open-instruct", low=0),
    )
    epsilon_high: float = field(
        default=0.272, metadata=about("the ratio is clipped above 1 + epsilon_high", "clip_higher", above=0)
    )
    kl_coef: float = field(
        default=0.05, metadata=about("weight of the estimate of KL(policy || reference)", "beta", low=0)
    )
    normalisation: Normalisation = field(
        default="centered",
        metadata=about(
            "whether the centred reward is divided by the group's standard deviation",
            "advantage_normalization_type",
            choices=get_args(Normalisation),
        ),
    )
    verification_reward: float = field(
        default=10.0, metadata=about("what a score of 1 is worth", "open-instruct verification_reward", above=0)
    )

    @property
    def recipe(self) -> Recipe:
        plain = self.plain_recipe
        standard = self.normalisation == "standard"
        return replace(
            plain,
            title="GRPO as in open-instruct",
            known_from="open-instruct's code, which was read and not run",
            scale=f"(std with ddof 0 + {self.std_eps:g})" if standard else "1",
            shaping=", ".join([f"{self.verification_reward:g} x score", *filter(None, [plain.shaping])]),
            aggregation=TOKEN_MEAN,
            sampling=f"{self.group_size} rollouts for each problem; groups of equal scores are dropped",
            signal_free="dropped, and not replaced",
            learns_from=(),
            trl=libraries.trl(self, "dapo", "group" if standard else "none"),
            verl=libraries.verl(self, "token-mean", norm_adv_by_std_in_grpo=standard),
            deviations=(
                "the code was read, not run",
                "no correction for an inference engine that differs from the policy",
            ),
        )

    def collect(self, problems: Sequence[Problem], sampler: Sampler) -> list[Group]:
        groups = sampler.sample(problems, self.group_size)
        kept = [group for group in groups if group_stats.has_contrast(group.rewards)]
        sampler.discard([group for group in groups if not group_stats.has_contrast(group.rewards)])
        return kept

    def rewards(self, group: Group) -> Array:
        return self.shaped(group, self.verification_reward * group.rewards)

    def _standardise(self, rewards: Array) -> Array:
        if self.normalisation == "centered":
            return group_stats.centre(rewards)
        return group_stats.standardise(rewards, eps=self.std_eps, ddof=0)

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        return clip.token_mean(per_token, batch.mask, batch.totals)
