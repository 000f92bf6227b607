"""Embeddings: unit rows, sane neighbours, and a clear error for a name that does not exist."""

from __future__ import annotations

import numpy as np
import pytest

from groupwise.harness.embedders import embed

TEXTS = [
    "Tom has 3 apples and buys 4 more, so he has 7 apples.",
    "Tom has 3 apples, buys 4 more and now has 7 apples.",
    "Quadratic reciprocity relates two Legendre symbols.",
]


@pytest.mark.parametrize("embedder", ["hash", "minilm"])
def test_unit_rows_and_the_paraphrase_is_nearer(embedder: str) -> None:
    rows = embed(TEXTS, embedder)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0)
    similarity = rows @ rows.T
    assert similarity[0, 1] > 0.6 > similarity[0, 2]


def test_hash_embeddings_are_fixed_and_defined_for_nothing() -> None:
    rows = embed(["", "a", "a"], "hash")
    assert np.array_equal(rows[1], rows[2])
    assert np.isfinite(rows).all()


def test_unknown_embedder() -> None:
    with pytest.raises(ValueError, match="'word2vec': expected 'hash' or 'minilm'"):
        embed(["a"], "word2vec")
