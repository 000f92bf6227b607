"""GCPO, Group Contrastive Policy Optimization, "When Contrast Fails, Go Gold": arXiv:2510.07790."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from groupwise.algorithms import wording
from groupwise.algorithms.base import Algorithm, Batch, Group, Problem, Recipe, Sampler
from groupwise.algorithms.ingredients import clip, picks
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor

Replace = Literal["first", "random", "longest"]
ReferenceRatio = Literal["start", "none"]


@dataclass(frozen=True, kw_only=True)
class GCPOContrastive(Algorithm):
    """Where every rollout of a group is wrong, one of them is replaced by a reference solution.

        if max r = 0:  one o_i := reference solution, r_i := its verdict's score
        A_i  = (r_i - mean r) / (std r + std_eps)              within the group
        s_i  = (pi(o_i) / pi_old(o_i))^(1 / |o_i|)             one ratio for the whole rollout
        loss = mean_i -min(s_i A_i, clip(s_i, 1 - epsilon, 1 + epsilon_high) A_i)

    With one reference among G: A = (G-1)/sqrt(G) for it, -1/sqrt(G) for the others: the wrong rollouts are pushed
    down, each by the same. Groups without signal: all-wrong ones get it from the reference, all-right ones keep
    advantage 0. The rollout that is replaced was drawn, and stays charged.
    Supervision: reference solutions, as a human or a larger model wrote them. A problem without one raises
    the sampler's ValueError: training on would silently be another algorithm. ``sft`` is the control that sees the
    same references.

    Deviations: the paper's body and code were not readable. That one rollout is replaced, the sequence ratio
    and the missing KL are from secondary sources; the clip values are GSPO's. What they leave open is settled here:
    which rollout goes (``replace``) and what stands for pi_old of a text no policy drew (``reference_ratio``) are
    switches. The reference is the task's worked solution as it is written, with whatever reasoning it has, and
    counts towards the batch's tokens and rollouts like any other; the lengths that are reported are those of
    drawn rollouts. Its reward is its verdict's score, like everyone's, with no part for format: one that the
    verifier does not accept leaves the group without contrast.
    """

    name: ClassVar[str] = "gcpo_contrastive"

    epsilon: float = field(
        default=3e-4,
        metadata=about("the ratio is clipped below 1 - epsilon", "GSPO, arXiv:2507.18071", above=0),
    )
    epsilon_high: float = field(
        default=4e-4, metadata=about("the ratio is clipped above 1 + epsilon_high", "GSPO", above=0)
    )
    replace: Replace = field(
        default="first",
        metadata=about(
            "the wrong rollout that makes place for the reference; random depends on the problem's id alone",
            "ours",
            choices=get_args(Replace),
        ),
    )
    reference_ratio: ReferenceRatio = field(
        default="start",
        metadata=about(
            "pi_old of the reference. start: the policy that drew the batch, so that the ratio is 1 at the "
            "first update; none: no ratio, its loss is -A times the mean log-probability",
            "ours",
            choices=get_args(ReferenceRatio),
        ),
    )

    @property
    def recipe(self) -> Recipe:
        reference = "" if self.reference_ratio == "start" else "; reference: none (-A log pi)"
        return dataclasses.replace(
            self.plain_recipe,
            title="GCPO: Group Contrastive Policy Optimization",
            citation="Wu and Liu 2025, arXiv:2510.07790",
            known_from="abstract; for the rest, what others write about it",
            normalised_over="group, reference included",
            ratio="sequence, geometric mean over tokens" + reference,
            aggregation="mean over rollouts",
            signal_free=f"all wrong: a reference replaces one ({self.replace}); all right: {wording.signal_free(self)}",
            learns_from=wording.learns_from(self, "all_wrong"),
            supervision="reference solutions",
            deviations=(
                "replacement, ratio and KL follow secondary sources; the paper's body was not readable",
                "clip values are GSPO's; which rollout is replaced, and the reference's ratio, are ours",
            ),
        )

    def collect(self, problems: Sequence[Problem], sampler: Sampler) -> list[Group]:
        groups = sampler.sample(problems, self.group_size)
        return [self._with_reference(g, sampler) if g.kind == "all_wrong" else g for g in groups]

    def _with_reference(self, group: Group, sampler: Sampler) -> Group:
        wrong = [i for i, rollout in enumerate(group.rollouts) if rollout.reward is not None]
        place = wrong[0]
        if self.replace == "random":
            place = wrong[picks.by_id(group.problem.id, len(wrong))]
        elif self.replace == "longest":
            place = max(wrong, key=lambda i: len(group.rollouts[i].tokens))  # of equals, the first
        rollouts = list(group.rollouts)
        rollouts[place] = sampler.reference(group.problem, rollouts[place].index)
        return dataclasses.replace(group, rollouts=tuple(rollouts))

    def ratio(self, batch: Batch) -> Tensor:
        return clip.sequence_ratio(batch.logprobs, batch.old_logprobs, batch.mask)

    def policy_loss(self, batch: Batch, advantages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        per_token, clipped = super().policy_loss(batch, advantages)
        if self.reference_ratio == "none":
            drawn = batch.drawn[:, None]
            per_token = per_token.where(drawn, -advantages["advantage"] * batch.logprobs)
            clipped = clipped * drawn
        return per_token, clipped
