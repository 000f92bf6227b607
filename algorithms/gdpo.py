"""GDPO, Group reward-Decoupled normalization Policy Optimization: Liu et al., arXiv:2601.05242; TRL 1.16, verl 0.9."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, get_args

import numpy as np

from groupwise.algorithms import libraries, wording
from groupwise.algorithms.base import Advantages, Algorithm, Array, Group, Recipe, Rollout, SignalFree
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.options import about

Whitening = Literal["sequence", "token", "none"]
SCORE = "score"
TOKEN_EPS = 1e-8  # verl's, under the root
ROUNDING = 1e-12  # a sum that is a smaller share of its terms is 0


@dataclass(frozen=True, kw_only=True)
class GDPO(Algorithm):
    """GRPO for several rewards: each is standardised by itself before they are added.

        A_k,i = (r_k,i - mean r_k) / (std r_k + std_eps)       for each reward k, within the group
        S_i   = sum_k w_k A_k,i
        A_i   = (S_i - mean S) / (std S + std_eps)             over the batch;  loss: GRPO's

    Summed first, as in GRPO, different combinations of rewards get the same advantage. ``whitening`` is the step
    over the batch: over its rollouts (TRL; their mean of S is 0 by construction), over its tokens (verl: long
    rollouts weigh more, 1e-8 under the root; its ``std_eps`` is 1e-6), or none. With one reward this is GRPO with
    whitened advantages, not GRPO.
    The reward "score" is the verdict's score, any other the verdict's component of that name. A conditioned
    reward is 0 unless the score reaches ``threshold``. A component that is missing or None was not scored: left
    out of its mean and deviation, 0 in the rollout's sum. What changes a reward (redundancy, length, KL) acts on
    the first of ``reward_names``.
    Groups without signal: a reward that is constant in the group adds 0. A group in which all scores are equal
    still learns from the others. Under ``whitening`` by token S's mean is not 0, and a group in which every
    reward is constant is pushed up or down with it, as in verl.
    Supervision: the verdict alone, with its components.

    Deviations: a rollout without a score has advantage 0 and is left out everywhere (TRL still uses its other
    rewards). The release hard-wires two rewards; the conditioned ones follow secondary sources.
    """

    name: ClassVar[str] = "gdpo"

    reward_names: tuple[str, ...] = field(
        default=(SCORE, "format", "length"),
        metadata=about("rewards: score, or the name of a component of the verdict", "ours, after the paper's tasks"),
    )
    weights: tuple[float, ...] = field(
        default=(),
        metadata=about("weight of each reward, in that order; none given: all 1", "TRL reward_weights", low=0),
    )
    whitening: Whitening = field(
        default="sequence",
        metadata=about(
            "what S is standardised over: the batch's rollouts, its tokens, or nothing",
            "sequence: TRL; token: verl",
            choices=get_args(Whitening),
        ),
    )
    conditioned: tuple[str, ...] = field(
        default=(), metadata=about("rewards that are 0 unless the score reaches the threshold", "paper, secondary")
    )
    threshold: float = field(
        default=1.0, metadata=about("score from which conditioned rewards pay", "ours: a right answer", low=0)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        names = self.reward_names
        if not names or len(set(names)) < len(names):
            raise ValueError(f"{self.name}: reward_names must be at least one name, each once, not {list(names)!r}")
        if self.weights and len(self.weights) != len(names):
            raise ValueError(f"{self.name}: weights must be one for each of {', '.join(names)}, not {self.weights!r}")
        for name in self.conditioned:
            if name == SCORE or name not in names:
                raise ValueError(f"{self.name}: conditioned must name rewards other than the score, not {name!r}")

    @property
    def components(self) -> tuple[str, ...]:
        return tuple(name for name in self.reward_names if name != SCORE)

    @property
    def recipe(self) -> Recipe:
        weights = self.weights or (1.0,) * len(self.reward_names)
        terms = " + ".join(f"{w:g} z({name})" for w, name in zip(weights, self.reward_names, strict=True))
        inner = f"z(r) = (r - mean r) / (std with ddof 1 + {self.std_eps:g}) in the group"
        if self.conditioned:
            inner += f", {' and '.join(self.conditioned)} 0 unless the score is {self.threshold:g}"
        over, scale = {
            "sequence": ("rollouts of the batch", f"(std with ddof 1 + {self.std_eps:g})"),
            "token": ("tokens of the batch", f"sqrt(variance with ddof 1 + {TOKEN_EPS:g})"),
            "none": ("group", "1"),
        }[self.whitening]
        per_token, none = self.whitening == "token", self.whitening == "none"
        keys = {
            "+algorithm.gdpo_reward_keys": f"[{','.join(self.reward_names)}]",
            "+algorithm.gdpo_reward_weights": f"[{','.join(f'{weight:g}' for weight in weights)}]",
        }
        paid = [f"conditioned={' and '.join(self.conditioned)}"] if self.conditioned else []
        return replace(
            self.plain_recipe,
            title="GDPO: Group reward-Decoupled Normalization Policy Optimization",
            citation="Liu et al. 2026, arXiv:2601.05242",
            known_from="released code, TRL and verl; for conditioned rewards, what others write",
            baseline=f"({terms} - mean)" if per_token else f"({terms})",
            scale=scale,
            normalised_over=f"{over}; {inner}",
            signal_free="a constant reward adds 0; the others still teach"
            + ("; the token-weighted mean moves every group" if per_token else ""),
            learns_from=wording.learns_from(self, *self._learns_from(per_token)),
            trl=""
            if none
            else libraries.trl(
                self,
                "grpo",
                without=[*paid, *(libraries.named(self, "whitening", "sequence instead") if per_token else ())],
                multi_objective_aggregation="normalize_then_sum",
                reward_weights=list(weights),
            ),
            verl=""
            if none
            else libraries.verl(
                self,
                "seq-mean-token-mean",
                "gdpo",
                more=keys,
                without=[*paid, *(() if per_token else libraries.named(self, "whitening", "token instead"))],
            ),
            deviations=(
                "a rollout without a score has advantage 0 (TRL uses its other rewards)",
                "conditioned rewards follow secondary sources",
                "TRL's line is exact with whitening = sequence, verl's with token (and std_eps 1e-6)",
            ),
        )

    def _learns_from(self, per_token: bool) -> tuple[SignalFree, ...]:
        others = set(self.reward_names) - {SCORE}
        if per_token or others - set(self.conditioned):
            return ("all_wrong", "all_right")
        return ("all_right",) if others else ()

    def advantages(self, groups: Sequence[Group]) -> Advantages:
        total = group_stats.flatten(self._summed(group) for group in groups)
        scores = group_stats.flatten(group.rewards for group in groups)
        scored = ~np.isnan(scores)
        if self.whitening == "none" or not total.any():
            return {"advantage": total}
        if self.whitening == "token":
            tokens = scored * group_stats.flatten(group.lengths for group in groups)
            return {"advantage": group_stats.whiten(total, tokens, TOKEN_EPS)}
        # Each group's S adds up to 0, so S is its own distance from the mean; a constant group stays at exactly 0.
        std = np.sqrt((total**2).sum() / (scored.sum() - 1))
        return {"advantage": group_stats.divided(total, std + self.std_eps)}

    def _summed(self, group: Group) -> Array:
        """S, shape (rollouts,)."""
        rows = self.component_rewards(group)
        rows[0] = self.shaped(group, rows[0])
        weights = self.weights or (1.0,) * len(rows)
        parts = np.array([weight * self._standardise(row) for weight, row in zip(weights, rows, strict=True)])
        total: Array = parts.sum(axis=0)
        # Rewards that cancel each other leave a rounding error, which whitening would turn into a gradient.
        total[np.abs(total) <= ROUNDING * np.abs(parts).sum(axis=0)] = 0.0
        return total

    def component_rewards(self, group: Group) -> Array:
        """The rewards, (rewards, rollouts), conditions applied; NaN where there is none, or no score."""
        rows = np.array([[_reward(r, name) for r in group.rollouts] for name in self.reward_names], dtype=np.float64)
        met = group.rewards >= self.threshold
        for row, name in zip(rows, self.reward_names, strict=True):
            if name in self.conditioned:
                row[~met & ~np.isnan(row)] = 0.0
        rows[:, np.isnan(group.rewards)] = np.nan
        return rows


def _reward(rollout: Rollout, name: str) -> float:
    value = rollout.reward if name == SCORE else rollout.verdict.components.get(name)
    return np.nan if value is None else float(value)
