"""REINFORCE++-baseline: Hu et al., arXiv:2501.03262; formulas from the code of verl and of ms-swift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np

from groupwise.algorithms import libraries, wording
from groupwise.algorithms.base import Advantages, Algorithm, Batch, Group, Recipe
from groupwise.algorithms.ingredients import clip, kl
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor

WhitenOver = Literal["tokens", "rollouts"]


@dataclass(frozen=True, kw_only=True)
class ReinforcePPBaseline(Algorithm):
    """Centred in the group, then standardised over the whole batch: a small spread in one group stays small.

        c_i  = r_i - mean r                                    within the group
        A_i  = (c_i - mean c) / sqrt(var c + 1e-8)             over all tokens of the batch (tokens: verl)
               c_i / (std c + std_eps)                         over the rollouts of the batch (rollouts: ms-swift)
        loss = sum_i,t -min(rho A_i, clip(rho, 1 - epsilon, 1 + epsilon) A_i) / tokens of the batch

    The readings agree when all rollouts are equally long. With tokens, the mean of c is not 0 as soon as right and
    wrong answers differ in length: then groups without signal, whose c is 0, are all pushed the same way, by how
    long the right answers elsewhere are. With rollouts their advantage is exactly 0.
    TRL's documentation offers a third reading, RLOO with normalize_advantages: for groups of one size that is
    "rollouts" up to eps, with RLOO's loss. Dividing by the deviation of r instead of c is another method, TRL's
    scale_rewards="batch" (``grpo_trl``).
    Supervision: the verdict alone.

    Deviations: no KL unless asked for. A group with one scored rollout has c = 0 (verl: c = r), and unscored
    rollouts are left out of mean and variance.
    """

    name: ClassVar[str] = "reinforce_pp_baseline"

    std_eps: float = field(
        default=1e-4,
        metadata=about("added to the standard deviation (whiten_over = rollouts)", "ms-swift", low=0),
    )
    kl_estimator: kl.Estimator = field(
        default="k1",
        metadata=about("as in GRPO; k1 is the log ratio itself", "REINFORCE++", choices=get_args(kl.Estimator)),
    )
    kl_place: kl.Place = field(
        default="reward",
        metadata=about("reward: its sum over the rollout is subtracted", "REINFORCE++", choices=get_args(kl.Place)),
    )
    whiten_over: WhitenOver = field(
        default="tokens",
        metadata=about(
            "whether a rollout counts by its length, or once, in the batch's mean and deviation",
            "tokens: verl; rollouts: ms-swift",
            choices=get_args(WhitenOver),
        ),
    )

    @property
    def recipe(self) -> Recipe:
        tokens = self.whiten_over == "tokens"
        eps = libraries.named(self, "std_eps", "1e-4 instead") if self.std_eps != libraries.TRL_EPS else []
        return replace(
            self.plain_recipe,
            title="REINFORCE++-baseline",
            citation="Hu et al. 2025, arXiv:2501.03262",
            known_from="code of verl and ms-swift",
            baseline="(c - mean c)" if tokens else "c",
            scale="sqrt(var c with ddof 1 + 1e-08)" if tokens else f"(std c with ddof 1 + {self.std_eps:g})",
            normalised_over=f"{self.whiten_over} of the batch, c = r - mean r within the group",
            aggregation="mean over all tokens of the batch",
            signal_free="c = 0: minus the batch's length-weighted mean of c" if tokens else "advantage 0",
            learns_from=wording.learns_from(self, *(("all_wrong", "all_right") if tokens else ())),
            trl=libraries.trl_rloo(
                self,
                normalize_advantages=True,
                without=libraries.named(self, "whiten_over", "rollouts instead") if tokens else eps,
            ),
            verl=libraries.verl(
                self,
                "token-mean",
                adv_estimator="reinforce_plus_plus_baseline",
                without=() if tokens else libraries.named(self, "whiten_over", "tokens instead"),
            ),
            deviations=(
                "no KL by default",
                "a group with one scored rollout has c = 0 (verl: c = r)",
                "TRL's line has the advantages of the rollouts reading, and RLOO's loss",
            ),
        )

    def advantages(self, groups: Sequence[Group]) -> Advantages:
        rewards = [self.rewards(group) for group in groups]
        centred = group_stats.flatten(group_stats.centre(one) for one in rewards)
        scored = ~np.isnan(group_stats.flatten(rewards))
        if self.whiten_over == "tokens":
            lengths = group_stats.flatten(group.lengths for group in groups)
            return {"advantage": group_stats.whiten(centred, lengths * scored)}
        spread = group_stats.deviation(np.where(scored, centred, np.nan)) + self.std_eps
        return {"advantage": group_stats.divided(centred, spread)}

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        return clip.token_mean(per_token, batch.mask, batch.totals)
