"""My algorithm: how much of the division by the deviation is good? A place to put your own idea."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from groupwise.algorithms.base import Algorithm, Array, Recipe
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.options import about


@dataclass(frozen=True, kw_only=True)
class MyAlgorithm(Algorithm):
    """GRPO, with the group's deviation raised to a power.

        A_i  = (r_i - mean r) / (std r + std_eps)^power        within the group
        loss = mean_i mean_t -min(rho A_i, clip(rho, 1 - epsilon, 1 + epsilon) A_i)

    With power 1 it is GRPO (arXiv:2402.03300), with power 0 its advantage is that of Dr. GRPO (arXiv:2503.20783);
    between them, problems that are nearly solved or nearly hopeless count for more than in the one and for less than
    in the other.
    Groups without signal (all rewards equal) have advantage 0: they cost rollouts and teach nothing.
    Supervision: the verdict alone.

    Deviations: none; there is no paper.
    """

    name: ClassVar[str] = "my_algorithm"

    power: float = field(default=0.5, metadata=about("of the deviation that divides the advantage", "ours", low=0))

    @property
    def recipe(self) -> Recipe:
        # What is not named here is as in plain GRPO. It goes into the manifest, the tables and the report.
        return replace(
            self.plain_recipe,
            title="My algorithm",
            citation="nowhere yet",
            scale=f"(std with ddof 1 + {self.std_eps:g})^{self.power:g}",
            known_from="our own idea",
        )

    def _standardise(self, rewards: Array) -> Array:
        """``rewards`` is (rollouts,), NaN where a rollout could not be scored: its advantage is 0. ``centre`` gives
        exact zeros where there is no contrast, so nothing is divided by 0 there."""
        centred = group_stats.centre(rewards)
        return group_stats.divided(centred, (group_stats.deviation(rewards) + self.std_eps) ** self.power)
