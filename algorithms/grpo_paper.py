"""GRPO as its paper states it: Shao et al., DeepSeekMath, arXiv:2402.03300."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from groupwise.algorithms import libraries
from groupwise.algorithms.base import Algorithm, Recipe
from groupwise.algorithms.options import about


@dataclass(frozen=True, kw_only=True)
class GRPOPaper(Algorithm):
    """GRPO as DeepSeekMath states it: no eps beside the deviation, and a KL term in the loss.

        A_i  = (r_i - mean r) / std r                          within the group
        loss = mean_i mean_t -min(rho A_i, clip(rho) A_i) + 0.04 k3

    Groups without signal have advantage 0; the KL term still draws them to the reference model.
    Supervision: the verdict alone (the paper itself uses a reward model).

    Deviations: the paper states neither ddof (here 1) nor the clip value (here 0.2). It draws 64 rollouts for a
    question, and moves the reference model along in its iterative variant; here the reference is the start.
    """

    name: ClassVar[str] = "grpo_paper"

    std_eps: float = field(
        default=0.0, metadata=about("added to the standard deviation", "GRPO's paper writes none", low=0)
    )
    kl_coef: float = field(
        default=0.04, metadata=about("weight of the estimate of KL(policy || reference)", "GRPO's paper", low=0)
    )

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="GRPO as in its paper",
            known_from="paper, and the code of TRL and verl",
            trl=libraries.trl(self, "grpo"),
            verl=libraries.verl(self, "seq-mean-token-mean"),
            deviations=(
                "ddof 1 and clip 0.2: the paper states neither",
                "one reference model, the start (the paper's iterative variant renews it)",
            ),
        )
