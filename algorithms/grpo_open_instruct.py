"""GRPO as open-instruct has it, with its own reward, clip and KL term; the method is that of arXiv:2402.03300."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from groupwise.algorithms import libraries
from groupwise.algorithms.base import Algorithm, Array, Batch, Group, Problem, Recipe, Sampler
from groupwise.algorithms.ingredients import clip
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor

Normalisation = Literal["centered", "standard"]


@dataclass(frozen=True, kw_only=True)
class GRPOOpenInstruct(Algorithm):
    """GRPO as open-instruct does it by default: no deviation, a wider upper clip, a KL term, a reward of 10.

        A_i  = 10 r_i - mean 10 r                              within the group (centered)
               (10 r_i - mean 10 r) / (std with ddof 0 + 1e-8)                  (standard: its default until 2025)
        loss = sum_i,t [-min(rho A_i, clip(rho, 0.8, 1.272) A_i) + 0.05 k3] / tokens of the batch
        where: open_instruct/grpo_utils.py (``GRPOExperimentConfig``, ``compute_grpo_loss``), data_loader.py
               (advantage_normalization_type, filter_zero_std_samples) and model_utils.py (``estimate_kl``), as of 2026

    Groups without signal (all scores equal) are dropped and not replaced (filter_zero_std_samples True,
    active_sampling False): neither their tokens nor their KL count. What is dropped stays charged.
    Supervision: the verdict alone.

    Deviations: the code was read, not run. Older versions clip at 1.2. Its group size is 4. No correction for a
    separate inference engine (its default caps that ratio at 2). Its token denominator is that of one gradient
    accumulation, which is our minibatch.
    """

    name: ClassVar[str] = "grpo_open_instruct"

    std_eps: float = field(
        default=1e-8,
        metadata=about("added to the standard deviation (normalisation = standard)", "open-instruct", low=0),
    )
    epsilon_high: float = field(
        default=0.272, metadata=about("the ratio is clipped above 1 + epsilon_high", "clip_higher", above=0)
    )
    kl_coef: float = field(
        default=0.05, metadata=about("weight of the estimate of KL(policy || reference)", "beta", low=0)
    )
    normalisation: Normalisation = field(
        default="centered",
        metadata=about(
            "whether the centred reward is divided by the group's standard deviation",
            "advantage_normalization_type",
            choices=get_args(Normalisation),
        ),
    )
    verification_reward: float = field(
        default=10.0, metadata=about("what a score of 1 is worth", "open-instruct verification_reward", above=0)
    )

    @property
    def recipe(self) -> Recipe:
        plain = self.plain_recipe
        standard = self.normalisation == "standard"
        return replace(
            plain,
            title="GRPO as in open-instruct",
            known_from="open-instruct's code, which was read and not run",
            scale=f"(std with ddof 0 + {self.std_eps:g})" if standard else "1",
            shaping=", ".join([f"{self.verification_reward:g} x score", *filter(None, [plain.shaping])]),
            aggregation="mean over all tokens of the batch",
            sampling=f"{self.group_size} rollouts for each problem; groups of equal scores are dropped",
            signal_free="dropped, and not replaced",
            learns_from=(),
            trl=libraries.trl(self, "dapo", "group" if standard else "none", without=self._without),
            verl=libraries.verl(self, "token-mean", without=self._without, norm_adv_by_std_in_grpo=standard),
            deviations=(
                "the code was read, not run",
                "no correction for an inference engine that differs from the policy",
            ),
        )

    @property
    def _without(self) -> list[str]:
        """What neither library has a setting for."""
        standard, worth = self.normalisation == "standard", self.verification_reward
        kl = f": KL weighs {worth:g} times more" if self.kl_coef and not standard else ""
        return [
            "dropping of groups with equal scores",
            *(libraries.named(self, "verification_reward", f"1 instead{kl}") if worth != 1 else ()),
            *(["deviation with ddof 0 (1 instead)"] if standard else ()),
        ]

    def collect(self, problems: Sequence[Problem], sampler: Sampler) -> list[Group]:
        groups = sampler.sample(problems, self.group_size)
        kept = [group for group in groups if group_stats.has_contrast(group.rewards)]
        sampler.discard([group for group in groups if not group_stats.has_contrast(group.rewards)])
        return kept

    def rewards(self, group: Group) -> Array:
        return self.shaped(group, self.verification_reward * group.rewards)

    def _standardise(self, rewards: Array) -> Array:
        if self.normalisation == "centered":
            return group_stats.centre(rewards)
        return group_stats.standardise(rewards, eps=self.std_eps, ddof=0)

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        return clip.token_mean(per_token, batch.mask, batch.totals)
