"""The rewards beside the score of a mathematical answer; see ``verifiers/components.py``."""

from __future__ import annotations

from groupwise.verifiers import components
from groupwise.verifiers.mathematics.clean import clean, unmarked
from groupwise.verifiers.mathematics.exact import rational
from groupwise.verifiers.mathematics.extract import Found
from groupwise.verifiers.mathematics.forms import Form, Relation, Scalar
from groupwise.verifiers.mathematics.limits import MAX_ANSWER, TooMuch
from groupwise.verifiers.mathematics.names import stated
from groupwise.verifiers.mathematics.parse import ONE, with_symbol
from groupwise.verifiers.mathematics.read import read

MOST_WORDS = 360  # 99 % of the solutions of MATH's training split have at most 359
FEW = 16  # digits, far below the limits of the exact arithmetic
_SIGNS = ("%", "deg")  # read as factors, but written like units


def normal_form(found: Found) -> str | None:
    """The cleaned text of an answer, or None where nothing is left of it."""
    return unmarked(clean(found.text[:MAX_ANSWER])) or None


def rewards(completion: str, found: Found | None) -> dict[str, float]:
    """``format``, ``integer`` and ``length`` of a completion and the answer found in it."""
    text = normal_form(found) if found else None
    if found is None or text is None:
        return components.rewards(completion, None, False, MOST_WORDS)
    # Most answers are a few digits, which need no reading; it takes twice as long as all the rest of a right one.
    whole = (text.isascii() and text.isdecimal() and len(text) < FEW) or is_whole(found.text)
    return components.rewards(completion, found.rule, whole, MOST_WORDS)


def is_whole(answer: str) -> bool:
    """Whether an answer is one whole number by its value, ``x =`` in front and a unit, % or degrees behind left aside.

    It is not where the value is beyond our exact arithmetic or its limits.
    """
    try:
        return any(map(_is_whole, read(answer)))
    except TooMuch:
        return False


def _is_whole(form: Form) -> bool:
    value = stated(form, answered=True) if isinstance(form, Relation) else form
    if not isinstance(value, Scalar):
        return False
    expression = value.expression
    for sign in _SIGNS:
        expression = with_symbol(expression, sign, ONE)
    number = rational(expression)
    return number is not None and number.denominator == 1
