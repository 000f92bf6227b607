"""GRPO, Group Relative Policy Optimization: Shao et al., DeepSeekMath, arXiv:2402.03300."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from groupwise.algorithms import libraries
from groupwise.algorithms.base import Algorithm, Recipe


@dataclass(frozen=True, kw_only=True)
class GRPO(Algorithm):
    """The group's own mean and spread are the baseline, so no critic is needed.

        A_i  = (r_i - mean r) / (std r + std_eps)              within the group
        loss = mean_i mean_t -min(rho A_i, clip(rho, 1 - epsilon, 1 + epsilon) A_i) + kl_coef KL
        rho  = pi(token) / pi_old(token)

    Groups without signal (all rewards equal) have advantage 0: they cost rollouts and teach nothing.
    Supervision: the verdict alone. The formulas are the hooks of ``Algorithm``, unchanged.

    Deviations: the paper leaves the deviation's ddof, an eps and the clip value open: ddof 1 and 1e-4 as in
    TRL, 0.2 as in TRL and verl. Its KL coefficient is 0.04; ours is 0 unless asked for. In verl a group of
    one keeps A = r, which turns GRPO into REINFORCE; here it is 0. ``grpo_paper``, ``grpo_trl``, ``grpo_verl`` and
    ``grpo_open_instruct`` are what the paper and these libraries call GRPO.
    """

    name: ClassVar[str] = "grpo"

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            known_from="paper, and the code of TRL and verl",
            trl=libraries.trl(self, "grpo"),
            verl=libraries.verl(self, "seq-mean-token-mean"),
            deviations=(
                "ddof 1 and eps as in TRL, clip as in TRL and verl: the paper states none of them",
                "no KL by default (paper: 0.04)",
                "a group with one scored rollout has advantage 0 (verl: A = r)",
            ),
        )
