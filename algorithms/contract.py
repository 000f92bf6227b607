"""What passes between an algorithm and whoever runs it: rollouts, groups, batches, the sampler, the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
DrawnStage = Literal["final", "draft"]
Stage = Literal["final", "draft", "reference"]
SignalFree = Literal["all_wrong", "all_right"]


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
        """Log-probabilities of each rollout's tokens under the frozen reference model.

        For a rollout with ``logprobs`` they are those minus log pi - log pi_ref, both from one pass: whatever the
        pass that sampled adds to its own (in bfloat16 a tenth of a nat) must not look like a KL.
        """
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
    without contrast that can have a non-zero advantage, ``signal_free`` says in words what happens to them;
    ``learns_from_contrast`` is False for one that has no use for mixed groups.
    ``cost`` is what one problem of a step costs. ``trl`` and ``verl`` are the settings of those libraries that come
    closest, "" where there are none. ``known_from`` says what of its sources was read;
    ``reconstruction`` marks an optimizer whose formulas stand in none of them, and are ours.
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
    masking: str
    sampling: str
    cost: str
    signal_free: str
    supervision: Literal["verdict only", "reference solutions", "list of valid answers"]
    learns_from: tuple[SignalFree, ...] = ()
    learns_from_contrast: bool = True
    trl: str = ""
    verl: str = ""
    known_from: str = "the code of TRL and verl"
    reconstruction: bool = False
    deviations: tuple[str, ...] = ()

    def formula(self) -> str:
        """The recipe as one readable line."""
        advantage = f"A = {self.baseline}" + (f" / {self.scale}" if self.scale != "1" else "")
        parts = {
            "reward": self.shaping, "ratio": self.ratio, "clip": self.clip, "sum": self.aggregation,
            "KL": self.kl, "entropy": self.entropy, "masked": self.masking,
        }  # fmt: skip
        said = [f"{name}: {words}" for name, words in parts.items() if name in ("ratio", "clip", "sum", "KL") or words]
        return "; ".join([f"{advantage} over the {self.normalised_over}", *said])


Advantages = Mapping[str, Array]
