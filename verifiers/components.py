"""Named rewards that the maths verifiers give beside the score, for training on several rewards at once.

GDPO (arXiv:2601.05242) trains GSM8K on a right answer, its format and whether it is a whole number, and other tasks
on a length as well. Here each is 0.0 or 1.0, and stands on every verdict that has a score, right or wrong:

- ``format``   an answer was extracted, and from behind a mark (``MARKED``): at least one mark, of any kind.
- ``integer``  an answer was extracted, and it is a whole number; each verifier says how it reads one.
- ``length``   the completion has at most so many words, its thinking included. An empty one is short too.

The limits are ours. A verifier sees text, so that words between white space are counted and not tokens, and
each limit is the 99th percentile of the words in the worked solutions of a training split (GSM8K for ``numeric``, MATH
for ``math``, write_sum for ``expression``), rounded up to the next ten. What the paper takes for the marks of its GSM8K
runs was not read: the marks are ours as well.

A reward that is the same for all rollouts of a group teaches nothing there. Where a task wants the bare number
(short_arithmetic), ``format`` is 0 for whoever obeys the prompt; where completions are limited to fewer tokens than
``length`` allows words (short_arithmetic, word_arithmetic, mawps), it is always 1.
"""

from __future__ import annotations

MARKED = frozenset({"boxed", "hashes", "answer-is"})


def rewards(completion: str, rule: str | None, whole: bool, most_words: int) -> dict[str, float]:
    """``format``, ``integer`` and ``length``; ``rule`` is the one that found the answer, None where none was found."""
    return {
        "format": float(rule in MARKED),
        "integer": float(rule is not None and whole),
        "length": brief(completion, most_words),
    }


def correctness(rule: str | None, right: bool) -> dict[str, float]:
    """``strict``, right behind a mark, and ``loose``, right wherever it was found."""
    return {"strict": float(right and rule in MARKED), "loose": float(right)}


def brief(completion: str, most_words: int) -> float:
    """1.0 where the completion has at most that many words between white space, else 0.0."""
    return float(len(completion.split(maxsplit=most_words)) <= most_words)
