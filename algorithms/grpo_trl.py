"""GRPO as TRL has it, with its own constants and DAPO's sum; the method is that of arXiv:2402.03300."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from groupwise.algorithms import libraries
from groupwise.algorithms.base import Advantages, Algorithm, Batch, Group, Recipe
from groupwise.algorithms.ingredients import clip
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor

Scale = Literal["group", "batch", "none"]


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
    std_eps: float = field(
        default=1e-4,
        metadata=about(
            "added to the standard deviation that divides the advantage (scale_rewards = group or batch)", "TRL", low=0
        ),
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
            aggregation="mean over all tokens of the batch",
            trl=libraries.trl(self, "dapo", self.scale_rewards),
            verl=libraries.verl(
                self,
                "token-mean",
                without=libraries.named(self, "scale_rewards", "group instead")
                if self.scale_rewards == "batch"
                else (),
                norm_adv_by_std_in_grpo=self.scale_rewards != "none",
            ),
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
