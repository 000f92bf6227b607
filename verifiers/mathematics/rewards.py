"""The rewards beside the score of a mathematical answer; see ``verifiers/components.py``."""

from __future__ import annotations

from fractions import Fraction

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
MOST_BITS = 200  # of a value that is shown as an answer
FEW = 16  # digits, far below the limits of the exact arithmetic
_SIGNS = ("%", "deg")  # read as factors, but written like units


def normal_form(found: Found) -> str | None:
    """The cleaned text of an answer, or None where nothing is left of it."""
    return unmarked(clean(found.text[:MAX_ANSWER])) or None


def compared_form(found: Found) -> str | None:
    """The answer so that equal ones read alike, as far as they are rational: 1/2 for ``0.5`` and ``\\frac{1}{2}``."""
    short = (n for n in values(found.text) if (n.numerator * n.denominator).bit_length() <= MOST_BITS)
    return next(map(str, short), None) or normal_form(found)


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
    return any(number.denominator == 1 for number in values(answer))


def values(answer: str) -> list[Fraction]:
    """The answer's value in each of its readings that is one rational number, ``x =`` and units left aside."""
    try:
        return [number for number in map(_value, read(answer)) if number is not None]
    except TooMuch:
        return []


def _value(form: Form) -> Fraction | None:
    said = stated(form, answered=True) if isinstance(form, Relation) else form
    if not isinstance(said, Scalar):
        return None
    expression = said.expression
    for sign in _SIGNS:
        expression = with_symbol(expression, sign, ONE)
    return rational(expression)
