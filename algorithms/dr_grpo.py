"""Dr. GRPO, "GRPO done right": Liu et al., Understanding R1-Zero-Like Training, arXiv:2503.20783."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from groupwise.algorithms import libraries
from groupwise.algorithms.base import Algorithm, Array, Batch, Recipe
from groupwise.algorithms.ingredients import clip
from groupwise.algorithms.ingredients import groups as group_stats

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DrGRPO(Algorithm):
    """GRPO without its two divisions: by the group's deviation, and by the rollout's length.

        A_i  = r_i - mean r                                    within the group
        loss = sum_i,t -min(rho A_i, clip(rho, 1 - epsilon, 1 + epsilon) A_i) / (rollouts x max_new_tokens)

    Dividing by the deviation favours problems that are nearly solved or nearly hopeless, dividing by the length
    makes a long wrong answer cheap; without both the gradient is that of the mean reward, up to a constant.
    Groups without signal (all rewards equal) have advantage 0.
    Supervision: the verdict alone.

    Deviations: none in the formula. The constant divisor is the experiment's max_new_tokens, as in TRL
    (max_completion_length); verl's default is the width of the padded batch.
    """

    name: ClassVar[str] = "dr_grpo"
    unused: ClassVar[frozenset[str]] = frozenset({"std_eps"})

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="Dr. GRPO: GRPO Done Right",
            citation="Liu et al. 2025, arXiv:2503.20783",
            scale="1",
            aggregation="sum over tokens, divided by rollouts x max_new_tokens",
            trl=libraries.trl(self, "dr_grpo", "none"),
            verl=libraries.verl(
                self,
                "seq-mean-token-sum-norm",
                norm_adv_by_std_in_grpo=False,
                loss_scale_factor="${data.max_response_length}",
            ),
        )

    def _standardise(self, rewards: Array) -> Array:
        return group_stats.centre(rewards)

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        return clip.token_sum_over_budget(per_token, batch.mask, batch.totals)
