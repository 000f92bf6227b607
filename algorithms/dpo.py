"""DPO, Direct Preference Optimization, online: Rafailov et al., arXiv:2305.18290; online: arXiv:2402.04792."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from groupwise.algorithms import wording
from groupwise.algorithms.base import Advantages, Algorithm, Array, Batch, Group, Recipe
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DPO(Algorithm):
    """Online DPO: pairs of a better and a worse rollout of the same group, made afresh in every batch.

        l_i  = sum_t log pi(o_i,t) - log pi_ref(o_i,t)
        loss = mean over pairs of -log sigmoid(beta (l_chosen - l_rejected))

    Chosen are the rollouts with the group's highest score, rejected those with its lowest: with binary scores the
    right and the wrong ones. Scores between the two are in no pair, so that only the order of scores counts. The
    i-th chosen is paired with the i-th rejected in the order drawn; there are as many pairs as the smaller side
    has members, and the rest is unused (drawn and charged all the same).
    The array "pair" numbers the pairs of the batch: k for the chosen, -k for the rejected of pair k, 0 for no pair.
    Groups without signal (all scores equal, or unscored) have no pair.
    Supervision: the verdict alone.

    Deviations: the paper learns from a fixed set of human preferences. That pairs are drawn from the policy,
    and how, is ours: an online variant as a rival of GRPO at the same budget. There is no ratio to the policy
    that drew the batch, so nothing is clipped. The reference is the model that training started from.
    """

    name: ClassVar[str] = "dpo"
    unused: ClassVar[frozenset[str]] = frozenset(option.name for option in fields(Algorithm)) - {"group_size"}
    whole_groups: ClassVar[bool] = True

    beta: float = field(default=0.1, metadata=about("scale of the log-ratios' difference", "TRL DPOConfig", above=0))

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="Online DPO: Direct Preference Optimization on verified pairs",
            citation="Rafailov et al. 2023, arXiv:2305.18290; online: Guo et al. 2024, arXiv:2402.04792",
            known_from="paper and TRL; the pairs are ours",
            baseline="+1 (highest score) or -1 (lowest score) of a pair",
            scale="1",
            normalised_over="group",
            ratio="sum over tokens of log pi / pi_ref, chosen minus rejected",
            clip="none",
            aggregation=f"mean over pairs of -log sigmoid({self.beta:g} x ratio)",
            kl="none: the reference model is in the ratio",
            cost=wording.cost(self, f"{self.group_size} rollouts"),
            signal_free="no pair",
            trl=f'DPOConfig(loss_type=["sigmoid"], beta={self.beta:g})  # on the pairs',
            deviations=(
                "online: pairs come from the policy's own verified rollouts, not from a preference set",
                "the i-th best with the i-th worst in the order drawn, the rest of the group unused",
            ),
        )

    def advantages(self, groups: Sequence[Group]) -> Advantages:
        signed, pairs = [], 0
        for group in groups:
            numbers = _paired(group.rewards)
            signed.append(numbers + np.sign(numbers) * pairs)
            pairs += int(numbers.max(initial=0.0))
        return {"pair": group_stats.flatten(signed)}

    def loss(self, batch: Batch, advantages: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The pairs' part of the mean over the batch's pairs. Raises ValueError for half a pair."""
        if batch.ref_logprobs is None:
            raise ValueError(f"{self.name} needs the log-probabilities of a reference model, and the batch has none")
        gained = ((batch.logprobs - batch.ref_logprobs) * batch.mask).sum(dim=1)
        numbers = advantages["pair"][:, 0]
        chosen, rejected = numbers.argsort(descending=True), numbers.argsort()
        pairs = int((numbers > 0).sum())
        if not (numbers[chosen][:pairs] == -numbers[rejected][:pairs]).all() or pairs != int((numbers < 0).sum()):
            raise ValueError(f"{self.name}: a micro-batch has half a pair")
        margin = self.beta * (gained[chosen[:pairs]] - gained[rejected[:pairs]])
        # log(1 + exp(-x)) without overflow; every pair is two of the rollouts that have a signal
        loss = margin.new_zeros(pairs).logaddexp(-margin).sum() / max(batch.totals.signals / 2, 1)
        return loss, {"clip_fraction": numbers.new_zeros(())}

    @property
    def reference_in_loss(self) -> bool:
        return True


def _paired(scores: Array) -> Array:
    """k for the k-th best and -k for the k-th worst, in the order drawn, 0 for the others, shape (rollouts,)."""
    numbers = np.zeros(len(scores))
    if group_stats.has_contrast(scores):
        best, worst = np.flatnonzero(scores == np.nanmax(scores)), np.flatnonzero(scores == np.nanmin(scores))
        count = min(len(best), len(worst))
        numbers[best[:count]] = np.arange(1, count + 1)
        numbers[worst[:count]] = -np.arange(1, count + 1)
    return numbers
