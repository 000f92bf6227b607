"""Embeddings: unit rows, sane neighbours, each text's row its own, and a clear error for an unknown name."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from groupwise.harness import embedders
from groupwise.harness.embedders import embed

EMBEDDERS = ["hash", "minilm"]

TEXTS = [
    "Tom has 3 apples and buys 4 more, so he has 7 apples.",
    "Tom has 3 apples, buys 4 more and now has 7 apples.",
    "Quadratic reciprocity relates two Legendre symbols.",
]


every_embedder = pytest.mark.parametrize("embedder", EMBEDDERS)


def _many(n: int) -> list[str]:
    """Different texts of one to some 120 words."""
    rng = np.random.default_rng(0)
    words = " ".join(TEXTS).split()
    lengths = np.concatenate([np.arange(1, 4), rng.integers(4, 25, n - 6), rng.integers(60, 120, 3)])
    return [f"{i} " + " ".join(rng.choice(words, length)) for i, length in enumerate(lengths)]


def _forget() -> None:
    embedders._hash_row.cache_clear()
    embedders._minilm_row.cache_clear()


@every_embedder
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


@every_embedder
def test_a_row_depends_on_no_other_text_and_on_nothing_embedded_before(embedder: str) -> None:
    texts = _many(60)
    _forget()
    together = embed(texts, embedder)
    np.testing.assert_array_equal(embed(texts[::-1], embedder), together[::-1])  # all remembered
    _forget()
    np.testing.assert_array_equal(embed(texts[::-1], embedder), together[::-1])  # none
    _forget()
    embed(texts[20:40:2], embedder)
    np.testing.assert_array_equal(embed(texts, embedder), together)  # some
    for i in (0, 30, 59):
        _forget()
        np.testing.assert_array_equal(embed([texts[i]], embedder)[0], together[i])


@every_embedder
def test_equal_texts_have_equal_rows(embedder: str) -> None:
    rows = embed([TEXTS[0], TEXTS[1], TEXTS[0]], embedder)
    np.testing.assert_array_equal(rows[0], rows[2])
    assert (rows[0] != rows[1]).any()


def test_a_text_goes_through_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        encoded: ClassVar[list[str]] = []

        def encode(self, texts: list[str], **options: object) -> np.ndarray:
            self.encoded += texts
            return np.full((len(texts), 384), 384**-0.5, dtype=np.float32)

    _forget()
    monkeypatch.setattr(embedders, "_minilm", Model)
    embed(["a", "b", "a"], "minilm")
    embed(["b", "c", "c"], "minilm")
    _forget()
    assert Model.encoded == ["a", "b", "c"]


def test_what_is_remembered_is_bounded() -> None:
    for row in (embedders._hash_row, embedders._minilm_row):
        assert row.cache_parameters()["maxsize"] == embedders.REMEMBERED


@every_embedder
def test_writing_into_the_rows_changes_no_later_ones(embedder: str) -> None:
    rows = embed(["a"], embedder)
    before = rows.copy()
    rows[:] = 7.0
    np.testing.assert_array_equal(embed(["a"], embedder), before)


def test_minilm_agrees_with_the_library_s_own_batches() -> None:
    texts = _many(20)
    library = embedders._minilm().encode(texts, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(embed(texts, "minilm"), library, atol=1e-6)


@pytest.mark.parametrize(("embedder", "dimensions"), [("hash", 256), ("minilm", 384)])
def test_no_texts_give_no_rows(embedder: str, dimensions: int) -> None:
    assert embed([], embedder).shape == (0, dimensions)
