"""RLOO, REINFORCE Leave-One-Out: Ahmadian et al., Back to Basics, arXiv:2402.14740; Kool et al. 2019."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, get_args

import numpy as np

from groupwise.algorithms import libraries
from groupwise.algorithms.base import Algorithm, Array, Batch, Recipe
from groupwise.algorithms.ingredients import clip, kl
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RLOO(Algorithm):
    """Each rollout is compared with the mean of the others, and is one action with one ratio.

        A_i  = r_i - mean_{j != i} r_j = G / (G - 1) (r_i - mean r)     within the group
        w_i  = pi(o_i) / pi_old(o_i)                                    the product over its tokens
        loss = mean_i -min(w_i A_i, clip(w_i, 1 - epsilon, 1 + epsilon) A_i)
        r_i  = score_i - kl_coef sum_t (log pi_old - log pi_ref)        (only if kl_coef > 0)

    On-policy the gradient is that of -A_i log pi(o_i), the paper's. The ratio and its clip, for later updates on
    the same rollouts, are those of TRL's RLOOTrainer (rloo_trainer.py, ``_compute_loss``).
    Groups without signal (all rewards equal) have advantage 0.
    Supervision: the verdict alone.

    Deviations: no KL unless asked for (TRL: 0.05). An unscored rollout is left out of G; where one alone was
    scored its advantage is 0, as in TRL (verl: A = r). Log-ratios are limited to 20 in size.
    """

    name: ClassVar[str] = "rloo"
    unused: ClassVar[frozenset[str]] = frozenset({"std_eps"})

    kl_estimator: kl.Estimator = field(
        default="k1",
        metadata=about("as in GRPO; k1 is the log ratio itself", "RLOO's paper, TRL", choices=get_args(kl.Estimator)),
    )
    kl_place: kl.Place = field(
        default="reward",
        metadata=about("reward: its sum over the rollout is subtracted", "RLOO's paper", choices=get_args(kl.Place)),
    )

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="RLOO: REINFORCE Leave-One-Out",
            citation="Ahmadian et al. 2024, arXiv:2402.14740",
            baseline="(r - mean of the others' r)",
            scale="1",
            ratio="sequence, product over tokens",
            aggregation="mean over rollouts",
            trl=libraries.trl_rloo(self, normalize_advantages=False),
            verl=libraries.verl(self, "seq-mean-token-sum", adv_estimator="rloo"),
            deviations=(
                "no KL by default (TRL: 0.05)",
                "verl's ratio and clip are those of each token",
                "a group with one scored rollout has advantage 0 (verl: A = r)",
            ),
        )

    def _standardise(self, rewards: Array) -> Array:
        scored = int(np.count_nonzero(~np.isnan(rewards)))
        leave_one_out: Array = group_stats.centre(rewards) * (scored / max(scored - 1, 1))
        return leave_one_out

    def ratio(self, batch: Batch) -> Tensor:
        return clip.sequence_sum_ratio(batch.logprobs, batch.old_logprobs, batch.mask)
