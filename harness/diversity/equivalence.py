"""Which rollouts of a problem are the same for a reader: NoveltyBench's classes (Zhang et al. 2025, arXiv:2504.05228).

A rollout joins the first class whose first member it is alike, or founds one, as in the paper's code. Alike means: the
same extracted answer; or embeddings with a cosine above a threshold; or what the paper's classifier says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groupwise.harness.errors import InputError, from_extra

CLASSIFIER = "yimingzhang/deberta-v3-large-generation-similarity"
TOKENIZER = "microsoft/deberta-v3-large"
# The paper's code: probability above which two texts are the same, word pieces read of each, and the number of words
# up to which texts are not shown to the classifier but are the same when they share half of their words.
ALIKE, PIECES, SHORT = 0.102, 128, 5
BATCH = 32

Codes = NDArray[np.int64]
# Of one text and later ones: whether each of these is like it.
Alike = Callable[[int, Sequence[int]], Sequence[bool]]


def partition(count: int, alike: Alike) -> Codes:
    """Class of each of `count` rollouts, numbered in order of their first members, (count,)."""
    classes = np.full(count, -1, dtype=np.int64)
    left, number = list(range(count)), 0
    while left:
        first, rest = left[0], left[1:]
        same = list(alike(first, rest)) if rest else []
        classes[[first, *(i for i, yes in zip(rest, same, strict=True) if yes)]] = number
        left = [i for i, yes in zip(rest, same, strict=True) if not yes]
        number += 1
    return classes


def by_answer(answers: pd.Series) -> Codes:
    """Codes of the extracted answers; -1 where there is none."""
    return pd.factorize(answers)[0].astype(np.int64)


def by_cosine(rows: NDArray[np.float64], cells: Codes, threshold: float) -> Codes:
    """Classes within each cell, by the embeddings (texts, d)."""

    def of(members: Codes) -> Codes:
        close = rows[members] @ rows[members].T > threshold
        return partition(len(members), lambda first, rest: close[first, rest].tolist())

    return _within(cells, of)


def by_classifier(texts: Sequence[str], cells: Codes, same: Callable[[str, Sequence[str]], Sequence[bool]]) -> Codes:
    """Classes within each cell. same: of one text and others, whether each is like it; equal texts are not asked."""

    def of(members: Codes) -> Codes:
        said = [texts[i] for i in members]

        def alike(first: int, rest: Sequence[int]) -> list[bool]:
            others = list(dict.fromkeys(said[i] for i in rest if said[i] != said[first]))
            verdicts = dict(zip(others, same(said[first], others), strict=True)) if others else {}
            return [verdicts.get(said[i], True) for i in rest]

        return partition(len(members), alike)

    return _within(cells, of)


def _within(cells: Codes, of: Callable[[Codes], Codes]) -> Codes:
    classes = np.full(len(cells), -1, dtype=np.int64)
    for cell in np.unique(cells[cells >= 0]):
        members = np.flatnonzero(cells == cell)
        classes[members] = of(members)
    return classes


class Classifier:
    """The paper's classifier of functional equivalence, from the hub. Raises InputError when it cannot be loaded."""

    def __init__(self, name: str = CLASSIFIER, tokenizer: str = TOKENIZER) -> None:
        try:
            import torch
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError as error:
            message = f"--equivalence classifier: needs torch and transformers: {from_extra('train')}"
            raise InputError(message) from error
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
            self.model: Any = (
                AutoModelForSequenceClassification.from_pretrained(name, use_safetensors=True, trust_remote_code=False)
                .to(self.device)
                .eval()
            )
        except (OSError, ValueError, ImportError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            message = f"--equivalence classifier: {name} cannot be loaded (is the hub reachable, or its cache filled?)"
            raise InputError(f"{message}: {reason}") from error

    def __call__(self, text: str, others: Sequence[str]) -> list[bool]:
        """Whether each of the others is the same as the text."""
        verdicts = [short_alike(text, other) for other in others]
        asked = [i for i, verdict in enumerate(verdicts) if verdict is None]
        for start in range(0, len(asked), BATCH):
            some = asked[start : start + BATCH]
            for i, score in zip(some, self._scores(text, [others[i] for i in some]), strict=True):
                verdicts[i] = score > ALIKE
        return [bool(verdict) for verdict in verdicts]

    def _scores(self, text: str, others: Sequence[str]) -> list[float]:
        """Probability of "the same" for each pair: [CLS] text [SEP] other [SEP], each cut at `PIECES` word pieces."""
        import torch

        first = self._pieces(text)
        pairs = [(first, self._pieces(other)) for other in others]
        width = max(len(one) + len(two) for one, two in pairs) + 3
        ids = torch.full((len(pairs), width), self.tokenizer.pad_token_id)
        kinds, mask = torch.zeros_like(ids), torch.zeros_like(ids)
        begin, end = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        for row, (one, two) in enumerate(pairs):
            tokens = [begin, *one, end, *two, end]
            ids[row, : len(tokens)], mask[row, : len(tokens)] = torch.tensor(tokens), 1
            kinds[row, len(one) + 2 : len(tokens)] = 1
        inputs = {"input_ids": ids, "token_type_ids": kinds, "attention_mask": mask}
        with torch.inference_mode():
            logits = self.model(**{name: value.to(self.device) for name, value in inputs.items()}).logits
        scores: list[float] = logits.float().softmax(-1)[:, 1].tolist()
        return scores

    def _pieces(self, text: str) -> list[int]:
        pieces: list[int] = self.tokenizer.encode(text, add_special_tokens=False, truncation=True, max_length=PIECES)
        return pieces


def short_alike(one: str, two: str) -> bool | None:
    """Whether two short texts share half of their words; None when one is too long to say."""
    first, second = one.strip().lower().split(), two.strip().lower().split()
    longest = max(len(first), len(second))
    return len(set(first) & set(second)) * 2 >= longest if longest <= SHORT else None
