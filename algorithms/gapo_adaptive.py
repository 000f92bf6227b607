"""GAPO, Group Adaptive Policy Optimization: arXiv:2510.21830; formulas from the code, TsingZ0/verl-GAPO."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np

from groupwise.algorithms.base import Algorithm, Array, Batch, Recipe
from groupwise.algorithms.ingredients import clip
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor

Centre = Literal["median", "mean"]
Tie = Literal["lowest", "highest"]
ROUNDING = 1e-6  # windows whose widths differ by less than this share of the group's spread are equally wide


@dataclass(frozen=True, kw_only=True)
class GAPOAdaptive(Algorithm):
    """GRPO around the densest stretch of the group's rewards, which outliers do not move as they move the mean.

        k    = ceil(G tau);  W = the narrowest k consecutive values of the sorted rewards
        Q    = median of W  (or its mean)
        A_i  = (r_i - Q) / (sqrt(sum_j (r_j - Q)^2 / (G - 1)) + std_eps)       within the group
        loss = sum_i,t -min(rho A_i, clip(rho, 1 - epsilon, 1 + epsilon_high) A_i) / tokens of the batch,
               with dual clip

    The divisor is the root mean square around Q, not the deviation around the mean. Among equally narrow windows
    the one with the lowest rewards wins, as in the code (``tie``; the paper is silent as far as we know).
    On binary rewards and tau = 1/2 the majority gets exactly 0 and only the minority moves; an even split counts as
    "mostly wrong". Advantages do not sum to 0. The method is meant for graded rewards.
    Groups without signal (all rewards equal) have advantage 0. Unscored rollouts are left out of G, W and Q.
    Supervision: the verdict alone.

    Deviations: a group with one scored rollout has advantage 0 (code: Q = 0, divisor 1, so A = r); the code
    refuses groups of two. No KL by default (run_grpo.py: 0.01 x k3 in the loss). The paper's fourth version speaks
    of an interval of highest signal-to-noise ratio; the code has the narrowest window, and so have we.
    """

    name: ClassVar[str] = "gapo_adaptive"

    tau: float = field(
        default=0.5, metadata=about("share of the group in the window, at most 1", "run_grpo.py", above=0)
    )
    centre: Centre = field(
        default="median", metadata=about("what of the window is Q", "README of the code", choices=get_args(Centre))
    )
    tie: Tie = field(
        default="lowest",
        metadata=about("which of equally narrow windows: that of the lowest rewards, or of the highest",
                       "released code", choices=get_args(Tie)),
    )  # fmt: skip
    divide_by_rms: bool = field(
        default=True, metadata=about("whether to divide by the root mean square around Q", "released code")
    )
    std_eps: float = field(
        default=1e-6, metadata=about("added to the root mean square (divide_by_rms = true)", "released code", low=0)
    )
    epsilon_high: float = field(
        default=0.28, metadata=about("the ratio is clipped above 1 + epsilon_high", "run_grpo.py", above=0)
    )
    dual_clip: float = field(
        default=10.0,
        metadata=about("loss of a negative advantage is at most this times it", "run_grpo.py", above=1, off=True),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau > 1:
            raise ValueError(f"{self.name}: tau must be at most 1, not {self.tau!r}")

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="GAPO: Group Adaptive Policy Optimization",
            citation="2025, arXiv:2510.21830",
            known_from="released code",
            baseline="(r - Q)",
            scale=f"(root mean square of r - Q with G - 1 + {self.std_eps:g})" if self.divide_by_rms else "1",
            normalised_over=f"group, Q = {self.centre} of the narrowest ceil({self.tau:g} G) sorted rewards "
            f"(of equals the {self.tie})",
            aggregation="mean over all tokens of the batch",
            deviations=(
                "a group with one scored rollout has advantage 0 (code: A = r), one of two is accepted (code: refused)",
                "no KL by default (run_grpo.py: 0.01 x k3 in the loss)",
                "the paper's fourth version may choose another interval; this is the released code's",
            ),
        )

    def _standardise(self, rewards: Array) -> Array:
        centred = np.zeros(rewards.shape)
        if not group_stats.has_contrast(rewards):
            return centred
        scored = ~np.isnan(rewards)
        above = rewards[scored] - rewards[scored].min()  # exact for rewards with a large common offset
        distance = above - self._densest(above)
        if self.divide_by_rms:
            divisor = np.sqrt((distance**2).sum() / (len(distance) - 1)) + self.std_eps
            distance = distance / divisor if divisor > 0 else np.zeros(len(distance))
        centred[scored] = distance
        return centred

    def _densest(self, rewards: Array) -> float:
        """Q of rewards that are all scored and at least 0."""
        ordered = np.sort(rewards)
        size = max(ceil(len(ordered) * self.tau - ROUNDING), 1)  # 100 x 0.07 is a little more than 7
        widths = ordered[size - 1 :] - ordered[: len(ordered) - size + 1]
        narrowest = np.flatnonzero(widths <= widths.min() + ROUNDING * ordered[-1])
        start = narrowest[0 if self.tie == "lowest" else -1]
        within = ordered[start : start + size] - ordered[start]
        return float(ordered[start] + (np.median(within) if self.centre == "median" else within.mean()))

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        return clip.token_mean(per_token, batch.mask, batch.totals)
