"""What a rollout's length does to its reward."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def overlong_penalty(lengths: Array, limit: int, cache: int) -> Array:
    """0 up to limit - cache tokens, then linear to -1 at the limit, -1 beyond, shape (rollouts,).

    DAPO's soft overlong punishment (arXiv:2503.14476, eq. 13).
    """
    penalty: Array = np.clip((limit - cache - lengths) / cache, -1.0, 0.0)
    return penalty
