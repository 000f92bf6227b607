"""Supervised fine-tuning on reference solutions: the control for every optimizer that is given them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np

from groupwise.algorithms.base import Advantages, Algorithm, Batch, Group, Problem, Recipe, Rollout, Sampler
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor

When = Literal["all_wrong", "always"]


@dataclass(frozen=True, kw_only=True)
class SFT(Algorithm):
    """Maximum likelihood of the reference solutions, with no reinforcement at all.

        loss = -sum_i,t log pi(o_i,t) / tokens of the references in the batch

    By default it learns from references by the rule of ``gcpo_contrastive``, and from nothing else: those of the
    problems whose rollouts are all wrong (the same ones, until the two policies part). The rollouts are drawn and
    charged all the same, because they tell where the policy fails and because the budget has to be equal; none of
    them is trained on. What ``gcpo_contrastive`` gains over this row is not due to the references
    alone: it also reinforces its own right answers.
    Groups without signal: an all-wrong one is what is learned from; with ``when`` always, so is every other.
    A reference that the verifier does not accept (score 0, or none) is left out, as it has no advantage there.
    Supervision: reference solutions. A problem without one raises the sampler's ValueError.

    Deviations: the likelihood is that at the temperature of the training's sampling, as for every optimizer here (a
    trainer of its own would take 1). Plain supervised fine-tuning draws no rollouts. A pass over the data is a pass
    over its problems, and in later ones only those are met again that are still all wrong.
    """

    name: ClassVar[str] = "sft"
    unused: ClassVar[frozenset[str]] = frozenset(option.name for option in fields(Algorithm)) - {"group_size"}

    when: When = field(
        default="all_wrong",
        metadata=about(
            "whose references are learned: of problems whose rollouts are all wrong, or of all",
            "ours: what gcpo_contrastive sees",
            choices=get_args(When),
        ),
    )

    @property
    def recipe(self) -> Recipe:
        always = self.when == "always"
        return replace(
            self.plain_recipe,
            title="SFT: supervised fine-tuning on the reference solutions",
            citation="Ouyang et al. 2022, arXiv:2203.02155 (its first stage)",
            known_from="common practice; when it learns is ours",
            baseline="1 for a reference, 0 for a rollout",
            scale="1",
            normalised_over="batch",
            ratio="none (-log pi)",
            clip="none",
            aggregation="mean over the references' tokens of the batch",
            cost=f"{self.group_size} rollouts drawn and graded; a training pass over the reference alone",
            signal_free="the reference is learned"
            if always
            else "all wrong: the reference is learned; all right: nothing",
            supervision="reference solutions",
            learns_from=("all_wrong", "all_right") if always else ("all_wrong",),
            learns_from_contrast=always,
            trl="SFTConfig(completion_only_loss=True)  # on the references",
            deviations=("rollouts are drawn and charged, so that the budget is that of the others",),
        )

    def collect(self, problems: Sequence[Problem], sampler: Sampler) -> list[Group]:
        """A group of the reference alone for each problem that is learned from."""
        drawn = sampler.sample(problems, self.group_size)
        return [
            Group(group.problem, (sampler.reference(group.problem, group.rollouts[0].index),))
            for group in drawn
            if self.when == "always" or group.kind == "all_wrong"
        ]

    def advantages(self, groups: Sequence[Group]) -> Advantages:
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        return {"reference": np.array([_accepted(rollout) for rollout in rollouts], dtype=np.float64)}

    def loss(self, batch: Batch, advantages: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        tokens = max(batch.totals.signal_tokens, 1)
        loss = -(advantages["reference"] * batch.logprobs * batch.mask).sum() / tokens
        return loss, {"clip_fraction": loss.new_zeros(())}


def _accepted(rollout: Rollout) -> bool:
    return rollout.stage == "reference" and rollout.reward is not None and rollout.reward > 0
