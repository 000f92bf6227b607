"""The verifier of ``a + b = c``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.verifiers.expression import SumExpression

VERIFY = SumExpression()
TWELVE = [f"{a}+{12 - a}" for a in range(1, 12)]

CASES = [
    ("5 + 7 = 12", 1.0, "5+7"),
    ("5+7=12", 1.0, "5+7"),
    ("7 + 5 = 12", 1.0, "7+5"),
    ("  5  +  7  =  12 .", 1.0, "5+7"),
    ("Sure. 5 + 7 = 12", 1.0, "5+7"),
    ("Sure: 5 + 7 = 12, because I say so", 1.0, "5+7"),
    ("- 5 + 7 = 12", 1.0, "5+7"),  # a list mark
    ("1. 5 + 7 = 12", 1.0, "5+7"),
    ("**5 + 7 = 12**", 1.0, "5+7"),
    ("$5 + 7 = 12$", 1.0, "5+7"),
    ("a + b = 12: 5 + 7 = 12", 1.0, "5+7"),
    ("5 + 7 = 12\n6 + 7 = 13", 1.0, "5+7"),
    ("05 + 7 = 12", 1.0, "5+7"),
    ("5 + 7 = 12 + 0", 0.0, "5+7"),
    ("5 + 7 = 12.5", 0.0, "5+7"),
    ("5 + 7 = 12 = 12", 0.0, "5+7"),  # a chain is another equation
    ("5 + 7 = 13", 0.0, "5+7"),  # false
    ("6 + 7 = 13", 0.0, "6+7"),  # true, another target
    ("6 + 7 = 12", 0.0, "6+7"),
    ("0 + 12 = 12", 0.0, "0+12"),  # true, not among the answers
    ("6 + 7 = 13\n5 + 7 = 12", 0.0, "6+7"),  # the first one counts
    ("1 + 4 + 7 = 12", 0.0, None),
    ("-5 + 17 = 12", 0.0, None),
    ("5 - 7 = 12", 0.0, None),
    ("2 * 6 = 12", 0.0, None),
    ("4.5 + 7.5 = 12", 0.0, None),
    ("12 = 5 + 7", 0.0, None),
    ("5 + 7", 0.0, None),
    ("5 + 7 =", 0.0, "5+7"),
    ("5 + 7 = twelve", 0.0, "5+7"),
    ("five + seven = 12", 0.0, None),
    ("", 0.0, None),
    ("= = =", 0.0, None),
    ("\ud800 = 1", 0.0, None),
    ("９ + ３ = 12", 0.0, None),
    ("1" * 30 + " + 1 = 12", 0.0, None),
    ("x" * 30_000 + "5 + 7 = 12", 0.0, None),  # only the beginning is read
]


@pytest.mark.parametrize(("completion", "score", "answer"), CASES)
def test_table(completion: str, score: float, answer: str | None) -> None:
    verdict = VERIFY(completion, TWELVE)
    assert (verdict.score, verdict.answer) == (score, answer)
    assert verdict.reason


@pytest.mark.parametrize("references", [[], ["12"], ["5+7", "x"], ["5-7"]])
def test_broken_references_leave_it_unscored(references: list[str]) -> None:
    assert VERIFY("5 + 7 = 12", references).score is None


def test_constraints_live_in_the_references() -> None:
    assert VERIFY("5 + 7 = 12", ["4 + 8"]).score == 0.0
    assert VERIFY("4 + 8 = 12", ["4 + 8"]).score == 1.0


@pytest.mark.parametrize(
    "completion",
    [
        "=" * 1_000_000,
        "1=" * 500_000,
        "(=" * 500_000,
        "1 + " * 300_000,
        "1" * 1_000_000 + "=",
        "+" * 99 + "=",
        (" " * 99 + "=") * 10_000,
        "1. " * 300_000 + "=",
    ],
    ids=lambda text: ascii(text[:8]),
)
def test_hostile_texts_get_a_verdict(completion: str) -> None:
    assert VERIFY(completion, TWELVE).score == 0.0


@given(st.one_of(st.text(), st.text("0123456789+-*= \n.,(")), st.lists(st.text(max_size=9), max_size=2))
def test_any_text_gets_a_verdict(completion: str, references: list[str]) -> None:
    assert VERIFY(completion, references).score in (0.0, 1.0, None)
    assert VERIFY(completion, TWELVE).score in (0.0, 1.0)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_true_sums_in_the_list_are_right(a: int, b: int) -> None:
    verdict = VERIFY(f"{a} + {b} = {a + b}", [f"{a}+{b}"])
    assert (verdict.score, verdict.answer) == (1.0, f"{a}+{b}")
    assert VERIFY(f"{a} + {b} = {a + b + 1}", [f"{a}+{b}"]).score == 0.0
