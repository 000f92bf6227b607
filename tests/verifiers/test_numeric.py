"""The numeric verifier: a table of completions, and what holds for every input."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.verifiers import grade
from groupwise.verifiers.numeric import MAX_CHARACTERS, NumericVerifier, normal_form, parse_number

VERIFY = NumericVerifier()

# completion, reference, score, answer, rule
CASES = [
    # plain
    ("72", "72", 1, "72", "last-number"),
    ("It is 72.", "72", 1, "72", "last-number"),
    ("71", "72", 0, "71", "last-number"),
    ("-7", "7", 0, "-7", "last-number"),
    ("7", "-7", 0, "7", "last-number"),
    ("−7", "-7", 1, "-7", "last-number"),  # unicode minus
    ("+7", "7", 1, "7", "last-number"),
    ("007", "7", 1, "7", "last-number"),
    ("-0", "0", 1, "0", "last-number"),
    ("3.0", "3", 1, "3", "last-number"),
    ("3", "3.000", 1, "3", "last-number"),
    ("3.10", "3.1", 1, "3.1", "last-number"),
    (".5", "0.5", 1, "0.5", "last-number"),
    ("0.5", "1/2", 1, "0.5", "last-number"),
    ("2/4", "0.5", 1, "0.5", "last-number"),
    ("1/3", "0.33", 0, "1/3", "last-number"),
    ("0.3333", "1/3", 0, "0.3333", "last-number"),
    ("1 1/2", "1.5", 1, "1.5", "last-number"),
    ("-2 1/4", "-2.25", 1, "-2.25", "last-number"),
    ("2½ cups", "2.5", 1, "2.5", "last-number"),
    ("１２", "12", 1, "12", "last-number"),  # full-width digits
    # thousands, currency, percent, units
    ("1,234", "1234", 1, "1234", "last-number"),
    ("1,234,567.50", "1234567.5", 1, "1234567.5", "last-number"),
    ("$29.00", "29", 1, "29", "last-number"),
    ("-$18", "-18", 1, "-18", "last-number"),
    ("$-18", "-18", 1, "-18", "last-number"),
    ("She makes $18.", "$18", 1, "18", "last-number"),
    ("€1,000", "1000", 1, "1000", "last-number"),
    ("5%", "5", 1, "5", "last-number"),
    ("5%", "0.05", 0, "5", "last-number"),
    ("5kg", "5", 1, "5", "last-number"),
    ("The area is 5 cm^2", "5", 1, "5", "last-number"),
    ("The area is 5 cm2", "5", 1, "5", "last-number"),
    ("It takes 3 m^-2", "3", 1, "3", "last-number"),
    ("1.5e3", "1500", 1, "1500", "last-number"),
    ("1.5 x 10^3", "1500", 1, "1500", "last-number"),
    (r"1.5 \times 10^{-3}", "0.0015", 1, "0.0015", "last-number"),
    ("2 + 3 = 5", "5", 1, "5", "last-number"),
    ("10-5", "5", 1, "5", "last-number"),  # a minus between numbers is no sign
    ("10 - 5", "-5", 0, "5", "last-number"),
    ("x=-5", "-5", 1, "-5", "last-number"),
    ("**42**", "42", 1, "42", "last-number"),
    ("**-42**", "-42", 1, "-42", "last-number"),
    # runs of digits that are no number
    ("12:00", "12", 0, None, "last-number"),
    ("12:00", "0", 0, None, "last-number"),
    ("1/2/2024", "2024", 0, None, "last-number"),
    ("3.14.15", "3.14", 0, None, "last-number"),
    ("5,6", "6", 0, None, "last-number"),
    ("004,004", "4004", 0, None, "last-number"),
    ("2^10", "1024", 0, None, "last-number"),
    ("1/0", "0", 0, None, "last-number"),
    ("9" * 200, "9", 0, None, "last-number"),
    ("1e9999", "1", 0, None, "last-number"),
    ("1e-60", "0", 0, None, "last-number"),
    # boxed
    (r"\boxed{72}", "72", 1, "72", "boxed"),
    (r"so \boxed{1} no, \boxed{2}", "2", 1, "2", "boxed"),
    (r"\boxed{2} and then 3", "2", 1, "2", "boxed"),
    (r"#### 3, \boxed{2}", "2", 1, "2", "boxed"),
    (r"\boxed{\frac{1}{2}}", "0.5", 1, "0.5", "boxed"),
    (r"\boxed{-\frac{1}{2}}", "-0.5", 1, "-0.5", "boxed"),
    (r"\boxed{2\frac{1}{2}}", "2.5", 1, "2.5", "boxed"),
    (r"\boxed{\$1{,}234}", "1234", 1, "1234", "boxed"),
    (r"\boxed{12\%}", "12", 1, "12", "boxed"),
    (r"\boxed{90^\circ}", "90", 1, "90", "boxed"),
    (r"\boxed{90^{\circ}}", "90", 1, "90", "boxed"),
    (r"\boxed{5 \text{ cm}^{2}}", "5", 1, "5", "boxed"),
    (r"\boxed{60 \text{ km/h}}", "60", 1, "60", "boxed"),
    (r"\boxed{x = 4}", "4", 1, "4", "boxed"),
    (r"\boxed{ - 4 }", "-4", 1, "-4", "boxed"),
    (r"\boxed{5 + 6}", "11", 0, None, "boxed"),
    (r"\boxed{5 + 6}", "6", 0, None, "boxed"),
    (r"\boxed{\pm 2021}", "2021", 0, None, "boxed"),
    (r"\boxed{±2021}", "2021", 0, None, "boxed"),
    (r"\boxed{2\sqrt{3}}", "2", 0, None, "boxed"),
    (r"\boxed{3!}", "3", 0, None, "boxed"),
    (r"\boxed{1, 2}", "2", 0, None, "boxed"),
    (r"\boxed{3 or 4}", "3", 0, None, "boxed"),
    (r"\boxed{2^{10}}", "2", 0, None, "boxed"),
    (r"\boxed{}", "3", 0, None, "boxed"),
    (r"\boxed{x} 7", "7", 0, None, "boxed"),  # the box is the answer, whatever follows it
    (r"\boxed{7", "7", 1, "7", "last-number"),  # no closed box, no box
    ("\\boxed", "7", 0, None, "none"),
    ("\\boxed{" * 50, "7", 0, None, "none"),
    # hashes
    ("so\n#### 72", "72", 1, "72", "hashes"),
    ("####72", "72", 1, "72", "hashes"),
    ("#### $1,234.00", "1234", 1, "1234", "hashes"),
    ("#### 1\n#### 2", "2", 1, "2", "hashes"),
    ("#### -3\nThat was 100 words", "-3", 1, "-3", "hashes"),
    ("#### **18**", "18", 1, "18", "hashes"),
    ("#### 5*3=15", "15", 1, "15", "hashes"),
    ("#### Step 1\nIt is 9", "9", 1, "9", "last-number"),  # a heading
    ("#### 12:00", "12", 0, None, "hashes"),
    # answer is
    ("The answer is 5. I counted 9 times.", "5", 1, "5", "answer-is"),
    ("The answer is 5. No, the answer is 6.", "6", 1, "6", "answer-is"),
    ("The answer is 5. I am sure the answer is right.", "5", 1, "5", "answer-is"),
    ("the ANSWER IS: 1,000 dollars", "1000", 1, "1000", "answer-is"),
    ("Answer: -3.50", "-3.5", 1, "-3.5", "answer-is"),
    ("Answer:\n\n8", "8", 1, "8", "answer-is"),
    ("Answer = 8 and 9", "8", 1, "8", "answer-is"),
    ("**Answer:** 8", "8", 1, "8", "answer-is"),
    ("The answer to your question is 12 eggs", "12", 1, "12", "answer-is"),
    ("The answer is that she has 12 eggs. See page 3", "12", 1, "12", "answer-is"),
    ("The answer is 5 + 7 = 12.", "12", 1, "12", "answer-is"),
    ("The answer is x = 12.", "12", 1, "12", "answer-is"),
    ("The answer is 12 = 5 + 7.", "12", 1, "12", "answer-is"),
    ("The answer is 5 + 7.", "5", 0, None, "answer-is"),
    ("The answer is 5-6.", "5", 0, None, "answer-is"),
    ("The answer is 2/3.", "2/3", 1, "2/3", "answer-is"),
    ("The answer is $5.", "5", 1, "5", "answer-is"),
    (r"The answer is \(5\).", "5", 1, "5", "answer-is"),
    ("The answer is 12:00.", "12", 0, None, "answer-is"),
    ("Answer: Tom has 3 apples. 3 + 4 = 7", "7", 1, "7", "last-number"),
    ("22 - 14 = 8. 8 / 4 = 2. The answer is 2.", "2", 1, "2", "answer-is"),
    # nothing
    ("", "1", 0, None, "none"),
    ("no idea", "1", 0, None, "none"),
    ("twelve", "12", 0, None, "none"),
    ("x1 and A12", "12", 0, None, "none"),
    ("\x00\ud800", "1", 0, None, "none"),
    ("²", "2", 0, None, "none"),
    ("٣", "3", 0, None, "none"),
    # only the end of a long text is read
    ("5 " + "x" * MAX_CHARACTERS, "5", 0, None, "none"),
    ("x" * 1_000_000 + " 5", "5", 1, "5", "last-number"),
]


@pytest.mark.parametrize(("completion", "reference", "score", "answer", "rule"), CASES)
def test_table(completion: str, reference: str, score: float, answer: str | None, rule: str) -> None:
    verdict = VERIFY(completion, [reference])
    assert (verdict.score, verdict.answer, verdict.method) == (score, answer, f"numeric/{rule}")
    assert verdict.reason


@pytest.mark.parametrize(
    ("completion", "references", "score", "answer"),
    [
        ("2", ["1", "2"], 1.0, "2"),
        ("3", ["1", "2"], 0.0, "3"),
        ("3", [], None, None),
        ("3", ["three"], None, None),
        ("3", ["1/0"], None, None),
        ("3", ["(3, 4)"], None, None),
        ("3", ["9" * 1000], None, None),
        ("3", ["three", "3"], 1.0, "3"),  # right by the reference that can be read
        ("4", ["three", "3"], None, "4"),  # the other one might have matched
        ("", ["three", "3"], 0.0, None),  # no answer matches nothing
    ],
)
def test_references(completion: str, references: list[str], score: float | None, answer: str | None) -> None:
    verdict = VERIFY(completion, references)
    assert (verdict.score, verdict.answer) == (score, answer)


def test_components_tell_marked_answers_and_integers() -> None:
    nothing = {"format": 0.0, "integer": 0.0, "length": 1.0, "strict": 0.0, "loose": 0.0}
    assert VERIFY("#### 5", ["5"]).components == dict.fromkeys(nothing, 1.0)
    assert VERIFY("#### 6", ["5"]).components == {**nothing, "format": 1.0, "integer": 1.0}
    assert VERIFY("It is 5", ["5"]).components == {**nothing, "integer": 1.0, "loose": 1.0}
    assert VERIFY("It is 2.5", ["5"]).components == nothing
    assert VERIFY("", ["5"]).components == nothing


# Each of these makes a careless regular expression or int() take minutes.
HOSTILE = [
    "1" * 1_000_000,
    "1," * 500_000,
    "1,111" * 200_000,
    "1/" * 500_000,
    "-" * 1_000_000,
    "$" * 1_000_000,
    " " * 1_000_000 + "1",
    "{" * 1_000_000,
    "\\boxed{" * 150_000,
    "\\boxed{" + "1" * 19_000 + "}",
    "\\boxed{" + "\\text{" * 100 + "}",
    "\\frac{1}{" * 100_000,
    "####" * 250_000,
    "#### 1 " * 150_000,
    "answer is " * 100_000,
    "answer " * 150_000,
    "answer: 1+" * 100_000,
    "= " * 500_000,
    "1 1/2 " * 150_000,
    "10^" * 300_000,
    "1e1" * 300_000,
    "1 x 10^" * 150_000,
    "½" * 1_000_000,
    "\n" * 1_000_000,
]


@pytest.mark.parametrize("completion", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_texts_get_a_verdict(completion: str) -> None:
    verdict = VERIFY(completion, ["424242"])
    assert verdict.score == 0.0
    json.dumps([verdict.answer, verdict.reason]).encode("utf-8")
    assert len(verdict.reason) < 300


PIECES = st.sampled_from(
    [
        "\\boxed{",
        "}",
        "####",
        "answer is",
        "answer:",
        "=",
        "-",
        "+",
        "$",
        "1",
        "23",
        ",",
        "456",
        ".",
        "/",
        "e5",
        "\\frac{1}{2}",
        " ",
        "\n",
        "^",
        "{",
        "½",
        "x 10^2",
        "%",
        "\\",
        "\ud800",
        "9" * 60,
    ]
)


@given(st.one_of(st.text(), st.lists(PIECES).map("".join)), st.lists(st.text(max_size=20), max_size=3))
def test_any_text_gets_a_verdict(completion: str, references: list[str]) -> None:
    verdict = VERIFY(completion, references)
    assert verdict.score in (0.0, 1.0, None)
    if verdict.answer is not None:
        value = parse_number(verdict.answer)
        assert value is not None
        assert normal_form(value) == verdict.answer
        assert VERIFY(verdict.answer, [verdict.answer]).score == 1.0


VALUES = st.one_of(
    st.fractions(), st.integers().map(Fraction), st.decimals(-(10**9), 10**9, places=4).map(Fraction)
).filter(lambda value: abs(value.numerator) < 10**50 and value.denominator < 10**50)


@given(VALUES)
def test_normal_form_is_read_back_and_idempotent(value: Fraction) -> None:
    form = normal_form(value)
    assert parse_number(form) == value
    assert normal_form(parse_number(form) or Fraction(0)) == form


@given(VALUES, VALUES, st.booleans())
def test_equality_is_symmetric_and_exact(left: Fraction, right: Fraction, same: bool) -> None:
    if same:
        right = left
    forward = VERIFY(normal_form(left), [normal_form(right)]).score
    assert forward == VERIFY(normal_form(right), [normal_form(left)]).score
    assert forward == float(left == right)


@given(st.integers(-(10**12), 10**12))
def test_spellings_of_an_integer_are_one_answer(value: int) -> None:
    for text in (f"{value:,}", f"{value}.0", f"${value}", f"#### {value}", f"\\boxed{{{value:,}}}", f"{value}%."):
        assert VERIFY(text, [str(value)]).score == 1.0, text


def test_grade_gives_the_same_and_the_time() -> None:
    verdict = grade("numeric", "#### 5", ["5"])
    assert verdict.score == 1.0
    assert verdict.seconds > 0
