"""Importance ratios, clipped surrogates, and how token losses are summed.

Tensors are (rollouts, tokens), padded on the right with finite values; a sequence-level quantity is
(rollouts, 1) and broadcasts. Only methods of tensors are used, so that importing this needs no torch.

Every sum is divided by a size of the whole optimizer batch (``totals``), never of the micro-batch: losses,
gradients and metrics of the micro-batches then add up to those of the batch, however it was cut. A rollout
without tokens counts as a sequence of loss 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

# exp() of more overflows in float32, and inf in the branch that clipping discards makes its gradient NaN.
# verl limits log-ratios alike. No ratio near the clip range is touched.
LOG_RATIO_LIMIT = 20.0


class Sizes(Protocol):
    """What is read of ``base.Totals``."""

    @property
    def rollouts(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def max_new_tokens(self) -> int: ...


def token_ratio(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """pi(token) / pi_old(token), (rollouts, tokens)."""
    return (logprobs - old_logprobs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def sequence_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """exp(mean over the sequence's tokens of log pi - log pi_old), (rollouts, 1).

    GSPO's ratio (arXiv:2507.18071): the sequence ratio to the power 1/length. The gradient passes through
    every token's log-probability. 1 for a rollout without tokens.
    """
    total = ((logprobs - old_logprobs) * mask).sum(dim=1, keepdim=True)
    mean = total / mask.sum(dim=1, keepdim=True).clamp(min=1.0)
    return mean.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def sequence_sum_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """pi(sequence) / pi_old(sequence), the product of its tokens' ratios, (rollouts, 1): RLOO's (arXiv:2402.14740).

    1 for a rollout without tokens.
    """
    total = ((logprobs - old_logprobs) * mask).sum(dim=1, keepdim=True)
    return total.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def surrogate(
    ratio: Tensor,
    advantage: Tensor,
    eps_low: float,
    eps_high: float,
    dual_clip: float | None = None,
    ratio_cap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """-min(ratio A, clip(ratio, 1 - eps_low, 1 + eps_high) A), and 1.0 where clipping stops the gradient.

    For a negative advantage that has no upper end: a text which became much likelier since it was drawn is pushed
    down without limit. Two ways to limit it: ``dual_clip`` c > 1 bounds its loss by -c A (arXiv:1912.09729),
    ``ratio_cap`` caps the ratio of the first term (the two-sided clip of INTELLECT-2, arXiv:2505.07291).
    Both results have the broadcast shape of ``ratio`` and ``advantage``; the second has no gradient.
    """
    first = ratio if ratio_cap is None else ratio.clamp(max=ratio_cap)
    plain = -advantage * first
    limited = -advantage * ratio.clamp(1.0 - eps_low, 1.0 + eps_high)
    loss = plain.maximum(limited)
    clipped = limited > plain
    if ratio_cap is not None:
        clipped = clipped | ((advantage < 0) & (ratio > ratio_cap))
    if dual_clip is not None:
        ceiling = -advantage * dual_clip
        beyond = (advantage < 0) & (loss > ceiling)
        loss = ceiling.where(beyond, loss)
        clipped = clipped | beyond
    return loss, clipped.to(loss.dtype)


def score_function(logprobs: Tensor, advantage: Tensor) -> tuple[Tensor, Tensor]:
    """-A log pi, the plain policy gradient: there is no ratio, and so nothing is ever clipped. As ``surrogate``."""
    per_token = -advantage * logprobs
    return per_token, per_token.detach() * 0.0


def mean_of_sequence_means(per_token: Tensor, mask: Tensor, totals: Sizes) -> Tensor:
    """Mean over each rollout's tokens, then over rollouts (GRPO): every rollout weighs the same. Scalar."""
    lengths = mask.sum(dim=1).clamp(min=1.0)
    return ((per_token * mask).sum(dim=1) / lengths).sum() / max(totals.rollouts, 1)


def token_mean(per_token: Tensor, mask: Tensor, totals: Sizes) -> Tensor:
    """Mean over all tokens of the batch (DAPO): a long rollout weighs more than a short one. Scalar."""
    return (per_token * mask).sum() / max(totals.tokens, 1)


def token_sum_over_budget(per_token: Tensor, mask: Tensor, totals: Sizes) -> Tensor:
    """Sum over tokens, divided by rollouts times the longest allowed length (Dr. GRPO, arXiv:2503.20783). Scalar.

    The weight of a token then depends on no one's length.
    """
    return (per_token * mask).sum() / max(totals.rollouts * totals.max_new_tokens, 1)


def mean_of_sequence_sums(per_token: Tensor, mask: Tensor, totals: Sizes) -> Tensor:
    """Sum over each rollout's tokens, mean over rollouts: the gradient of a sequence's log-probability. Scalar."""
    return (per_token * mask).sum() / max(totals.rollouts, 1)


def token_share(indicator: Tensor, mask: Tensor, totals: Sizes) -> Tensor:
    """Share of the batch's tokens for which ``indicator`` is 1.0: a metric, without gradient. Scalar."""
    return token_mean(indicator.detach(), mask, totals)
