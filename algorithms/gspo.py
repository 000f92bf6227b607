"""GSPO, Group Sequence Policy Optimization: Zheng et al., arXiv:2507.18071."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from groupwise.algorithms import libraries
from groupwise.algorithms.base import Algorithm, Batch, Recipe
from groupwise.algorithms.ingredients import clip
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class GSPO(Algorithm):
    """GRPO with one importance ratio for the whole rollout, and a clip range to match its small moves.

        A_i  = (r_i - mean r) / (std r + std_eps)              within the group
        s_i  = (pi(o_i) / pi_old(o_i))^(1 / |o_i|)             the geometric mean of the tokens' ratios
        loss = mean_i -min(s_i A_i, clip(s_i, 1 - epsilon, 1 + epsilon_high) A_i)

    A rollout is clipped as a whole or not at all; every one of its tokens has the weight s_i A_i / |o_i|.
    Groups without signal (all rewards equal) have advantage 0.
    Supervision: the verdict alone.

    Deviations: std_eps and ddof 1 as in TRL; the paper writes neither. In verl the log-ratio stops at 10, here at
    20; and its default sum for this loss is that of the actor, not the paper's.
    """

    name: ClassVar[str] = "gspo"

    epsilon: float = field(
        default=3e-4, metadata=about("the ratio is clipped below 1 - epsilon", "GSPO's paper", above=0)
    )
    epsilon_high: float = field(
        default=4e-4, metadata=about("the ratio is clipped above 1 + epsilon_high", "GSPO's paper", above=0)
    )

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="GSPO: Group Sequence Policy Optimization",
            citation="Zheng et al. 2025, arXiv:2507.18071",
            ratio="sequence, geometric mean over tokens",
            aggregation="mean over rollouts",
            trl=libraries.trl(self, "grpo", importance_sampling_level="sequence"),
            verl=libraries.verl(self, "seq-mean-token-mean", loss_mode="gspo"),
            deviations=("ddof 1 and eps as in TRL: the paper states neither",),
        )

    def ratio(self, batch: Batch) -> Tensor:
        return clip.sequence_ratio(batch.logprobs, batch.old_logprobs, batch.mask)
