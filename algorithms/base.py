"""The contract of a group-based optimizer: rollouts, groups, the recipe, and three hooks.

    collect(problems, sampler) -> groups          which rollouts are drawn
    advantages(groups)         -> named arrays    what each rollout (or each of its tokens) is worth
    loss(batch, advantages)    -> scalar, metrics how the policy moves

Every draw goes through the sampler, and the sampler charges the budget: an algorithm cannot get a free
rollout. ``advantages`` is a pure function over the whole batch, in float64 numpy; ``loss`` sees torch
tensors and only uses their methods, so that nothing here imports torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from groupwise.algorithms import wording
from groupwise.algorithms.ingredients import clip, kl, redundancy, texts
from groupwise.algorithms.ingredients import groups as group_stats
from groupwise.algorithms.ingredients.lengths import overlong_penalty
from groupwise.algorithms.options import about, check, used_by

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
DrawnStage = Literal["final", "draft"]
Stage = Literal["final", "draft", "reference"]
SignalFree = Literal["all_wrong", "all_right"]
Embedder = Literal["hash", "minilm"]


class Verdict(Protocol):
    """What an algorithm reads of a verdict."""

    @property
    def score(self) -> float | None: ...
    @property
    def answer(self) -> str | None: ...
    @property
    def components(self) -> Mapping[str, float | None]: ...


class Problem(Protocol):
    """What an algorithm reads of a problem."""

    @property
    def id(self) -> str: ...
    @property
    def answers(self) -> tuple[str, ...]: ...
    @property
    def solution(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion of one prompt, graded.

    ``prompt_tokens`` is its own prompt (it may differ inside a group: a draft can be part of it).
    ``logprobs`` are the log-probabilities of ``tokens`` under the policy that drew them, one per token;
    None for a reference text, which no policy drew. ``ref_logprobs`` are those under the reference model, for
    algorithms whose rewards have a KL term. ``entropies`` are the policy's entropies (nats) at each token, when
    the engine knows them. ``finish_reason`` is ``stop`` or ``length``.
    """

    problem_id: str
    index: int
    stage: Stage
    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    text: str
    finish_reason: str
    verdict: Verdict
    entropies: tuple[float, ...] | None = None
    ref_logprobs: tuple[float, ...] | None = None

    @property
    def reward(self) -> float | None:
        """The verdict's score; None when it could not be scored."""
        return self.verdict.score


@dataclass(frozen=True, slots=True)
class Group:
    """The rollouts compared with one another, in order. ``embeddings``: (rollouts, d), unit rows."""

    problem: Problem
    rollouts: tuple[Rollout, ...]
    embeddings: Array | None = None

    @property
    def rewards(self) -> Array:
        """Scores as float64, shape (rollouts,); NaN stands for a rollout that was not scored."""
        return np.array([np.nan if r.reward is None else r.reward for r in self.rollouts], dtype=np.float64)

    @property
    def lengths(self) -> Array:
        """Tokens of each rollout, shape (rollouts,)."""
        return np.array([len(rollout.tokens) for rollout in self.rollouts], dtype=np.float64)

    @property
    def kind(self) -> Literal["all_right", "all_wrong", "mixed", "unscored"]:
        """``all_right`` when every scored reward is 1, ``all_wrong`` when every one is 0."""
        scored = [r.reward for r in self.rollouts if r.reward is not None]
        if not scored:
            return "unscored"
        if min(scored) >= 1.0:
            return "all_right"
        return "all_wrong" if max(scored) <= 0.0 else "mixed"


