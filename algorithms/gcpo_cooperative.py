"""GCPO, Group Cooperative Policy Optimization ("Breaking Winner-Takes-All"): Chen et al., arXiv:2605.11461.

A RECONSTRUCTION. No equation of the paper and no code was readable; from its abstract come a determinant
volume over reward-weighted embeddings, and credit by average marginal contribution. The rest is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, get_args

import numpy as np

from groupwise.algorithms.base import Algorithm, Array, Group, Recipe
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.ingredients import teams
from groupwise.algorithms.options import about

Credit = Literal["shapley", "leave_one_out"]

ROUNDING = 1e-9  # credits that differ by less are equal: log-determinants of equal teams differ by ~1e-15


@dataclass(frozen=True, kw_only=True)
class GCPOCooperative(Algorithm):
    """The group is a team, worth the space its right answers cover; members are paid their contribution.

        K_ij = sqrt(r_i r_j) <e_i, e_j>                        e_i: unit embedding of rollout i's text
        V(S) = log det(I + K_S / lam)                          volume of a team S
        phi_i = mean over all orders of V(those before i, and i) - V(those before i)      (Shapley)
             or V(all) - V(all but i)                                                     (leave one out)
        A_i  = (phi_i - mean phi) / (std phi + std_eps);  loss: GRPO's

    Groups without signal: all wrong or all identical gives 0. All right but different does not: the redundant
    get a negative advantage although they are right, and division by the deviation makes a small difference
    large (``divide_by_std = false`` keeps it small). Unscored rollouts add no volume and have advantage 0.
    Supervision: the verdict, and an embedding model.
    """

    name: ClassVar[str] = "gcpo_cooperative"
    unused: ClassVar[frozenset[str]] = frozenset({"redundancy_coef"})  # the volume is a redundancy term already

    credit: Credit = field(
        default="shapley",
        metadata=about("how the team's volume is shared out", "ours: reconstruction", choices=get_args(Credit)),
    )
    divide_by_std: bool = field(
        default=True, metadata=about("whether the advantage is divided by the credits' deviation", "ours")
    )
    lam: float = field(
        default=1.0,
        metadata=about("scale of the kernel; a small one makes coverage count more than number", "ours", above=0),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.credit == "shapley" and self.group_size > teams.MAX_MEMBERS:
            raise ValueError(
                f"{self.name}: group_size must be at most {teams.MAX_MEMBERS} with credit 'shapley', "
                f"not {self.group_size}; credit 'leave_one_out' has no limit"
            )

    @property
    def recipe(self) -> Recipe:
        share = "Shapley value" if self.credit == "shapley" else "leave-one-out marginal"
        plain = self.plain_recipe
        return replace(
            plain,
            title="GCPO: Group Cooperative Policy Optimization (reconstruction)",
            citation="Chen et al. 2026, arXiv:2605.11461",
            baseline="(phi - mean phi)",
            scale=plain.scale if self.divide_by_std else "1",
            normalised_over=f"group, phi = {share} of log det(I + K / {self.lam:g}), "
            f"K = sqrt(r_i r_j) <e_i, e_j> with {self.embedder} embeddings e",
            signal_free="all wrong: advantage 0; all right: the redundant go down, the distinct up",
            learns_from=("all_right",),
            reconstruction=True,
            deviations=("all but the idea of the abstract is ours, the embedding model included",),
        )

    @property
    def embeds(self) -> bool:
        return True

    def rewards(self, group: Group) -> Array:
        return self.shaped(group, self.credits(group))

    def credits(self, group: Group) -> Array:
        """phi, shape (rollouts,); exactly 0 for rollouts that earned nothing, NaN for unscored ones.

        Raises ValueError for a group without embeddings, or with a negative reward.
        """
        rewards, rows = group.rewards, group.embeddings
        if rows is None or (rewards < 0).any():
            raise ValueError(f"{self.name}: {group.problem.id} needs embeddings, and rewards of at least 0")
        credit = np.where(np.isnan(rewards), np.nan, 0.0)
        # Rollouts of reward 0 add nothing to any team, so leaving them out changes no other one's credit.
        paid = rewards > 0
        weighted = np.sqrt(rewards[paid])[:, None] * rows[paid]
        share = teams.shapley if self.credit == "shapley" else teams.leave_one_out
        credit[paid] = share(weighted @ weighted.T / self.lam)
        return credit

    def _standardise(self, rewards: Array) -> Array:
        return group_stats.standardise(rewards, self.std_eps, divide_by_std=self.divide_by_std, tolerance=ROUNDING)
