"""iGRPO, Iterative GRPO with self-feedback: Hatamizadeh et al., arXiv:2602.09000."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, get_args

from groupwise.algorithms.base import Algorithm, Group, Problem, Recipe, Rollout, Sampler
from groupwise.algorithms.ingredients import picks
from groupwise.algorithms.options import about

Tie = Literal["first", "random", "shortest"]
Wording = Literal["guidance", "bare"]

TEMPLATES: Mapping[Wording, str] = {
    "guidance": "Below is an earlier attempt. It may be right or wrong: use it as guidance, do not take it for the "
    "truth, and do not repeat it. Give your own complete answer.\n\n{draft}",
    "bare": "{draft}",
}


@dataclass(frozen=True, kw_only=True)
class IGRPO(Algorithm):
    """GRPO on problems that come with the best of some drafts drawn just before.

        d_1..d_N ~ pi_old(. | q);  d* = the draft with the highest score
        q'       = q, and d* as guidance
        o_1..o_G ~ pi_old(. | q');  A_i = (r_i - mean r) / (std r + std_eps)       within the group
        loss     = GRPO's, its ratios conditioned on q'

    N + G = ``group_size``: drafts are charged like any rollout, so that only G of them carry a gradient. No
    gradient flows through the drafts. Training prompts hold a draft, those of the evaluation never do: that what is
    learned carries over is the paper's claim. A draft may hold the right answer, so part of it can be copying.

    With binary scores ties are the rule, and ``tie`` decides. A draft that could not be scored never wins; where
    none could, the finals are drawn from the problem alone.
    Groups without signal (all finals score alike) have advantage 0.
    Supervision: the verdict alone.

    Deviations: the paper gives neither the tie rule nor the clip value; the wording around the draft is ours. Its
    score includes a reward for format in the appendix, here it is the verdict's. The draft is not shortened.
    """

    name: ClassVar[str] = "igrpo"

    group_size: int = field(
        default=8,
        metadata=about("rollouts drawn for each problem: a draft or more, two finals or more", "TRL", low=3),
    )
    drafts: int = field(
        default=0, metadata=about("drafts among the group_size rollouts; 0: half of them", "paper: N = G = 4", low=0)
    )
    tie: Tie = field(
        default="first",
        metadata=about(
            "which of equally good drafts is shown; random depends on the problem's id alone",
            "ours",
            choices=get_args(Tie),
        ),
    )
    wording: Wording = field(
        default="guidance",
        metadata=about(
            "how the draft joins the prompt. guidance: with the paper's advice in our words; bare: by itself, for "
            "models that follow no instructions",
            "paper: guidance; bare: ours",
            choices=get_args(Wording),
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.finals < 2:
            raise ValueError(
                f"{self.name}: drafts must be below group_size - 1 = {self.group_size - 1}, not {self.stage_one}: "
                "at least two finals are compared"
            )

    @property
    def stage_one(self) -> int:
        """Drafts drawn for each problem, N."""
        return self.drafts or self.group_size // 2

    @property
    def finals(self) -> int:
        """Rollouts that are compared and trained on, G."""
        return self.group_size - self.stage_one

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="iGRPO: Iterative GRPO with self-feedback",
            citation="Hatamizadeh et al. 2026, arXiv:2602.09000",
            known_from="paper, in full",
            normalised_over="group of finals",
            sampling=f"{self.stage_one} drafts for each problem, the best ({self.tie} of equals) joins the prompt of "
            f"{self.finals} finals ({self.wording})",
            deviations=(
                "tie rule, clip and the wording around the draft are ours: the paper states none of them",
                "without a scored draft the finals are drawn from the problem alone",
                "the score alone is the reward (the paper's appendix adds one for format)",
            ),
        )

    def collect(self, problems: Sequence[Problem], sampler: Sampler) -> list[Group]:
        drafted = sampler.sample(problems, self.stage_one, "draft")
        again = [
            self._with_draft(problem, group.rollouts, sampler) for problem, group in zip(problems, drafted, strict=True)
        ]
        return sampler.sample(again, self.finals)

    def _with_draft(self, problem: Problem, drafts: Sequence[Rollout], sampler: Sampler) -> Problem:
        draft = self.best(drafts)
        if draft is None:
            return problem
        return sampler.extended(problem, TEMPLATES[self.wording].format(draft=draft.text.strip()))

    def best(self, drafts: Sequence[Rollout]) -> Rollout | None:
        """The draft with the highest score, None when none was scored."""
        scores = [draft.reward for draft in drafts if draft.reward is not None]
        if not scores:
            return None
        tied = [draft for draft in drafts if draft.reward == max(scores)]
        if self.tie == "random":
            return tied[picks.by_id(tied[0].problem_id, len(tied))]
        return min(tied, key=lambda draft: len(draft.tokens)) if self.tie == "shortest" else tied[0]