class Sampler(Protocol):
    """Draws rollouts, has them graded, and charges each one to the budget as it is drawn."""

    def sample(self, problems: Sequence[Problem], n: int, stage: DrawnStage = "final") -> list[Group]:
        """n rollouts for each problem, one group a problem, charged to the line of their stage.

        When they are not affordable nothing is drawn, and the training of the cell ends with this batch.
        """
        ...

    def affords(self, rollouts: int) -> bool:
        """Whether the budget still covers that many rollouts."""
        ...

    def next_problems(self, n: int) -> Sequence[Problem]:
        """The next n problems of the training order (for algorithms that draw more than one batch)."""
        ...

    def discard(self, groups: Sequence[Group]) -> None:
        """Book groups that were drawn and will not be trained on to the ledger's own line for them."""
        ...

    def reference(self, problem: Problem, index: int) -> Rollout:
        """The problem's worked solution as a rollout of stage ``reference``, charged as reference tokens.

        Raises ValueError when the problem has no solution.
        """
        ...

    def extended(self, problem: Problem, text: str) -> Problem:
        """The same problem with a text added to what is asked; it is graded as before."""
        ...

    def embed(self, texts: Sequence[str], embedder: str) -> Array:
        """Unit-norm embeddings, shape (texts, d), from the named embedder."""
        ...

    def reference_logprobs(self, rollouts: Sequence[Rollout]) -> list[tuple[float, ...]]:
        """Log-probabilities of each rollout's tokens under the frozen reference model."""
        ...


@dataclass(frozen=True, slots=True)
class Totals:
    """Sizes of the whole optimizer batch. Losses divide by these, so that micro-batches add up.

    ``tokens`` leaves out masked rollouts (``mask_truncated``), ``rollouts`` does not. ``signals`` and
    ``signal_tokens`` count the rollouts that have an advantage other than 0, and their tokens.
    """

    rollouts: int
    tokens: int
    max_new_tokens: int
    signals: int = 0
    signal_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch as the loss sees it. Tensors are (rollouts, tokens), padded on the right.

    ``logprobs`` and ``entropies`` (nats, there when ``entropy_coef`` is not 0) carry the gradient.
    ``old_logprobs`` are those at sampling time (for a reference text: those of the policy when the batch was
    drawn); ``ref_logprobs`` those of the reference model, when ``reference_in_loss``. ``mask`` is 1.0 on
    completion tokens, 0.0 on padding, where the log-probabilities may be anything finite.
    ``drawn`` is (rollouts,), boolean, True where the policy drew the text itself.
    """

    logprobs: Tensor
    old_logprobs: Tensor
    ref_logprobs: Tensor | None
    mask: Tensor
    drawn: Tensor
    totals: Totals
    entropies: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that makes one "GRPO" differ from another, in words that can be printed as a formula.

    ``baseline`` is the numerator of the advantage, ``scale`` its denominator ("1" for none), both over
    ``normalised_over``; ``shaping`` is what changes the score before that. ``learns_from`` are the kinds of groups
    without contrast that can have a non-zero advantage, ``signal_free`` says in words what happens to them.
    ``cost`` is what one problem of a step costs. ``trl`` and ``verl`` are the settings of those libraries that come
    closest, "" where there are none. ``reconstruction`` marks what is not known from a primary source.
    """

    title: str
    citation: str
    baseline: str
    scale: str
    normalised_over: str
    shaping: str
    ratio: str
    clip: str
    aggregation: str
    kl: str
    entropy: str
    sampling: str
    cost: str
    signal_free: str
    supervision: Literal["verdict only", "reference solutions", "list of valid answers"]
    learns_from: tuple[SignalFree, ...] = ()
    trl: str = ""
    verl: str = ""
    reconstruction: bool = False
    deviations: tuple[str, ...] = ()

    def formula(self) -> str:
        """The recipe as one readable line."""
        advantage = f"A = {self.baseline}" + (f" / {self.scale}" if self.scale != "1" else "")
        parts = {
            "reward": self.shaping, "ratio": self.ratio, "clip": self.clip, "sum": self.aggregation,
            "KL": self.kl, "entropy": self.entropy,
        }  # fmt: skip
        said = [f"{name}: {words}" for name, words in parts.items() if name in ("ratio", "clip", "sum", "KL") or words]
        return "; ".join([f"{advantage} over the {self.normalised_over}", *said])


