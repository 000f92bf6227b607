"""Statistics of one group of rewards, in float64.

NaN stands for a rollout that could not be scored: it is left out of every mean and deviation, and its
advantage is exactly 0. A group without contrast (equal rewards, one scored member, none) gives exactly 0
everywhere, which is tested on the rewards themselves: a mean of equal numbers can be off by a rounding
error, and a division by a tiny deviation would turn that error into a gradient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def has_contrast(rewards: Array, tolerance: float = 0.0) -> bool:
    """Whether two scored rewards differ by more than ``tolerance``."""
    scored = rewards[~np.isnan(rewards)]
    return bool(scored.size and scored.max() - scored.min() > tolerance)


def centre(rewards: Array, tolerance: float = 0.0) -> Array:
    """r - mean(r) over the scored members, shape (members,); 0 for unscored ones and without contrast.

    ``tolerance`` is for values that are computed, not given: a spread up to it is a rounding error.
    """
    centred = np.zeros(rewards.shape)
    if has_contrast(rewards, tolerance):
        scored = ~np.isnan(rewards)
        # The distance from the smallest is exact for rewards with a large common offset.
        above = rewards[scored] - rewards[scored].min()
        centred[scored] = above - above.mean()
    return centred


def standardise(
    rewards: Array,
    eps: float = 1e-4,
    ddof: int = 1,
    divide_by_std: bool = True,
    tolerance: float = 0.0,
) -> Array:
    """(r - mean) / (std + eps) over the scored members, shape (members,).

    ``ddof`` 1 is the sample deviation (TRL and verl), 0 that of the population. Without ``divide_by_std``
    it is ``centre``. 0 for unscored members and for groups without contrast.
    """
    centred = centre(rewards, tolerance)
    if not divide_by_std or not centred.any():
        return centred
    scored = ~np.isnan(rewards)
    std = np.sqrt((centred[scored] ** 2).sum() / (scored.sum() - ddof))
    return divided(centred, std + eps)  # without eps the squares of tiny differences underflow to 0


def deviation(values: Array, ddof: int = 1) -> float:
    """Standard deviation of the scored members; exactly 0 when they are all equal, or none."""
    centred = centre(values)
    return float(np.sqrt((centred**2).sum() / (np.count_nonzero(~np.isnan(values)) - ddof))) if centred.any() else 0.0


def divided(values: Array, by: float) -> Array:
    """values / by; 0 when there is nothing to divide by, as in ``standardise``."""
    return values / by if by else np.zeros(values.shape)


def whiten(values: Array, weights: Array, eps: float = 1e-8) -> Array:
    """(x - mean) / sqrt(variance + eps), of the shape of ``values``, where each value counts ``weights`` times.

    With the numbers of tokens as weights it is what verl does (``masked_whiten``): Bessel's correction is that of
    all tokens, and eps stands under the root. 0 where the weight is 0, and everywhere without contrast.
    """
    whitened, counted = np.zeros(values.shape), weights > 0
    if has_contrast(values[counted]):
        above, times = values[counted] - values[counted].min(), weights[counted]
        centred = above - np.average(above, weights=times)
        variance = (times * centred**2).sum() / (times.sum() - 1.0)
        whitened[counted] = centred / np.sqrt(variance + eps)
    return whitened


def scored_mean(rewards: Array) -> float:
    """Mean of the scored members; NaN when there are none."""
    scored = rewards[~np.isnan(rewards)]
    return float(scored.mean()) if scored.size else float("nan")


def answer_entropy(answers: Sequence[Hashable]) -> float:
    """Entropy of the answers in bits: -sum p log2(p); 0 for no answers.

    None (nothing could be extracted) is a class of its own, as in COPO's code. That code adds 1e-8 inside
    the logarithm, which moves the result by less than 1e-7 and makes a unanimous group slightly negative;
    it is left out here.
    """
    shares = np.array(list(Counter(answers).values())) / max(len(answers), 1)
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # + 0.0 turns -0.0 into 0.0


def flatten(parts: Iterable[Array]) -> Array:
    """The groups' arrays end to end: one value per rollout of the batch. No groups: shape (0,)."""
    return np.concatenate([np.zeros(0), *parts])
