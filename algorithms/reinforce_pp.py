"""REINFORCE++: Hu et al., arXiv:2501.03262; formulas checked against verl's code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, get_args

import numpy as np

from groupwise.algorithms import libraries
from groupwise.algorithms.base import Advantages, Algorithm, Array, Batch, Group, Recipe, Rollout
from groupwise.algorithms.ingredients import clip, kl
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ReinforcePP(Algorithm):
    """Every token has its own return, and all tokens of the batch are standardised together: no groups.

        r_t  = [t is the last token] score - kl_coef (log pi_old - log pi_ref)
        R_t  = sum_{s >= t} gamma^(s - t) r_s
        A_t  = (R_t - mean R) / sqrt(var R + 1e-8)             over all tokens of the batch, ddof 1
        loss = sum_i,t -min(rho A_t, clip(rho, 1 - epsilon, 1 + epsilon) A_t) / tokens of the batch

    Long rollouts weigh more in mean and variance. Groups without signal learn like any other: an all-right group is
    pushed up where it beats the batch, an all-wrong one down. Only a batch of equal returns has advantage 0.
    Supervision: the verdict alone.

    Deviations: no KL unless asked for (paper: in the reward; verl: 0.001 when on). Unscored rollouts are left out
    of mean and variance.
    """

    name: ClassVar[str] = "reinforce_pp"
    unused: ClassVar[frozenset[str]] = frozenset({"std_eps"})

    kl_estimator: kl.Estimator = field(
        default="k1",
        metadata=about("as in GRPO; k1 is the log ratio itself", "REINFORCE++", choices=get_args(kl.Estimator)),
    )
    kl_place: kl.Place = field(
        default="reward",
        metadata=about("reward: subtracted from each token's reward", "REINFORCE++", choices=get_args(kl.Place)),
    )
    gamma: float = field(
        default=1.0,
        metadata=about("discount of a reward for each token before it, at most 1", "verl algorithm.gamma", low=0),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gamma > 1:
            raise ValueError(f"{self.name}: gamma must be at most 1, not {self.gamma!r}")

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="REINFORCE++",
            citation="Hu et al. 2025, arXiv:2501.03262",
            known_from="paper and verl's code",
            baseline="(R - mean R)",
            scale="sqrt(var with ddof 1 + 1e-08)",
            normalised_over=f"tokens of the batch, R: return to go, discount {self.gamma:g}",
            aggregation="mean over all tokens of the batch",
            signal_free="like any other: the batch's mean return is the baseline",
            learns_from=("all_wrong", "all_right"),
            trl=libraries.trl_rloo(
                self,
                normalize_advantages=True,
                without=libraries.named(self, "gamma", "1 instead") if self.gamma != 1 else (),
            ),
            verl=libraries.verl(self, "token-mean", adv_estimator="reinforce_plus_plus", gamma=self.gamma),
            deviations=(
                "no KL by default",
                "unscored rollouts are left out of mean and variance",
                "TRL's line is its documentation's approximation: leave-one-out, one value for a rollout",
            ),
        )

    def advantages(self, groups: Sequence[Group]) -> Advantages:
        returns = [self.returns(r, score) for g in groups for r, score in zip(g.rollouts, self.rewards(g), strict=True)]
        table = np.zeros((len(returns), max(map(len, returns), default=0)))
        weight = np.zeros(table.shape)
        for row, values in enumerate(returns):
            table[row, : len(values)] = np.nan_to_num(values, nan=0.0)
            weight[row, : len(values)] = ~np.isnan(values)
        return {"advantage": group_stats.whiten(table, weight)}

    def rewards(self, group: Group) -> Array:
        # Here the KL belongs to the tokens: ``returns`` subtracts it, so the sum of it must not be in the score.
        return replace(self, kl_coef=0.0).shaped(group, group.rewards)

    def returns(self, rollout: Rollout, score: float) -> Array:
        """Discounted reward from each token on, shape (tokens,); NaN for a rollout that was not scored."""
        tokens = len(rollout.tokens)
        reward = -self.kl_coef * self.token_kl(rollout) if self.reference_in_reward else np.zeros(tokens)
        reward[-1:] += score
        returns, ahead = np.zeros(tokens), 0.0
        for t in reversed(range(tokens)):
            ahead = reward[t] + self.gamma * ahead
            returns[t] = ahead
        return returns

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        return clip.token_mean(per_token, batch.mask, batch.totals)
