"""GRPO as verl has it, with its own constants, dual clip and sum; the method is that of arXiv:2402.03300."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from groupwise.algorithms import libraries
from groupwise.algorithms.base import Algorithm, Array, Batch, Recipe
from groupwise.algorithms.ingredients import clip
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor


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
            aggregation="mean over all tokens of the batch",
            signal_free="advantage 0; a group with one scored rollout: A = r",
            trl=libraries.trl(self, "dapo"),
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
