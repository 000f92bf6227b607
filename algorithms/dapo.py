"""DAPO, Decoupled Clip and Dynamic Sampling Policy Optimization: Yu et al., arXiv:2503.14476."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from groupwise.algorithms import libraries, wording
from groupwise.algorithms.base import Algorithm, Batch, Group, Problem, Recipe, Sampler
from groupwise.algorithms.ingredients import clip
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DAPO(Algorithm):
    """GRPO with a wider upper clip, a token-level loss, and batches filled with groups that have contrast.

        A_i  = (r_i - mean r) / (std r + std_eps)              within the group
        loss = sum_i,t -min(rho A_i, clip(rho, 1 - epsilon, 1 + epsilon_high) A_i) / tokens of the batch
        r_i  = score_i + clip((overlong_limit - overlong_cache - length_i) / overlong_cache, -1, 0)
               (the second term only if overlong_limit > 0)

    Groups without signal (scores all equal) are discarded, and further batches of problems are drawn until
    there are as many groups as were asked for, ``max_draws`` draws were made, or the next draw does not fit
    the budget. Whatever there is then is the batch, possibly nothing: no update. Of the groups beyond the
    batch size the last drawn are dropped, as in verl's DAPO recipe. What is thrown away stays charged, on the
    ledger's line for discarded rollouts. A rollout that was not scored does not count for contrast, and has advantage
    0 in a group that is kept.
    Supervision: the verdict alone.

    Deviations: the overlong penalty is off by default (our completions are short), and so is overlong filtering
    (``mask_truncated``; its authors do without in most runs). verl's DAPO recipe ends the run when ``max_draws``
    leave the batch too small; here the smaller batch is used.
    """

    name: ClassVar[str] = "dapo"

    epsilon_high: float = field(
        default=0.28, metadata=about("the ratio is clipped above 1 + epsilon_high", "DAPO paper", above=0)
    )
    max_draws: int = field(
        default=10, metadata=about("most draws for one batch", "verl's DAPO recipe, max_num_gen_batches", low=1)
    )

    @property
    def recipe(self) -> Recipe:
        return replace(
            self.plain_recipe,
            title="DAPO: Decoupled Clip and Dynamic Sampling Policy Optimization",
            citation="Yu et al. 2025, arXiv:2503.14476",
            aggregation="mean over all tokens of the batch",
            sampling=f"{self.group_size} rollouts for each problem, up to {self.max_draws} draws for a batch",
            cost=wording.cost(self, f"{self.group_size} to {self.group_size * self.max_draws} rollouts"),
            signal_free="discarded, and others drawn in their place",
            learns_from=(),
            trl=libraries.trl(self, "dapo", without=libraries.named(self, "max_draws", "no dynamic sampling")),
            verl=libraries.verl(
                self,
                "token-mean",
                more={"algorithm.filter_groups.enable": True, "algorithm.filter_groups.metric": "reward"},
                without=libraries.named(self, "max_draws", "no limit instead"),
            ),
            deviations=(
                "the overlong penalty (overlong_limit) and overlong filtering (mask_truncated) are off by default",
                "TRL has no dynamic sampling",
                "a batch that is still too small after max_draws is used (verl's recipe ends the run; verl 0.9 refills "
                "group by group, without a limit)",
            ),
        )

    def collect(self, problems: Sequence[Problem], sampler: Sampler) -> list[Group]:
        wanted, kept = len(problems), list[Group]()
        for draws_left in reversed(range(self.max_draws)):
            groups = sampler.sample(problems, self.group_size)
            kept += [group for group in groups if group_stats.has_contrast(group.rewards)]
            sampler.discard([group for group in groups if not group_stats.has_contrast(group.rewards)])
            if len(kept) >= wanted or not draws_left or not sampler.affords(wanted * self.group_size):
                break
            problems = sampler.next_problems(wanted)
        sampler.discard(kept[wanted:])
        return kept[:wanted]

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        return clip.token_mean(per_token, batch.mask, batch.totals)
