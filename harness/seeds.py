"""Randomness by address, not by state.

Every random number is a function of what it is for: (run seed, problem, draw, ...). So two optimizers
that reach the same problem for the n-th time meet the same numbers (common random numbers), batches
can be cut anywhere, and a resumed run has no generator state to restore.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Part = str | int


def seed_of(*parts: Part) -> int:
    """A 128-bit key for the address ``parts``; distinct addresses give independent keys."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "little")


def generator(*parts: Part) -> np.random.Generator:
    """A counter-based generator (Philox) for the address ``parts``."""
    return np.random.Generator(np.random.Philox(key=seed_of(*parts)))


def uniforms(seed: int, n: int) -> NDArray[np.float64]:
    """The n uniform numbers in [0, 1) of a rollout's seed (``seed_of`` its address), shape (n,): one for each token."""
    return np.random.Generator(np.random.Philox(key=seed)).random(n)


def torch_seed(*parts: Part) -> int:
    """A 63-bit seed for the few places where torch draws by itself (LoRA's first weights)."""
    return seed_of(*parts) & (2**63 - 1)
