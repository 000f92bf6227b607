"""The value of a team of rollouts, and each member's share in it.

Volume of a team S under a kernel K: V(S) = log det(I + K_S). The identity keeps it finite when members
coincide, and makes it monotone and submodular: a duplicate adds less, a zero row adds nothing.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_MEMBERS = 12  # 2^12 determinants of 12 x 12: 5 MB and some tens of milliseconds


def volumes(kernel: Array, members: NDArray[np.bool_]) -> Array:
    """V of each team, shape (teams,). ``kernel``: (n, n); ``members``: (teams, n), True for those in it."""
    # Rows and columns of absent members become those of the identity, which leaves the determinant alone.
    inside = members[:, :, None] & members[:, None, :]
    matrices = np.eye(len(kernel)) + np.where(inside, kernel, 0.0)
    logdet: Array = np.linalg.slogdet(matrices)[1]
    return logdet


def leave_one_out(kernel: Array) -> Array:
    """V(all) - V(all without i), shape (n,)."""
    n = len(kernel)
    everyone = np.ones((1, n), dtype=bool)
    return volumes(kernel, everyone) - volumes(kernel, ~np.eye(n, dtype=bool))


def shapley(kernel: Array) -> Array:
    """Marginal contribution of each member averaged over all orders of joining, shape (n,); sums to V(all).

    Exact, by enumerating the 2^n teams. Raises ValueError for more than MAX_MEMBERS members.
    """
    n = len(kernel)
    if n > MAX_MEMBERS:
        raise ValueError(f"exact Shapley values of {n} members: at most {MAX_MEMBERS} can be enumerated")
    teams = np.arange(2**n)  # bit i of a team's number says whether member i is in it
    value = volumes(kernel, (teams[:, None] >> np.arange(n) & 1).astype(bool))
    credit = np.zeros(n)
    for member in range(n):
        without = teams[(teams >> member & 1) == 0]
        # Of all orders, 1 / (n * C(n-1, size)) let exactly this team stand before the member.
        share = np.array([1 / (n * comb(n - 1, int(team).bit_count())) for team in without])
        credit[member] = (share * (value[without | 1 << member] - value[without])).sum()
    return credit
