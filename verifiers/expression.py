"""Equations of the form ``a + b = c``: for tasks that ask for one of many sums with a given result."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from groupwise.verifiers.base import Verdict
from groupwise.verifiers.components import brief

MAX_CHARACTERS = 20_000  # from the start: the first equation is the one that counts
SIDE_CHARACTERS = 100
MOST_WORDS = 10  # the solutions of write_sum have 5
_OPERATORS = r"-+*/×÷^"

_SUM = re.compile(r"([0-9]{1,20})\s*\+\s*([0-9]{1,20})")
_LEFT = re.compile(rf"[0-9.,() \t{_OPERATORS[1:]}\-]*\Z")
_RIGHT = re.compile(rf"[ \t]*([0-9]{{1,20}})(?![0-9]|[.,][0-9]|[ \t]*[{_OPERATORS[1:]}=\-][ \t]*[0-9(])")
_LIST_MARK = re.compile(r"^(?:[\s.,*]+|-\s+|[0-9]{1,2}[.)]\s+)+")
_REFERENCE = re.compile(r"\s*([0-9]{1,20})\s*\+\s*([0-9]{1,20})\s*")


def _first_equation(text: str) -> tuple[str, str] | None:
    """The two sides of the first ``=`` that has a digit in the arithmetic on its left, or None.

    The left side reaches back over digits, spaces and operators on the same line; the right side is the
    text behind the sign.
    """
    position = text.find("=")
    while position >= 0:
        before = text[max(0, position - SIDE_CHARACTERS) : position].rpartition("\n")[2]
        found = _LEFT.search(before)
        left = _LIST_MARK.sub("", found[0]).strip() if found else ""
        if any(character.isdigit() for character in left):
            return left, text[position + 1 : position + 1 + SIDE_CHARACTERS]
        position = text.find("=", position + 1)
    return None


def _terms(match: re.Match[str]) -> str:
    """``"5+7"`` for the two integers of a match, without leading zeros."""
    return f"{int(match[1])}+{int(match[2])}"


@dataclass(frozen=True, slots=True)
class SumExpression:
    """The first equation must be a true ``a + b = c`` whose ``a+b`` is among the references.

    ``references`` is the whole list of valid answers, written ``5+7``. ``a`` and ``b`` are non-negative
    integers of at most 20 digits; anything else on either side of the sign (a third term, a decimal, a
    minus) makes the equation another one than was asked for. The answer is ``a+b`` without spaces, also
    when it is wrong, and None where the first equation is not a sum of two integers. 5+7 and 7+5 are two
    answers. Components: ``format`` is 1 where the equation has the form that is asked for here, ``a + b = c``,
    true or not; ``length`` is 1 where the completion has at most ``MOST_WORDS`` words. There is no ``integer``:
    the answer is a sum, not a number.
    The score is None where a reference is not of the form ``a+b``, or none is given.
    """

    name = "expression"
    bounded = True
    version = 2
    rules = ("first-equation",)

    def spellings(self, reference: str) -> list[str]:
        """The sum as a true equation, with and without blanks."""
        left, _, right = reference.partition("+")
        total = int(left) + int(right)
        return [f"{left}+{right}={total}", f"{left.strip()} + {right.strip()} = {total}."]

    def __call__(self, completion: str, references: Sequence[str], prompt: str = "") -> Verdict:
        """Never raises for strings; see the class."""
        method = "expression/first-equation"
        valid = set()
        for reference in references:
            found = _REFERENCE.fullmatch(reference)
            if found is None:
                return Verdict(None, None, method, f"reference {reference[:40]!a} is not of the form a+b")
            valid.add(_terms(found))
        if not valid:
            return Verdict(None, None, method, "there is no reference")

        length = brief(completion, MOST_WORDS)
        bad, form = {"format": 0.0, "length": length}, {"format": 1.0, "length": length}
        sides = _first_equation(completion[:MAX_CHARACTERS])
        if sides is None:
            return Verdict(0.0, None, method, "no equation found", bad)
        left, right = _SUM.fullmatch(sides[0]), _RIGHT.match(sides[1])
        if left is None:
            reason = f"{sides[0][:40]!a} is not a sum of two non-negative integers"
            return Verdict(0.0, None, method, reason, bad)
        answer = _terms(left)
        if right is None:
            return Verdict(0.0, answer, method, "the right side is not one integer", bad)
        total, stated = int(left[1]) + int(left[2]), int(right[1])
        if stated != total:
            return Verdict(0.0, answer, method, f"{answer} is {total}, not {stated}", form)
        if answer in valid:
            return Verdict(1.0, answer, method, f"{answer} = {total} is a valid answer", form)
        targets = {sum(map(int, entry.split("+"))) for entry in valid}
        if total not in targets:
            wanted = ", ".join(str(target) for target in sorted(targets)[:3])
            return Verdict(0.0, answer, method, f"{answer} is {total}, asked for {wanted}", form)
        return Verdict(0.0, answer, method, f"{answer} = {total} is true but not among the valid answers", form)
