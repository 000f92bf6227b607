"""SRPO, two-Staged history-Resampling Policy Optimization (Kwaipilot): Zhang et al., arXiv:2504.14286."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from groupwise.algorithms import wording
from groupwise.algorithms.base import Algorithm, Batch, Group, Problem, Recipe, Sampler
from groupwise.algorithms.ingredients import clip

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SRPO(Algorithm):
    """GRPO that stops asking what the policy always gets right.

        H    = problems whose latest group was all right
        each step: the next problems of the order that are not in H
        A_i  = (r_i - mean r) / (std r + std_eps)              within the group
        loss = sum_i,t -min(rho A_i, clip(rho, 1 - epsilon, 1 + epsilon) A_i) / tokens of the batch

    A problem whose group was all right is left out from then on, and the next of the order takes its place; no
    rollout is spent on it. Mixed ones stay, and so do all-wrong ones, which may come within reach later. When every
    problem is in H, H is emptied and all come back (our rule). A replacement can be in the batch already: at the
    seam of two passes, and where fewer are left than a batch has places.
    DAPO, in contrast, pays for its groups without contrast and throws them away, right and wrong alike, in the
    same step, and remembers nothing. This is a rule of sampling; the history survives a resume.
    Groups without signal (all scores equal) have advantage 0 in the step in which they are drawn.
    Supervision: the verdict alone.

    Deviations: history and loss follow secondary sources (a model card and summaries). The paper drops problems at
    the end of an epoch; a problem comes once in an epoch, so that dropping it at once is the same. Its two stages
    (mathematics, then code) are the experiment's data, its format and language rewards the verifier's. Whether it
    clips as GRPO does is not known to us.
    """

    name: ClassVar[str] = "srpo"

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="SRPO: two-Staged history-Resampling Policy Optimization",
            citation="Zhang et al. 2025, arXiv:2504.14286",
            known_from="what others write about it",
            aggregation="mean over all tokens of the batch",
            sampling=f"{self.group_size} rollouts for each problem that was not all right when last drawn",
            signal_free=f"{wording.signal_free(self)}; an all-right problem is not drawn again",
            deviations=(
                "history and loss follow secondary sources; the clip is GRPO's",
                "the two stages of data are left to the experiment",
                "when every problem was all right, all come back",
            ),
        )

    @cached_property
    def solved(self) -> set[str]:
        """Ids of the problems that are left out. History, not a hyper-parameter: no field, and no part of ``==``."""
        return set()

    def collect(self, problems: Sequence[Problem], sampler: Sampler) -> list[Group]:
        asked = [self._unsolved(problem, sampler) for problem in problems]
        groups = sampler.sample(asked, self.group_size)
        self.solved.update(group.problem.id for group in groups if group.kind == "all_right")
        return groups

    def _unsolved(self, problem: Problem, sampler: Sampler) -> Problem:
        """The problem, or the next of the order that is not left out."""
        met = Counter[str]()
        while problem.id in self.solved:
            (problem,) = sampler.next_problems(1)
            met[problem.id] += 1
            # The order is one permutation after the other: whoever is met a third time in a row of draws has been
            # passed by all the others in between, and none of them was unsolved.
            if met[problem.id] == 3:
                self.solved.clear()
        return problem

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        return clip.token_mean(per_token, batch.mask, batch.totals)

    def state_dict(self) -> dict[str, Any]:
        return {"solved": sorted(self.solved)} if self.solved else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if set(state) - {"solved"}:
            raise ValueError(f"{self.name} keeps the problems it solved, but the checkpoint has {', '.join(state)}")
        self.solved.clear()
        self.solved.update(state.get("solved", ()))
