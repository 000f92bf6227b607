"""The verifier of single picks from a list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.verifiers.membership import MembershipVerifier, normal_form

VERIFY = MembershipVerifier()
COLOURS = ["Red", "Blue", "Dark Green"]
VALID = [*COLOURS, "Crème", "St. Lucia", "The Gambia", "C", "C++", "C#", "a", "42", "-3", "3.5", "1,000", "Tom & Jerry"]

CASES = [
    ("Red", 1.0, "red"),
    ("red.", 1.0, "red"),
    ("  RED!  ", 1.0, "red"),
    ("\n\nRed\nBecause I like it.", 1.0, "red"),
    ("The red", 1.0, "red"),
    ("Answer: Red", 1.0, "red"),
    ("The answer is red.", 1.0, "red"),
    ("My choice: **Red**", 1.0, "red"),
    ("Colour: red", 1.0, "red"),
    ('"Red"', 1.0, "red"),
    ("- Red", 1.0, "red"),
    ("1. Red", 1.0, "red"),
    ("Red. It is the colour of fire.", 1.0, "red"),
    ("Red\nRed", 1.0, "red"),
    ("dark   green", 1.0, "dark green"),
    ("Dark-green", 1.0, "dark green"),
    ("creme", 1.0, "creme"),
    ("CRÈME", 1.0, "creme"),
    ("cre\u0300me", 1.0, "creme"),
    ("St. Lucia", 1.0, "st lucia"),
    ("Gambia", 1.0, "gambia"),
    ("C", 1.0, "c"),
    ("C++", 1.0, "c++"),
    ("C#", 1.0, "c#"),
    ("a", 1.0, "a"),
    ("A.", 1.0, "a"),
    ("42", 1.0, "42"),
    ("42.", 1.0, "42"),
    ("-3", 1.0, "-3"),
    ("3.5", 1.0, "3.5"),
    ("1000", 1.0, "1000"),
    ("Tom & Jerry", 1.0, "tom jerry"),
    ("3", 0.0, "3"),
    ("D++", 0.0, "d++"),
    ("Purple", 0.0, "purple"),
    ("I would pick red", 0.0, "i would pick red"),
    ("reddish", 0.0, "reddish"),
    ("red, blue", 0.0, "red blue"),
    ("Red and blue", 0.0, "red and blue"),
    ("Red or blue or dark green", 0.0, "red or blue or dark green"),
    ("red/blue", 0.0, "red blue"),
    ("Red\nBlue", 0.0, "red"),
    ("1. Red\n2. Blue\n3. Dark green", 0.0, "red"),
    ("", 0.0, None),
    ("  \n\t ", 0.0, None),
    ("...!?", 0.0, None),
    ("🎉", 0.0, None),
    ("\ud800", 0.0, None),
    ("x" * 500, 0.0, "x" * 80),
]


@pytest.mark.parametrize(("completion", "score", "answer"), CASES)
def test_table(completion: str, score: float, answer: str | None) -> None:
    verdict = VERIFY(completion, VALID)
    assert (verdict.score, verdict.answer) == (score, answer)
    assert verdict.reason


@pytest.mark.parametrize("completion", ["red, blue", "Red and blue", "Red\nBlue", "- red\n- blue"])
def test_several_items_are_named_as_the_reason(completion: str) -> None:
    assert "names 2 items" in VERIFY(completion, COLOURS).reason


@pytest.mark.parametrize("references", [[], [""], ["!!!", " "]])
def test_no_usable_reference_leaves_it_unscored(references: list[str]) -> None:
    assert VERIFY("red", references).score is None


@pytest.mark.parametrize(
    "completion",
    [
        "a" * 1_000_000,
        "a, " * 300_000,
        "\n" * 1_000_000,
        "a\n" * 500_000,
        "the " * 250_000,
        "answer: " * 100_000,
        "1. " * 300_000,
        "'" * 1_000_000,
        "1,000" * 200_000,
        "\u0300" * 1_000_000,
        "the answer " * 90_000,
    ],
    ids=lambda text: ascii(text[:8]),
)
def test_hostile_texts_get_a_verdict(completion: str) -> None:
    assert VERIFY(completion, COLOURS).score == 0.0


@given(st.text())
def test_normal_form_is_idempotent(text: str) -> None:
    assert normal_form(normal_form(text)) == normal_form(text)


@given(st.text(), st.lists(st.text(max_size=10), max_size=4))
def test_any_text_gets_a_verdict(completion: str, references: list[str]) -> None:
    verdict = VERIFY(completion, references)
    assert verdict.score in (0.0, 1.0, None)
    if verdict.answer is not None:
        assert 0 < len(verdict.answer) <= 80 or verdict.score == 1.0


@given(st.sampled_from(VALID), st.sampled_from(["{}", "Answer: {}", "{}.", "  {}\n", "The answer is {}"]))
def test_every_reference_is_right_in_every_dress(item: str, dress: str) -> None:
    assert VERIFY(dress.format(item), VALID).score == 1.0
