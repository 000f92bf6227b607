"""Hostile completions: every verifier gives a verdict in time, and one that records and reports can hold."""

from __future__ import annotations

import json
import math

import pytest
from hostile import cases, limited
from hypothesis import given
from hypothesis import strategies as st

from groupwise import verifiers
from groupwise.verifiers.base import Verdict
from groupwise.verifiers.batch import Item, grade_many

SECONDS = 300
REFERENCES = {
    "choice": ("B", "Which? (A) one (B) two (C) three"), "expression": ("7", "Write a sum that makes 7."),
    "math": (r"\frac{3}{4}", "What is it?"), "math_verify": (r"\frac{3}{4}", "What is it?"),
    "membership": ("apple", "Name a fruit."), "numeric": ("42", "How many?"),
    "open_ended": ("", "Give me a random integer between 0 and 10."),
}  # fmt: skip
MEGABYTE = 1_000_000
TEXTS = {
    "nothing": "", "blanks": " \n\t" * 1000, "controls": "".join(map(chr, range(32))) * 50, "nuls": "\x00" * MEGABYTE,
    "surrogates": "\ud800\udfff" * 1000, "bidi": "\u202e\u2066\u200b\u2028\u2029" * 1000,
    "combining": "e" + "\u0301" * MEGABYTE, "digits": "9" * MEGABYTE, "point": "0." + "1" * MEGABYTE,
    "exponent": "1e" + "9" * 4000, "exponents": "10^" * 100_000 + "10", "factorials": "9" * 50 + "!" * 5000,
    "braces": "{" * MEGABYTE, "parentheses": "(" * 300_000 + ")" * 300_000, "boxes": r"\boxed{" * 100_000,
    "closed boxes": r"\boxed{" * 3000 + "42" + "}" * 3000, "fractions": r"\frac{1}" * 100_000,
    "brackets": "[[" * 200_000 + "]]" * 200_000, "answers": "the answer is " * 70_000, "marks": "#### " * 200_000,
    "dashes": "-" * MEGABYTE + "42", "commas": "1," * 500_000 + "000", "letters": "A" * MEGABYTE,
    "words": "A B " * 250_000,
    "options": "(A) " * 250_000, "sums": "1 + " * 250_000 + "1", "equals": "1 = " * 250_000, "lines": "\n" * MEGABYTE,
    "thoughts": "<think>" * 140_000, "closed thoughts": "<think></think>" * 60_000, "dollars": "$" * MEGABYTE,
    "stars": "*" * MEGABYTE, "quotes": "\"'`" * 300_000, "backslashes": "\\" * MEGABYTE, "tables": "|" * MEGABYTE,
    "unicode digits": "٤٢" * 100_000, "fullwidth": "４２" * 100_000, "superscripts": "²" * MEGABYTE,
    "script": "<script>" * 100_000, "json": '{"a":' * 100_000, "emoji": "\U0001f600" * 250_000,
}  # fmt: skip
PIECES = [
    *"0123456789+-*/^_(){}[]$.,=<>!%|&abAB \n\\\t\x00\u2028\u202e½²∞٤４", r"\frac", r"\boxed{", "the answer is ",
    "####", "Answer:", "(A)", "**", "<think>", "</think>", "apple", "1e999", "9" * 400, r"\text{", r"\begin{",
    "\ud800", "```",
]  # fmt: skip


def sound(verdict: Verdict, name: str) -> None:
    """It can be written down, counted, and shown on one line. What no text can hold comes from no tokenizer."""
    assert verdict.score is None or (math.isfinite(verdict.score) and 0 <= verdict.score <= 1)
    assert "verifier failed" not in verdict.reason, (name, verdict)
    assert "\n" not in verdict.reason
    row = [verdict.score, verdict.answer, verdict.method, verdict.reason, dict(verdict.components)]
    assert len(json.dumps(row, allow_nan=False)) < 3 * MEGABYTE
    for value in verdict.components.values():
        assert value is None or math.isfinite(value)


@pytest.mark.parametrize("name", REFERENCES)
def test_megabytes(name: str) -> None:
    reference, prompt = REFERENCES[name]
    items = [Item(text, (reference,), prompt) for text in TEXTS.values()]
    with limited(SECONDS):
        for kind, verdict in zip(TEXTS, grade_many(name, items, 1), strict=True):
            sound(verdict, f"{name}: {kind}")
            assert verdict.score != 1.0 or name not in ("math", "math_verify", "numeric") or "42" in TEXTS[kind], kind


@pytest.mark.parametrize("name", REFERENCES)
def test_pieces_of_answers(name: str) -> None:
    reference, prompt = REFERENCES[name]

    @cases(60)
    @given(completion=st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=200))
    def run(completion: str) -> None:
        with limited(SECONDS):
            sound(verifiers.grade(name, completion, (reference,), prompt), name)

    run()


@pytest.mark.parametrize("name", REFERENCES)
def test_hostile_references(name: str) -> None:
    """Of a data file that somebody else wrote."""
    with limited(SECONDS):
        for kind, text in TEXTS.items():
            if len(text) < 20_000:
                verdict = verifiers.grade(name, "The answer is 42.", (text,), text)
                assert verdict.score is None or 0 <= verdict.score <= 1, kind


def test_every_verifier_is_here_or_has_tests_of_its_own() -> None:
    """Programs run in a sandbox, with its own attacks; a judge reads a text, and is asked over a network."""
    assert set(verifiers.names()) - REFERENCES.keys() == {"code", "judge"}
