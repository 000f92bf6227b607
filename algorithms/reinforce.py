"""REINFORCE without a baseline: Williams, Machine Learning 8, 1992, doi:10.1007/BF00992696."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from groupwise.algorithms import libraries, wording
from groupwise.algorithms.base import Algorithm, Array, Batch, Recipe
from groupwise.algorithms.ingredients import clip

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Reinforce(Algorithm):
    """The reward itself is the weight of the rollout's log-probability: the control for every baseline.

        A_i  = r_i
        loss = mean_i -A_i sum_t log pi(token)

    With rewards of 0 and 1 only right answers move the policy, and always upwards. Groups without signal do not
    exist: an all-right group is pushed up like any right answer, an all-wrong one (r = 0) has advantage 0 as
    every wrong answer has.
    Supervision: the verdict alone.

    Deviations: Williams's REINFORCE takes one step on each batch, and so it has no ratio: with several updates on
    the same rollouts the later ones are off-policy and uncorrected.
    """

    name: ClassVar[str] = "reinforce"
    unused: ClassVar[frozenset[str]] = frozenset({"std_eps", "epsilon", "epsilon_high", "ratio_cap", "dual_clip"})

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="REINFORCE without a baseline",
            citation="Williams 1992, doi:10.1007/BF00992696",
            known_from="paper",
            baseline="r",
            scale="1",
            normalised_over="rollout itself",
            ratio="none",
            clip="none",
            aggregation="sum over each rollout's tokens, mean over rollouts",
            signal_free="all right: A = r; all wrong: 0",
            learns_from=wording.learns_from(self, "all_right"),
            # in verl a group of one keeps A = r
            verl=libraries.verl(self, "seq-mean-token-sum", loss_mode="gpg", rollouts=1, norm_adv_by_std_in_grpo=False),
            deviations=("with several updates on a batch the later ones are off-policy and uncorrected",),
        )

    def _standardise(self, rewards: Array) -> Array:
        return np.nan_to_num(rewards, nan=0.0)

    def policy_loss(self, batch: Batch, advantages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return clip.score_function(batch.logprobs, advantages["advantage"])

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        return clip.mean_of_sequence_sums(per_token, batch.mask, batch.totals)
