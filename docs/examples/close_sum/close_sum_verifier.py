"""A verifier of one's own, with a score between right and wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence

from groupwise.verifiers.base import Verdict

CLOSE = 10
LONGEST = 2000  # completions are hostile input: what is read of one is bounded
_SUM = re.compile(r"([0-9]{1,6}) *\+ *([0-9]{1,6}) *= *([0-9]{1,7})")


class CloseSumVerifier:
    """1 for a true sum of the wanted total whose terms differ by at most ``CLOSE``, 0.5 when they are further apart,
    0 for everything else; None when the reference is no number, for then nobody can say."""

    name = "close_sum"
    version = 1  # raised whenever a rule changes, because that changes every score
    rules = ("first-sum",)
    bounded = True  # a call is short whatever the completion, so it needs no process that can be killed

    def spellings(self, reference: str) -> list[str]:
        """Completions that must score 1; `groupwise verify self-test` grades them."""
        half = int(reference) // 2
        return [f"{half}+{int(reference) - half}={reference}", f"It is {half} + {int(reference) - half} = {reference}."]

    def __call__(self, completion: str, references: Sequence[str], prompt: str = "") -> Verdict:
        method = "close_sum/first-sum"
        if not references or not references[0].isdecimal():
            return Verdict(None, None, method, "the reference is not a whole number")
        found = _SUM.search(completion[:LONGEST])
        if found is None:
            return Verdict(0.0, None, method, "no sum of two numbers found")
        first, second, stated = map(int, found.groups())
        answer = f"{first}+{second}"
        if not first + second == stated == int(references[0]):
            return Verdict(0.0, answer, method, f"{answer} is {first + second}, asked for {references[0]}")
        if abs(first - second) > CLOSE:
            return Verdict(0.5, answer, method, f"right, but {first} and {second} are {abs(first - second)} apart")
        return Verdict(1.0, answer, method, f"right, and within {CLOSE}")
