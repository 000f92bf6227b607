"""Importance ratios, clipped surrogates, the KL penalty, and how token losses are summed.

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


def surrogate(
    ratio: Tensor,
    advantage: Tensor,
    eps_low: float,
    eps_high: float,
    dual_clip: float | None = None,
) -> tuple[Tensor, Tensor]:
    """-min(ratio A, clip(ratio, 1 - eps_low, 1 + eps_high) A), and 1.0 where clipping stops the gradient.

    ``dual_clip`` c > 1 also bounds the loss of a negative advantage by -c A (arXiv:1912.09729), so that a
    text which became much likelier since it was drawn is not pushed down without limit.
    Both results have the broadcast shape of ``ratio`` and ``advantage``; the second has no gradient.
    """
    plain = -advantage * ratio
    limited = -advantage * ratio.clamp(1.0 - eps_low, 1.0 + eps_high)
    loss = plain.maximum(limited)
    clipped = limited > plain
    if dual_clip is not None:
        ceiling = -advantage * dual_clip
        beyond = (advantage < 0) & (loss > ceiling)
        loss = ceiling.where(beyond, loss)
        clipped = clipped | beyond
    return loss, clipped.to(loss.dtype)


def kl_penalty(logprobs: Tensor, ref_logprobs: Tensor | None, coef: float) -> Tensor | float:
    """coef * (exp(d) - d - 1) per token with d = log pi_ref - log pi: Schulman's k3 estimate of the KL.

    0.0 when ``coef`` is 0. Raises ValueError when a penalty is asked for without reference log-probabilities.
    """
    if not coef:
        return 0.0
    if ref_logprobs is None:
        raise ValueError(f"kl_coef is {coef:g} but the batch has no reference log-probabilities")
    difference = (ref_logprobs - logprobs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return coef * (difference.exp() - difference - 1.0)


def mean_of_sequence_means(per_token: Tensor, mask: Tensor, totals: Sizes) -> Tensor:
    """Mean over each rollout's tokens, then over rollouts (GRPO): every rollout weighs the same. Scalar."""
    lengths = mask.sum(dim=1).clamp(min=1.0)
    return ((per_token * mask).sum(dim=1) / lengths).sum() / max(totals.rollouts, 1)


def token_mean(per_token: Tensor, mask: Tensor, totals: Sizes) -> Tensor:
    """Mean over all tokens of the batch (DAPO): a long rollout weighs more than a short one. Scalar."""
    return (per_token * mask).sum() / max(totals.tokens, 1)


def token_share(indicator: Tensor, mask: Tensor, totals: Sizes) -> Tensor:
    """Share of the batch's tokens for which ``indicator`` is 1.0: a metric, without gradient. Scalar."""
    return token_mean(indicator.detach(), mask, totals)
