"""Pass@k policy gradient in verl's GRPO form: Tang et al., arXiv:2503.19595; formulas from verl's code."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from groupwise.algorithms import libraries
from groupwise.algorithms.base import Algorithm, Array, Recipe
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.options import about


@dataclass(frozen=True, kw_only=True)
class GRPOPassK(Algorithm):
    """Only the best rollout is paid, and only for what it has over the second best.

        A_best = (r_best - r_second) / (std r + std_eps)       within the group; without divide_by_std: no divisor
        A_i    = 0 for all others
        loss   = GRPO's

    The reward of the group is its best answer (pass@k with k = group_size); each rollout's share is what the group
    would lose without it. So with rewards of 0 and 1 exactly the groups with one right answer teach something:
    a tie for the best, two right answers say, gives 0 to all.
    Groups without signal have advantage 0, and nothing is ever pushed down.
    Supervision: the verdict alone.

    Deviations: the formula is verl's (core_algos.py, ``compute_grpo_passk_outcome_advantage``); of the paper only the
    abstract was read. A group with one scored rollout has advantage 0 (verl refuses it). Ratio, clip and sum are
    those of ``grpo``, not verl's defaults.
    """

    name: ClassVar[str] = "grpo_passk"

    std_eps: float = field(
        default=1e-6, metadata=about("added to the standard deviation (divide_by_std = true)", "verl", low=0)
    )
    divide_by_std: bool = field(
        default=True,
        metadata=about("whether to divide by the group's standard deviation", "verl norm_adv_by_std_in_grpo"),
    )

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="GRPO for pass@k",
            citation="Tang et al. 2025, arXiv:2503.19595",
            known_from="abstract and verl's code",
            baseline="(r - second best r)",
            normalised_over="group, for its best rollout alone",
            scale=self.plain_recipe.scale if self.divide_by_std else "1",
            verl=libraries.verl(
                self, "seq-mean-token-mean", adv_estimator="grpo_passk", norm_adv_by_std_in_grpo=self.divide_by_std
            ),
            deviations=(
                "formula from verl; of the paper only the abstract was read",
                "a group with one scored rollout has advantage 0 (verl refuses it)",
            ),
        )

    def _standardise(self, rewards: Array) -> Array:
        paid = np.zeros(rewards.shape)
        scored = np.sort(rewards[~np.isnan(rewards)])
        if len(scored) > 1:
            paid[np.nanargmax(rewards)] = scored[-1] - scored[-2]
        return group_stats.divided(paid, group_stats.deviation(rewards) + self.std_eps) if self.divide_by_std else paid
