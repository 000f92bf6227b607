"""Estimates of KL(policy || reference) from single tokens (Schulman 2020, "Approximating KL divergence").

With d = log pi - log pi_ref of a token that the policy drew:

    k1 = d                    unbiased, of either sign
    k2 = d^2 / 2              never negative, low variance, biased
    k3 = exp(-d) - 1 + d      never negative, unbiased

In a loss their gradients are not what the values suggest: that of k1 has mean zero, that of k2 is the gradient of
the KL, that of k3 is another divergence's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Estimator = Literal["k1", "k2", "k3"]
Place = Literal["loss", "reward"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)
LIMIT = 20.0  # on |d|: exp() of more overflows in float32; verl limits it alike


def estimate(logprobs: Tensor, ref_logprobs: Tensor | None, estimator: Estimator) -> Tensor:
    """The estimate at each token, in nats, of the shape of ``logprobs``.

    Raises ValueError when there are no reference log-probabilities.
    """
    if ref_logprobs is None:
        raise ValueError("a KL term needs the log-probabilities of a reference model, and the batch has none")
    difference = (logprobs - ref_logprobs).clamp(-LIMIT, LIMIT)
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference * difference / 2.0
    return (-difference).exp() - 1.0 + difference


def estimate_array(
    logprobs: Sequence[float], ref_logprobs: Sequence[float], estimator: Estimator
) -> NDArray[np.float64]:
    """The same for one rollout, shape (tokens,)."""
    difference = np.clip(np.subtract(logprobs, ref_logprobs, dtype=np.float64), -LIMIT, LIMIT)
    values: dict[Estimator, NDArray[np.float64]] = {
        "k1": difference,
        "k2": difference**2 / 2.0,
        "k3": np.expm1(-difference) + difference,
    }
    return values[estimator]
