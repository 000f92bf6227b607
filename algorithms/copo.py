"""COPO, Consistency-Aware Policy Optimization: arXiv:2508.04138; formulas from the code, hijih/copo-code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np

from groupwise.algorithms import wording
from groupwise.algorithms.base import Advantages, Algorithm, Array, Batch, Group, Recipe, SignalFree
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor

Mode = Literal[
    "no-global", "only-global", "only-soft", "only-soft-with-coef", "only-zero", "only-zero-wrong",
    "only-forced", "soft-with-forced", "soft-with-zero",
]  # fmt: skip
ROUNDING = 1e-12  # prompts whose mean rewards differ by less are equal


@dataclass(frozen=True, kw_only=True)
class COPO(Algorithm):
    """GRPO's advantage blended with one that compares prompts, by how much the group's answers agree.

        R_g  = mean r in group g;  with entropy_shaping: R_g (1 - lam H_g), lam = (1 - 1/G) / log2 G
        H_g  = -sum p log2 p over the group's answers (no answer is an answer of its own)
        Ag_g = (R_g - mean R) / (std R + std_eps)              over the prompts of the batch (or ``mini_batch``)
        Al_i = (r_i - mean r) / (std r + std_eps)              within the group
        s    = sigmoid(k (H_g - b))
        w    = 1 (no-global), 0 (only-global), s (only-soft, only-soft-with-coef),
               [r != 0] (only-zero, only-zero-wrong), [Al != 0] (only-forced),
               s [Al != 0] (soft-with-forced), s [r != 0] (soft-with-zero)
        loss = (1 - w) L(Ag) + w L(Al), L: GRPO's with dual clip
               (only-soft-with-coef multiplies the first part by global_coef)

    A factor c >= 0 moves inside, c L(A) = L(c A): the gate is folded into the arrays "global" and "local".
    Groups without signal (all rewards equal) learn from Ag: up if the prompt beats the batch's mean, else
    down. A batch of one prompt, or of prompts with equal R, has Ag = 0.
    Note that the released default, soft-with-zero, trains every wrong rollout on Ag alone, in mixed groups
    too: a wrong answer to a prompt that beats the mean is pushed up.
    Two gates are known: k = 5, b = 1 of run_copo.sh (the default), and k = 20, b = 1.5, said to be the paper's, which
    leaves all but widely scattered groups to Ag. The recipe shows the one in use. So it does for the set that R is
    compared over: the whole batch (code), or ``mini_batch`` prompts at a time (said to be the paper's).
    Supervision: the verdict, and the answer extracted with it.

    Deviations: no 1e-8 inside the logarithm; unscored rollouts are left out of R, H and both advantages. Answers are
    equal when their normal forms are (code: when the strings are, so that 1/2 and 0.5 differ). In the code
    only-zero-wrong has the formula of only-zero and shapes that do not fit; here the two are one.
    """

    name: ClassVar[str] = "copo"

    std_eps: float = field(default=1e-6, metadata=about("added to both standard deviations", "released code", low=0))
    mode: Mode = field(
        default="soft-with-zero", metadata=about("how the gate is set", "run_copo.sh", choices=get_args(Mode))
    )
    k: float = field(
        default=5.0, metadata=about("steepness of the gate", "run_copo.sh; the paper is said to have 20", above=0)
    )
    b: float = field(
        default=1.0,
        metadata=about("answer entropy (bits) where s = 1/2", "run_copo.sh; the paper is said to have 1.5", low=0),
    )
    mini_batch: int = field(
        default=0,
        metadata=about(
            "prompts over which R is standardised, in the order drawn (1: never any contrast); 0: all of the batch",
            "released code: all",
            low=0,
        ),
    )
    global_coef: float = field(
        default=1.0,
        metadata=about("global part's weight in only-soft-with-coef", "ours: code has no default", low=0),
    )
    entropy_shaping: bool = field(
        default=False, metadata=about("whether disagreement lowers a prompt's reward", "released code")
    )
    dual_clip: float = field(
        default=3.0, metadata=about("loss of a negative advantage is at most this times it", "code", above=1, off=True)
    )

    @property
    def recipe(self) -> Recipe:
        compared = f"prompts of the batch, {self.mini_batch} at a time" if self.mini_batch else "prompts of the batch"
        soft = f", sigmoid({self.k:g} (H - {self.b:g}))" if "soft" in self.mode else ""
        shaped = ", R lowered by disagreement" if self.entropy_shaping else ""
        between = f"{self.global_coef:g} (1 - w)" if self.mode == "only-soft-with-coef" else "(1 - w)"
        return replace(
            self.plain_recipe,
            title="COPO: Consistency-Aware Policy Optimization",
            citation="2025, arXiv:2508.04138",
            known_from="released code; of the paper, what others write about it",
            baseline=f"[{between} (R - mean R), w (r - mean r)]",
            normalised_over=f"{compared} (R) and the group (r), w by {self.mode}{soft}{shaped}",
            learns_from=wording.learns_from(self, *self._learns_from()),
            signal_free=wording.signal_free(self)
            if self.mode == "no-global"
            else "global advantage: the prompt's mean reward R against the batch's",
            deviations=(
                "defaults of the release (k 5, b 1, soft-with-zero); the paper is said to use k 20, b 1.5",
                "R is compared over the batch as in the code; the paper is said to use its mini-batch",
                "no 1e-8 inside the entropy's logarithm; answers are compared in normal form, not as strings",
            ),
        )

    def _learns_from(self) -> tuple[SignalFree, ...]:
        if self.mode == "no-global":
            return ()
        # Without the soft gate a right rollout is all local.
        return ("all_wrong",) if self.mode.startswith("only-zero") else ("all_wrong", "all_right")

    def advantages(self, groups: Sequence[Group]) -> Advantages:
        sizes = np.array([len(group.rollouts) for group in groups], dtype=np.intp)
        rewards = [self.rewards(group) for group in groups]
        scores = group_stats.flatten(group.rewards for group in groups)
        local = group_stats.flatten(self._standardise(one) for one in rewards)
        entropy = np.array([self._entropy(group) for group in groups])
        prompts = np.array([group_stats.scored_mean(one) for one in rewards])
        if self.entropy_shaping:
            prompts = prompts * (1.0 - np.array([self.shaping(group) for group in groups]) * entropy)
        between = self._between(prompts)
        weight = self._weight(np.repeat(entropy, sizes), scores, local)
        coef = self.global_coef if self.mode == "only-soft-with-coef" else 1.0
        scored = ~np.isnan(scores)
        return {
            "global": np.where(scored, coef * (1.0 - weight) * np.repeat(between, sizes), 0.0),
            "local": weight * local,
        }

    def _between(self, prompts: Array) -> Array:
        """Ag of each prompt."""
        size = self.mini_batch or max(len(prompts), 1)
        parts = (prompts[start : start + size] for start in range(0, len(prompts), size))
        return group_stats.flatten(group_stats.standardise(part, self.std_eps, tolerance=ROUNDING) for part in parts)

    def _entropy(self, group: Group) -> float:
        return group_stats.answer_entropy([r.verdict.answer for r in group.rollouts if r.reward is not None])

    def shaping(self, group: Group) -> float:
        """lam: with it, a group in which every scored answer differs has its reward divided by their number."""
        scored = int(np.count_nonzero(~np.isnan(group.rewards)))
        return (1.0 - 1.0 / scored) / float(np.log2(scored)) if scored > 1 else 0.0

    def _weight(self, entropy: Array, scores: Array, local: Array) -> Array:
        """w of each rollout, in [0, 1]."""
        weight = np.zeros_like(entropy) if self.mode == "only-global" else np.ones_like(entropy)
        # The words of a mode's name are its factors.
        if "soft" in self.mode:
            weight *= np.exp(-np.logaddexp(0.0, -self.k * (entropy - self.b)))  # sigmoid without overflow
        if "zero" in self.mode:
            weight *= scores != 0
        if "forced" in self.mode:
            weight *= local != 0
        return weight

    def policy_loss(self, batch: Batch, advantages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        ratio = self.ratio(batch)
        between, between_clipped = self.surrogate(ratio, advantages["global"])
        within, within_clipped = self.surrogate(ratio, advantages["local"])
        return between + within, between_clipped.maximum(within_clipped)
