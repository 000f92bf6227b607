"""Mathematical answers: find what a completion gives as its answer, and compare it with the references.

How the answer is found is in ``mathematics/extract.py``. It is compared in this order:

1. the same text, but for spelling (``mathematics/clean.py``);
2. both read as values, lists, tuples, intervals, equations, ... (``mathematics/read.py``) and compared by our own
   exact arithmetic (``mathematics/compare.py``, ``exact.py``), which decides almost every answer without sympy;
3. constants and functions that this arithmetic cannot decide: 60-digit evaluation with mpmath, in a worker process;
4. notation that our reader does not know: math-verify, in a worker process.

Steps 3 and 4 need the ``math`` extra; without it such an answer is not scored. A worker that takes too long is
killed. An answer that cannot be read or compared within the limits is wrong, with a reason that says so; a
reference that cannot be read leaves the completion unscored.

Accepted are, beside equal values: units on one side only, 50% for 0.5 (and 50 for a reference of 50%), degrees for
radians, an answer with or without ``x =``, another name for a declared parameter, a remark that holds everywhere, and
roundings (``rounding.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from groupwise.verifiers.base import Verdict
from groupwise.verifiers.components import correctness
from groupwise.verifiers.mathematics import symbolic
from groupwise.verifiers.mathematics.clean import clean
from groupwise.verifiers.mathematics.compare import Comparison
from groupwise.verifiers.mathematics.extract import RULES, Found, extract
from groupwise.verifiers.mathematics.forms import Form, Words
from groupwise.verifiers.mathematics.limits import MAX_ANSWER, MAX_DEPTH, WORKER_SECONDS, WORKERS, TooMuch
from groupwise.verifiers.mathematics.parse import Expr
from groupwise.verifiers.mathematics.read import read
from groupwise.verifiers.mathematics.rewards import compared_form, rewards
from groupwise.verifiers.mathematics.words import textual
from groupwise.verifiers.worker import CallFailed, Pool

POOL = Pool("groupwise.verifiers.mathematics.service:run", WORKERS, WORKER_SECONDS)
MAX_SYMPY_CHARACTERS = 200
_DANGEROUS = re.compile(
    r"\d{25}|\^\s*\{?[^{}]*\^|\d{3,}\s*!|!\s*!|\^\s*\{?\s*-?\d{4,}|\^\s*\{?\s*\(|\\(?:int|sum|prod|lim)\b.*\\(?:int|sum|prod|lim)\b"
)


class NeedsExtra(Exception):
    """The comparison needs a library that is not installed."""


@lru_cache(maxsize=4096)
def _by_precision(a: Expr, b: Expr) -> bool:
    """Equality by high-precision evaluation. Raises CallFailed, NeedsExtra."""
    if not symbolic.installed():
        raise NeedsExtra
    return POOL.call(["evaluate", symbolic.to_json(a), symbolic.to_json(b)]) is True


def _by_math_verify(answer: str, reference: str) -> tuple[bool, str]:
    """Equality of two texts by math-verify, within limits, and what there is to say about it."""
    for text in (answer, reference):
        if len(text) > MAX_SYMPY_CHARACTERS or _DANGEROUS.search(text) or text.count("{") > MAX_DEPTH:
            return False, "is not read by our own rules and beyond the limits for sympy"
    if not symbolic.installed():
        raise NeedsExtra
    parsed, _, same = POOL.call(["verify", f"${answer}$", f"${reference}$"])
    return bool(
        same
    ), "is equal by math-verify" if same else "differs" if parsed else "is not a mathematical expression"


@lru_cache(maxsize=8192)
def _cleaned(text: str) -> str:
    return textual(clean(text))


@dataclass(frozen=True, slots=True)
class _Outcome:
    right: bool | None  # None: could not be decided
    how: str
    reason: str


def _compare(answer: str, reference: str) -> _Outcome:
    """One answer against one reference."""
    if _cleaned(reference) and len(answer) <= MAX_ANSWER and _cleaned(answer) == _cleaned(reference):
        return _Outcome(True, "text", "is the reference")
    try:
        expected = read(reference)
    except TooMuch as limit:
        return _Outcome(None, "none", f"the reference cannot be read: {limit}")
    if all(isinstance(form, Words) and not form.text for form in expected):
        return _Outcome(None, "none", "the reference cannot be read: it is empty")
    try:
        given = read(answer)
    except TooMuch as limit:
        return _Outcome(False, "limits", f"is beyond the limits: {limit}")
    undecided: Exception | None = None
    comparison = Comparison(_by_precision)
    for right in expected:
        for left in given:
            try:
                if comparison.accepts(left, right):
                    return _Outcome(True, "exact", "is equal to the reference")
            except (CallFailed, NeedsExtra) as error:
                undecided = error
    sides = ((given, answer), (expected, reference))
    unread = [_unread(forms, text) for forms, text in sides]
    if (
        undecided is None
        and any(unread)
        and all(u or _understood(forms) for u, (forms, _) in zip(unread, sides, strict=True))
    ):
        try:
            same, reason = _by_math_verify(answer, reference)
            return _Outcome(same, "math-verify", reason)
        except (CallFailed, NeedsExtra) as error:
            undecided = error
    if isinstance(undecided, NeedsExtra):
        return _Outcome(None, "none", f"needs a symbolic comparison: {symbolic.EXTRA}")
    if undecided is not None:
        return _Outcome(False, "limits", f"could not be compared within the limits: {undecided}")
    return _Outcome(False, "exact", "differs")


def _understood(forms: tuple[Form, ...]) -> bool:
    """Whether our own reader made more of a text than words."""
    return not all(isinstance(form, Words) for form in forms)


def _unread(forms: tuple[Form, ...], text: str) -> bool:
    """Whether the text is a formula that our own reader does not understand."""
    if _understood(forms) or not re.search(r"\\(?:int|sum|prod|lim)(?![A-Za-z])", text):
        return False
    return re.search(r"[A-Za-z]{4,}", re.sub(r"\\[A-Za-z]+", "", text)) is None


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")


@dataclass(frozen=True, slots=True)
class MathVerifier:
    """A mathematical answer against the accepted ones.

    The answer is that of the reference it agrees with; of one that agrees with none its value, where that is rational,
    or else its cleaned text. So equal answers are one, however they are written. Components: ``format`` is 1 where the
    answer is marked (boxed, ``####``, "the answer is"), ``integer`` where its value is whole, ``length`` where the
    completion has at most ``rewards.MOST_WORDS`` words; ``strict`` is 1 where a marked answer is right, ``loose`` where
    the answer is right under the first rule that finds one, which is the score. The score is None where no reference
    can be read, where one of them might have matched and cannot, or where a library is missing that the comparison
    needs.
    """

    name = "math"
    bounded = True
    requires: ClassVar[Mapping[str, str]] = {"math_verify": "math"}
    time_limit = f"{WORKER_SECONDS:g} s for a comparison"
    version = 2
    rules = RULES

    def spellings(self, reference: str) -> list[str]:
        """Ways of giving that answer, each of which must score 1."""
        return spellings(reference)

    def environment(self) -> dict[str, Any]:
        """The versions of the libraries behind steps 3 and 4; None for one that is not installed."""
        return symbolic.versions()

    def __call__(self, completion: str, references: Sequence[str], prompt: str = "") -> Verdict:
        """Never raises for strings; see the class."""
        if not references:
            return Verdict(None, None, "math", "there is no reference")
        found = extract(completion)
        if found is None:
            return Verdict(0.0, None, "math/none", "no answer found", _components(completion, None, False))
        return _judged(completion, found, references)


def _components(completion: str, found: Found | None, right: bool) -> dict[str, float]:
    return {**rewards(completion, found), **correctness(found.rule if found else None, right)}


def _judged(completion: str, found: Found, references: Sequence[str]) -> Verdict:
    open_outcome: _Outcome | None = None
    last: _Outcome | None = None
    for reference in references:
        outcome = _compare(found.text, reference)
        if outcome.right:
            reason = f"{_shown(found.text)} {outcome.reason}"
            method = f"math/{found.rule}/{outcome.how}"
            return Verdict(1.0, _canonical(reference), method, reason, _components(completion, found, True))
        if outcome.right is None:
            open_outcome = open_outcome or outcome
        else:
            last = outcome
    decisive = open_outcome or last
    assert decisive is not None
    reason = f"{_shown(found.text)} {decisive.reason}"
    if decisive.reason == "differs":
        reason += f" from {_shown(references[0])}"
    method = f"math/{found.rule}/{decisive.how}"
    answer = compared_form(found)
    if decisive.right is None:
        return Verdict(None, answer, method, reason, {})
    return Verdict(0.0, answer, method, reason, _components(completion, found, False))


@lru_cache(maxsize=4096)
def _canonical(reference: str) -> str:
    """What stands for every answer that agrees with the reference."""
    return compared_form(Found("reference", reference)) or reference


def spellings(reference: str) -> list[str]:
    """Completions that give the reference as their answer, in several formats."""
    bare = " ".join(reference.split())
    inner = bare.strip("$").strip()
    found = [
        bare,
        f"We find $1 + 1 = 2$ at first.\n\nSo it is $\\boxed{{{inner}}}$.",
        f"The answer is ${inner}$." if "$" not in inner else f"The answer is {bare}",
        f"Adding up gives 17.\n#### {inner}",
        f"**Answer:** {bare}",
    ]
    if "\\frac" in inner:
        found.append("\\boxed{" + inner.replace("\\frac", "\\dfrac") + "}")
    if "(" in inner and "\\left" not in inner and inner.count("(") == inner.count(")") and "\\big" not in inner:
        found.append("\\boxed{" + inner.replace("(", "\\left( ").replace(")", " \\right)") + "}")
    return found
