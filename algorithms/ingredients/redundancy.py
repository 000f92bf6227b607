"""A reward that falls with the similarity to the rest of the group, whether the rollout is right or wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def discounted(rewards: Array, embeddings: Array, coef: float) -> Array:
    """r_i / (1 + coef s_i) with s_i = sum over the others of <e_i, e_j>, shape (n,). DRA-GRPO, arXiv:2505.09655.

    s_i is the graph-cut submodular mutual information of a completion and the rest of its group. ``rewards``:
    (n,); ``embeddings``: (n, d), unit rows. NaN stays NaN, and an unscored rollout is nobody's neighbour.

    It is not gated on correctness: a right answer loses as much by resembling wrong ones as by resembling right
    ones. That makes it the control for a diversity method that is gated, such as the cooperative GCPO.

    With ``coef`` 1 this is the authors' code (xiwenc1/DRA-GRPO: 1 / (row sum of the cosines + 1e-6), the row's own
    1 included) but for three things. Its rows run over all texts of a process, whatever their prompt; here over
    the group, as in the paper. A negative s_i, which would raise the reward without limit as it nears -1, counts
    0. And a negative reward is multiplied by the factor: divided, as in the code, the more redundant rollout would
    be the better paid. Verifiers' scores are in [0, 1] and never come to that.
    """
    scored = ~np.isnan(rewards)
    rows = embeddings[scored]
    # Equal texts get equal factors to the last bit, so that a group of them has no contrast: a matrix product
    # could set their rows apart by its blocking, and a sum by its order.
    similarity = np.einsum("id,jd->ij", rows, rows)
    np.fill_diagonal(similarity, 0.0)
    factor = 1.0 + coef * np.sort(similarity, axis=1).sum(axis=1).clip(min=0.0)
    result = rewards.copy()
    result[scored] = np.where(rewards[scored] < 0, rewards[scored] * factor, rewards[scored] / factor)
    return result