Advantages = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """Plain GRPO in every hook; each optimizer overrides what its paper changes.

    The fields are the hyper-parameters; a value that is not accepted raises ValueError at construction. Those
    that every optimizer can use are ingredients: clip values, KL, entropy, length, redundancy. An optimizer whose
    formula has no place for one names it in ``unused``, and refuses it.

    Beside the three hooks of the contract there are smaller ones, the slots in which the papers differ:
    ``rewards``, ``ratio``, ``policy_loss``, ``aggregate``.
    """

    name: ClassVar[str]
    unused: ClassVar[frozenset[str]] = frozenset()
    # Micro-batches are cut anywhere between rollouts; with this only between groups (for losses over pairs).
    whole_groups: ClassVar[bool] = False

    group_size: int = field(default=8, metadata=about("rollouts drawn for each problem", "TRL num_generations", low=2))
    std_eps: float = field(
        default=1e-4,
        metadata=about("added to the standard deviation that divides the advantage", "TRL", low=0),
    )
    epsilon: float = field(
        default=0.2,
        metadata=about("the ratio is clipped below 1 - epsilon, and above 1 + epsilon", "TRL, verl", above=0),
    )
    epsilon_high: float = field(
        default=0.0,
        metadata=about("the ratio is clipped above 1 + epsilon_high; 0: at 1 + epsilon", "TRL epsilon_high", low=0),
    )
    ratio_cap: float = field(
        default=0.0,
        metadata=about(
            "two-sided clip: the ratio never counts more than this, whatever the sign of the advantage",
            "TRL delta; INTELLECT-2 has 4", above=1, off=True,
        ),
    )  # fmt: skip
    dual_clip: float = field(
        default=0.0,
        metadata=about(
            "loss of a negative advantage is at most this times it",
            "verl clip_ratio_c has 3 (arXiv:1912.09729)", above=1, off=True,
        ),
    )  # fmt: skip
    kl_coef: float = field(
        default=0.0,
        metadata=about(
            "weight of the estimate of KL(policy || reference); needs a reference model",
            "TRL beta; GRPO's paper has 0.04",
            low=0,
        ),
    )
    kl_estimator: kl.Estimator = field(
        default="k3",
        metadata=about(
            "k1: log ratio, k2: half its square, k3: exp(-k1) - 1 + k1",
            "GRPO's paper; Schulman 2020",
            choices=get_args(kl.Estimator),
        ),
    )
    kl_place: kl.Place = field(
        default="loss",
        metadata=about(
            "loss: a term of every token with its gradient; reward: subtracted from the rollout's reward",
            "GRPO's paper: loss; RLOO, REINFORCE++: reward",
            choices=get_args(kl.Place),
        ),
    )
    kl_weighted: bool = field(
        default=False,
        metadata=about(
            "multiply the estimate in the loss by the importance ratio, gradient included",
            "TRL use_bias_correction_kl, true there; DeepSeek-V3.2",
        ),
    )
    entropy_coef: float = field(
        default=0.0, metadata=about("weight of the policy's entropy, a bonus in the loss", "verl entropy_coeff", low=0)
    )
    overlong_limit: int = field(
        default=0,
        metadata=about("length in tokens at which the penalty is 1; 0: no penalty", "DAPO paper: 20480", low=0),
    )
    overlong_cache: int = field(
        default=4096, metadata=about("tokens over which the penalty grows from 0 to 1", "DAPO paper", low=1)
    )
    mask_truncated: bool = field(
        default=False,
        metadata=about(
            "leave rollouts that were cut off out of the loss (they still count in the group's statistics)",
            "TRL mask_truncated_completions",
        ),
    )
    redundancy_coef: float = field(
        default=0.0,
        metadata=about(
            "divides a reward by 1 + this times the similarity to the rest of the group, right or wrong",
            "DRA-GRPO, arXiv:2505.09655", low=0,
        ),
    )  # fmt: skip
    embedder: Embedder = field(
        default="hash",
        metadata=about(
            "embedding of the texts: hash sees wording (character trigrams), minilm meaning (a small model)",
            "ours",
            choices=get_args(Embedder),
        ),
    )
    embedded_part: texts.Part = field(
        default="whole",
        metadata=about(
            "what of a completion is embedded: all of it, or the reasoning before the answer",
            "ours",
            choices=get_args(texts.Part),
        ),
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            check(self.name, option, getattr(self, option.name), used_by(type(self), option))

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """What this instance does, with its hyper-parameters filled in."""

    # which rollouts are drawn

    def draw(self, problems: Sequence[Problem], sampler: Sampler) -> list[Group]:
        """``collect``, with what the rewards need beside the verdicts: embeddings, reference log-probabilities."""
        groups = self.collect(problems, sampler)
        if self.embeds and groups:
            parts = [texts.part_of(r.text, self.embedded_part) for group in groups for r in group.rollouts]
            rows = sampler.embed(parts, self.embedder)
            ends = np.cumsum([len(group.rollouts) for group in groups])[:-1]
            groups = [replace(g, embeddings=part) for g, part in zip(groups, np.split(rows, ends), strict=True)]
        if self.reference_in_reward and groups:
            scores = iter(sampler.reference_logprobs([r for group in groups for r in group.rollouts]))
            groups = [
                replace(g, rollouts=tuple(replace(r, ref_logprobs=next(scores)) for r in g.rollouts)) for g in groups
            ]
        return groups

    def collect(self, problems: Sequence[Problem], sampler: Sampler) -> list[Group]:
        """The groups to learn from; an empty list means no update. Here: one group for each problem."""
        return sampler.sample(problems, self.group_size)

    # what each rollout is worth

    def advantages(self, groups: Sequence[Group]) -> Advantages:
        """What each rollout is worth: named float64 arrays, (rollouts of the batch,) or, with a value for each
        token, (rollouts of the batch, longest), 0 behind a rollout's end.

        They are in the order of the groups and of the rollouts within a group. Values are finite, and
        0 for a rollout that was not scored. The names are the algorithm's own, read by its ``loss``. Every
        array is an advantage: a rollout carries a signal when it is non-zero in any of them, and only such
        rollouts move the policy unless ``every_rollout_counts``.

        Here: "advantage" = (r - mean) / (std + std_eps) within the group, ddof 1.
        """
        return {"advantage": group_stats.flatten(self._standardise(self.rewards(group)) for group in groups)}

    def rewards(self, group: Group) -> Array:
        """What the advantage is made of, shape (rollouts,); NaN for unscored. Here: the score, ``shaped``."""
        return self.shaped(group, group.rewards)

    def shaped(self, group: Group, rewards: Array) -> Array:
        """Rewards, shape (rollouts,), after the ingredients that act on them: redundancy, length, KL."""
        if self.redundancy_coef:
            if group.embeddings is None:
                raise ValueError(f"{self.name}: {group.problem.id} needs embeddings for the redundancy penalty")
            rewards = redundancy.discounted(rewards, group.embeddings, self.redundancy_coef)
        if self.overlong_limit:
            rewards = rewards + overlong_penalty(group.lengths, self.overlong_limit, self.overlong_cache)
        if self.reference_in_reward:
            rewards = rewards - self.kl_coef * np.array([self.token_kl(r).sum() for r in group.rollouts])
        return rewards

    def token_kl(self, rollout: Rollout) -> Array:
        """The KL estimate at each token of a drawn rollout, shape (tokens,); 0 for a text no policy drew."""
        if rollout.logprobs is None:
            return np.zeros(len(rollout.tokens))
        if rollout.ref_logprobs is None:
            raise ValueError(f"{self.name}: {rollout.problem_id} has no reference log-probabilities")
        return kl.estimate_array(rollout.logprobs, rollout.ref_logprobs, self.kl_estimator)

    # how the policy moves

    def loss(self, batch: Batch, advantages: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The micro-batch's part of the batch's loss, and of its metrics; parts add up to the whole.

        ``advantages`` holds this micro-batch's slice of each array, as (rollouts, 1) or (rollouts, tokens).
        """
        per_token, clipped = self.policy_loss(batch, advantages)
        if self.reference_in_loss and self.kl_coef:
            per_token = per_token + self.kl_coef * self._loss_kl(batch)
        if batch.entropies is not None:
            per_token = per_token - self.entropy_coef * batch.entropies
        return self.aggregate(per_token, batch), {"clip_fraction": clip.token_share(clipped, batch.mask, batch.totals)}

    def _loss_kl(self, batch: Batch) -> Tensor:
        estimate = kl.estimate(batch.logprobs, batch.ref_logprobs, self.kl_estimator)
        return estimate * self.ratio(batch) if self.kl_weighted else estimate

    def policy_loss(self, batch: Batch, advantages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss at each token, (rollouts, tokens), and 1.0 where clipping stops its gradient.

        A sequence-level loss may be (rollouts, 1). Here: the clipped surrogate.
        """
        return self.surrogate(self.ratio(batch), advantages["advantage"])

    def surrogate(self, ratio: Tensor, advantage: Tensor) -> tuple[Tensor, Tensor]:
        """The clipped surrogate with this algorithm's clip values."""
        high = self.epsilon_high or self.epsilon
        return clip.surrogate(ratio, advantage, self.epsilon, high, self.dual_clip or None, self.ratio_cap or None)

    def ratio(self, batch: Batch) -> Tensor:
        """The importance ratio, (rollouts, tokens) or (rollouts, 1). Here: of each token."""
        return clip.token_ratio(batch.logprobs, batch.old_logprobs)

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        """One number of all token losses. Here: the mean over each rollout's tokens, then over rollouts."""
        return clip.mean_of_sequence_means(per_token, batch.mask, batch.totals)

    # what the harness has to provide

    @property
    def embeds(self) -> bool:
        """Whether the rewards need embeddings of the texts."""
        return self.redundancy_coef > 0

    @property
    def reference_in_loss(self) -> bool:
        """Whether the loss reads the reference model's log-probabilities."""
        return self.kl_coef > 0 and self.kl_place == "loss"

    @property
    def reference_in_reward(self) -> bool:
        """Whether the rewards do."""
        return self.kl_coef > 0 and self.kl_place == "reward"

    @property
    def every_rollout_counts(self) -> bool:
        """Whether a rollout without advantage moves the policy too, through a KL or entropy term."""
        return (self.kl_coef > 0 and self.kl_place == "loss") or self.entropy_coef > 0

    def trains_on(self, rollout: Rollout) -> bool:
        """Whether the rollout is in the loss at all (``mask_truncated``)."""
        return not (self.mask_truncated and rollout.finish_reason == "length")

    def state_dict(self) -> dict[str, Any]:
        """What has to survive a resume, as JSON data; nothing unless the algorithm keeps a history."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` gave. Raises ValueError for a state that this algorithm does not keep."""
        if state:
            raise ValueError(f"{self.name} keeps no state, but the checkpoint has {', '.join(state)}")

    def _standardise(self, rewards: Array) -> Array:
        return group_stats.standardise(rewards, eps=self.std_eps)

    @property
    def plain_recipe(self) -> Recipe:
        """The recipe of the hooks as they are here, to be changed where an optimizer differs."""
        return Recipe(
            title="GRPO: Group Relative Policy Optimization",
            citation="Shao et al. 2024, arXiv:2402.03300",
            baseline="(r - mean r)",
            scale=f"(std with ddof 1 + {self.std_eps:g})",
            normalised_over="group",
            shaping=wording.shaping(self),
            ratio="token",
            clip=wording.clip(self),
            aggregation="mean over each rollout's tokens, then over rollouts",
            kl=wording.kl(self),
            entropy=wording.entropy(self),
            sampling=f"{self.group_size} rollouts for each problem",
            cost=wording.cost(self, f"{self.group_size} rollouts"),
            signal_free="advantage 0",
            supervision="verdict only",
        )
