"""GPG, Group Policy Gradient: Chu et al., arXiv:2504.02546; formulas from verl's code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from groupwise.algorithms import libraries
from groupwise.algorithms.base import Advantages, Algorithm, Batch, Group, Recipe
from groupwise.algorithms.ingredients import clip
from groupwise.algorithms.ingredients import groups as group_stats

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class GPG(Algorithm):
    """The plain policy gradient with the group's mean as baseline, scaled up when few rollouts are right.

        A_i   = alpha (r_i - mean r)                           within the group
        alpha = rollouts of the batch / those with r != 0
        loss  = sum_i,t -A_i log pi(token) / tokens of the batch        (no ratio, no clip)

    Groups without signal (all rewards equal) have advantage 0.
    Supervision: the verdict alone.

    Deviations: alpha is verl's (core_algos.py, ``compute_gpg_outcome_advantage``), which counts non-zero scores. The
    paper's is meant to make up for groups without signal, and is said to count the rollouts of the others; its text
    was not read. Unscored rollouts are left out of both counts. Without a ratio, every update after the first on
    the same rollouts is off-policy and uncorrected. verl keeps A = alpha r for a group of one; here it is 0.
    """

    name: ClassVar[str] = "gpg"
    unused: ClassVar[frozenset[str]] = frozenset({"std_eps", "epsilon", "epsilon_high", "ratio_cap", "dual_clip"})

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="GPG: Group Policy Gradient",
            citation="Chu et al. 2025, arXiv:2504.02546",
            known_from="verl's code",
            baseline="alpha (r - mean r)",
            scale="1",
            normalised_over="group, alpha = rollouts / rollouts with r != 0 in the batch",
            ratio="none",
            clip="none",
            aggregation="mean over all tokens of the batch",
            verl=libraries.verl(self, "token-mean", adv_estimator="gpg", loss_mode="gpg"),
            deviations=(
                "alpha as in verl; the paper's count was not verified",
                "a group with one scored rollout has advantage 0 (verl: alpha r)",
            ),
        )

    def advantages(self, groups: Sequence[Group]) -> Advantages:
        rewards = [self.rewards(group) for group in groups]
        everyone = group_stats.flatten(rewards)
        scored = everyone[~np.isnan(everyone)]
        alpha = len(scored) / max(int(np.count_nonzero(scored)), 1)
        return {"advantage": alpha * group_stats.flatten(group_stats.centre(one) for one in rewards)}

    def policy_loss(self, batch: Batch, advantages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return clip.score_function(batch.logprobs, advantages["advantage"])

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        return clip.token_mean(per_token, batch.mask, batch.totals)
