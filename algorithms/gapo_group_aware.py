"""GAPO, Group-Aware Policy Optimization for diverse answers: EMNLP 2025, arXiv:2511.12596."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, get_args

import numpy as np

from groupwise.algorithms import wording
from groupwise.algorithms.base import Algorithm, Array, Group, Recipe, Rollout
from groupwise.algorithms.options import about

Form = Literal["signed", "absolute"]


@dataclass(frozen=True, kw_only=True)
class GAPOGroupAware(Algorithm):
    """GRPO on a reward that falls with an answer's frequency in the group: the optimum is uniform coverage.

        V    = the problem's valid answers, L = |V|
        f_v  = #{i: o_i = v} / #{i: o_i in V}                  frequency among the valid rollouts
        R_i  = 1 - (f - 1/L)  if o_i in V (signed)  or  1 - |f - 1/L| (absolute);  -1 otherwise
        A_i  = (R_i - mean R) / (std R + std_eps);  loss: GRPO's

    Groups without signal: all invalid, all the same valid answer, or all valid and equally frequent gives 0,
    so a policy that has collapsed onto one answer gets no push out of it. A group whose answers are all right
    does have a signal as long as their frequencies differ.
    Supervision: the list of all valid answers. With one accepted answer this is GRPO on rewards 1 and -1.

    Whether an answer is in V is the verifier's judgement (a score of 1), and two answers are the same when
    the verdicts' extracted answers are equal: those are in the normal form in which answers are compared.
    Whether V is shown in the prompt is the task's. Unscored rollouts are left out, with advantage 0.

    Deviations: the formula follows two secondary sources. A third has the absolute form, which punishes a
    rare answer for being rare: the switch ``form``. Group size, KL and clip are unknown: GRPO's are used.
    """

    name: ClassVar[str] = "gapo_group_aware"
    unused: ClassVar[frozenset[str]] = frozenset({"redundancy_coef", "embedder", "embedded_part"})  # f is one already

    form: Form = field(
        default="signed",
        metadata=about(
            "signed: a rare answer earns more than 1; absolute: distance from uniform costs either way",
            "secondary sources; grpo-composer has absolute",
            choices=get_args(Form),
        ),
    )

    @property
    def recipe(self) -> Recipe:
        distance = "(f - 1/L)" if self.form == "signed" else "|f - 1/L|"
        return replace(
            self.plain_recipe,
            title="GAPO: Group-Aware Policy Optimization",
            citation="2025, arXiv:2511.12596 (EMNLP 2025)",
            known_from="abstract; for the formulas, what others write about it",
            baseline="(R - mean R)",
            normalised_over=f"group, R = 1 - {distance} for a valid answer, -1 otherwise",
            signal_free="advantage 0; all right with uneven frequencies does have a signal",
            learns_from=wording.learns_from(self, "all_right"),
            supervision="list of valid answers",
            deviations=(
                "formula from secondary sources, which disagree on signed or absolute",
                "clip, KL and group size are GRPO's: the paper's are not known",
            ),
        )

    def rewards(self, group: Group) -> Array:
        """R, shape (rollouts,); NaN for unscored rollouts."""
        counts = Counter(rollout.verdict.answer for rollout in group.rollouts if _valid(rollout))
        uniform = 1.0 / max(len(set(group.problem.answers)), 1)
        shaped = np.where(np.isnan(group.rewards), np.nan, -1.0)
        for i, rollout in enumerate(group.rollouts):
            if _valid(rollout):
                excess = counts[rollout.verdict.answer] / counts.total() - uniform
                shaped[i] = 1.0 - (excess if self.form == "signed" else abs(excess))
        return self.shaped(group, shaped)


def _valid(rollout: Rollout) -> bool:
    return rollout.reward is not None and rollout.reward >= 1.0 and rollout.verdict.answer is not None
