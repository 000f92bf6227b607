"""Rollouts of an engine that is not quite the policy: how far it is off, and the weights that correct for it.

The engine draws tokens from q, the trainer computes the gradient of p, with the same weights but other sums (another
program, another precision). So the "on-policy" gradient is one under q. Each policy-loss term is multiplied by

    w = min(p_old / q, cap)

where p_old is the trainer's probability before the update and q the engine's, of the token that was drawn (``token``)
or of the whole completion (``sequence``): truncated importance sampling, Yao et al. 2025, "Your Efficient RL Framework
Secretly Brings You Off-Policy RL Training"; the truncation is Ionides 2008, doi:10.1198/106186008X320456. With
``sequence`` and no cut-off the gradient is unbiased; ``token`` leaves out the tokens before, and is biased a little
with far less variance. The ratio p / p_old that is clipped stays the trainer's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from groupwise.algorithms.base import Algorithm

Kind = Literal["none", "token", "sequence"]

LARGE_GAP = 0.05  # nats a token on average; bfloat16 against float32 is below that on the models we have seen


@dataclass(frozen=True)
class Correction:
    """What is done about an engine whose log-probabilities are not the trainer's."""

    kind: Kind = "none"
    cap: float = 2.0

    def weights(self, trainer: Tensor, engine: Tensor, known: Tensor) -> Tensor | None:
        """What to multiply the advantages by: (rollouts, tokens), (rollouts, 1), or None for no correction.

        ``trainer``, ``engine``: log-probabilities of the drawn tokens before the update, (rollouts, tokens);
        ``known``: 1.0 where the engine has one, 0.0 on padding and on texts that it did not draw, whose weight is 1.
        """
        if self.kind == "none":
            return None
        log_ratio = (trainer.detach() - engine) * known
        if self.kind == "sequence":
            log_ratio = log_ratio.sum(1, keepdim=True)
        return log_ratio.exp().clamp(max=self.cap)


@dataclass(frozen=True)
class Gap:
    """The difference of log-probabilities, trainer's minus engine's, over ``tokens``; parts add up.

    ``absolute``, ``k3``: sums; ``largest``: of the absolute differences. k3 = exp(d) - 1 - d estimates
    KL(engine || trainer) without bias, as the tokens are the engine's (Schulman 2020).
    """

    tokens: int = 0
    absolute: float = 0.0
    largest: float = 0.0
    k3: float = 0.0

    def __add__(self, other: Gap) -> Gap:
        largest = max(self.largest, other.largest)
        return Gap(self.tokens + other.tokens, self.absolute + other.absolute, largest, self.k3 + other.k3)

    def row(self) -> dict[str, float | None]:
        """As it stands in the record of a step: nats per token; None where no token was scored."""
        if not self.tokens:
            return {"engine_gap_mean": None, "engine_gap_max": None, "engine_gap_kl": None}
        mean, kl = self.absolute / self.tokens, self.k3 / self.tokens
        return {"engine_gap_mean": mean, "engine_gap_max": self.largest, "engine_gap_kl": kl}


def gap(trainer: Tensor, engine: Tensor, known: Tensor) -> Gap:
    """The gap on the tokens where ``known`` is 1.0; all (rollouts, tokens)."""
    tokens = int(known.sum())
    if not tokens:
        return Gap()
    difference = (trainer.detach() - engine).double() * known
    absolute = difference.abs()
    k3 = difference.exp() - 1 - difference
    return Gap(tokens, float(absolute.sum()), float(absolute.max()), float(k3.sum()))


def refusal(algorithm: Algorithm, kind: Kind) -> str | None:
    """Why this correction is not right for that optimizer; None when it is.

    Weights are multiplied onto the advantages, which is the same as onto the terms of the loss wherever the loss is
    linear in them up to their sign. With a sequence-level ratio a token's gradient holds the advantages of
    all tokens, so that only one weight for the whole completion goes through.
    """
    if kind == "none":
        return None
    if algorithm.whole_groups:
        return f"{algorithm.name} compares completions in pairs: it has no terms to weigh; expected 'none'"
    if kind == "token" and algorithm.recipe.ratio.startswith("sequence"):
        return f"{algorithm.name} has a ratio for the whole completion; expected 'sequence' or 'none'"
    return None
