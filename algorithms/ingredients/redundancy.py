"""A reward that falls with the similarity to the rest of the group, whether the rollout is right or wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def discounted(rewards: Array, embeddings: Array, coef: float) -> Array:
    """r_i / (1 + coef sum_{j != i} <e_i, e_j>), shape (n,)."""
    scored = ~np.isnan(rewards)
    rows = embeddings[scored]
    similarity = (rows @ rows.T).clip(min=0.0)
    result = rewards.copy()
    result[scored] = rewards[scored] / (1.0 + coef * (similarity.sum(1) - 1.0))
    return result
