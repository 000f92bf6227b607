"""GCPO, Group Cooperative Policy Optimization ("Breaking Winner-Takes-All"): Chen et al., arXiv:2605.11461.

A RECONSTRUCTION. No equation of the paper and no code was readable; from its abstract come a determinant
volume over reward-weighted embeddings, and credit by average marginal contribution. The rest is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import ClassVar, Literal, get_args

import numpy as np

from groupwise.algorithms import wording
from groupwise.algorithms.base import Algorithm, Array, Group, Recipe
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.ingredients import teams
from groupwise.algorithms.options import about

Credit = Literal["shapley", "leave_one_out"]
OURS = "ours: reconstruction"


@dataclass(frozen=True, kw_only=True)
class GCPOCooperative(Algorithm):
    """The group is a team, worth the space its right answers cover; members are paid their contribution.

        K_ij = sqrt(r_i r_j) <e_i, e_j>                        e_i: unit embedding of rollout i's text
        V(S) = log det(I + K_S / lam)                          volume of a team S
        phi_i = mean over all orders of V(those before i, and i) - V(those before i)      (Shapley)
             or V(all) - V(all but i)                                                     (leave one out)
        A_i  = (phi_i - mean phi) / (std phi + std_eps);  loss: GRPO's

    Shapley values are exact for up to 20 rollouts that earned something. Beyond that they are estimated from
    ``permutations`` orders, drawn by a hash of the problem's id and the texts: with the default 2048 and 24 to 64
    rollouts the standard error, which ``estimate`` gives, is some thousandths at most of credits from 0.05 to 0.7.

    Groups without signal: all wrong or all identical gives 0. All right but different does not: the redundant
    get a negative advantage although they are right, and division by the deviation makes a small difference
    large (``divide_by_std = false`` keeps it small). Unscored rollouts add no volume and have advantage 0.
    Supervision: the verdict alone. The embedding model, of the texts as they are, is part of the method's cost.
    Deviations: unknown, for this is our reconstruction of a method of which only the abstract was readable.
    """

    name: ClassVar[str] = "gcpo_cooperative"
    unused: ClassVar[frozenset[str]] = frozenset({"redundancy_coef"})  # the volume is a redundancy term already

    credit: Credit = field(
        default="shapley",
        metadata=about("how the team's volume is shared out", OURS, choices=get_args(Credit)),
    )
    permutations: int = field(
        default=2048,
        metadata=about(
            f"orders that Shapley values are estimated from where more than {teams.MAX_MEMBERS} rollouts earn some",
            OURS,
            low=1,
        ),
    )
    divide_by_std: bool = field(
        default=True, metadata=about("whether the advantage is divided by the credits' deviation", OURS)
    )
    std_eps: float = field(
        default=1e-4,
        metadata=about(
            "added to the standard deviation of the credits (divide_by_std = true)", f"{OURS}; as in TRL", low=0
        ),
    )
    lam: float = field(
        default=1.0,
        metadata=about("scale of the kernel; a small one makes coverage count more than number", OURS, low=1e-6),
    )

    @property
    def recipe(self) -> Recipe:
        plain = self.plain_recipe
        share = "leave-one-out marginal"
        if self.credit == "shapley":
            beyond = f" for {teams.MAX_MEMBERS} at most, else from {self.permutations} sampled orders"
            share = f"Shapley value (exact{beyond if self.group_size > teams.MAX_MEMBERS else ''})"
        return replace(
            plain,
            title="GCPO: Group Cooperative Policy Optimization (reconstruction)",
            citation="Chen et al. 2026, arXiv:2605.11461",
            known_from="abstract alone",
            baseline="(phi - mean phi)",
            scale=plain.scale if self.divide_by_std else "1",
            normalised_over=f"group, phi = {share} of log det(I + K / {self.lam:g}), "
            f"K = sqrt(r_i r_j) <e_i, e_j> with {self.embedder} embeddings e of the {self.embedded_part} text",
            signal_free="all wrong: advantage 0; all right: the redundant go down, the distinct up",
            learns_from=wording.learns_from(self, "all_right"),
            reconstruction=True,
            deviations=("a reconstruction: all but the idea of the abstract is ours, the embedding model included",),
        )

    @property
    def embeds(self) -> bool:
        return True

    def rewards(self, group: Group) -> Array:
        return self.shaped(group, self.estimate(group)[0])

    def estimate(self, group: Group) -> tuple[Array, Array]:
        """phi and its standard error (0 unless sampled), each (rollouts,).

        phi is exactly 0 for rollouts that earned nothing, NaN for unscored ones.
        Raises ValueError for a group without embeddings, or with a negative reward.
        """
        rewards, rows = group.rewards, group.embeddings
        if rows is None or (rewards < 0).any():
            raise ValueError(f"{self.name}: {group.problem.id} needs embeddings, and rewards of at least 0")
        # Rollouts of reward 0 add nothing to any team, so leaving them out changes no other one's credit. In the
        # order of their texts a sampled credit, too, is the same wherever in the group its rollout stands.
        text = [rollout.text for rollout in group.rollouts]
        paid = sorted(np.flatnonzero(rewards > 0), key=text.__getitem__)
        weighted = np.sqrt(rewards[paid])[:, None] * rows[paid]
        # Not a matrix product: its blocking could set equal texts' rows of the kernel apart in the last bits.
        kernel = np.einsum("id,jd->ij", weighted, weighted) / self.lam
        phi, error = np.where(np.isnan(rewards), np.nan, 0.0), np.zeros(len(rewards))
        if self.credit == "leave_one_out":
            phi[paid] = teams.leave_one_out(kernel)
        elif len(paid) <= teams.MAX_MEMBERS:
            phi[paid] = teams.shapley(kernel)
        else:
            seed = sha256(repr((group.problem.id, [text[i] for i in paid])).encode()).digest()[:8]
            phi[paid], error[paid] = teams.sampled_shapley(kernel, self.permutations, int.from_bytes(seed))
        return phi, error

    def _standardise(self, rewards: Array) -> Array:
        return group_stats.standardise(
            rewards, self.std_eps, divide_by_std=self.divide_by_std, tolerance=teams.ROUNDING
        )
