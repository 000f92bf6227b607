"""What runs in the killable workers: high-precision evaluation, and sympy for notation that our parser does not know.

``evaluate`` compares expressions of ``parse`` with mpmath; ``verify`` compares texts with math-verify. Both take and
return JSON values, as ``worker.Pool`` wants it.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from groupwise.verifiers.mathematics.parse import Expr, symbols

DIGITS = 60
AGREED_DIGITS = 45  # of equal values of expressions of a few hundred symbols
POINTS = 4
EXTRA = "the extra `math` of groupwise has it (in a checkout: pip install '.[math]')"


@cache
def installed() -> bool:
    """Whether the libraries of the ``math`` extra are there."""
    return all(find_spec(name) is not None for name in ("mpmath", "sympy", "math_verify", "latex2sympy2_extended"))


def versions() -> dict[str, str | None]:
    """The installed version of each library; None for one that is not there."""
    found: dict[str, str | None] = {}
    for name in ("sympy", "mpmath", "math-verify", "latex2sympy2_extended"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def to_json(expression: Expr) -> list[Any]:
    """The expression as nested lists, fractions as text."""
    if expression[0] == "n":
        return ["n", str(expression[1])]
    return [part if isinstance(part, str) else to_json(part) for part in expression]


def from_json(value: list[Any]) -> Expr:
    """The inverse of ``to_json``."""
    if value[0] == "n":
        return ("n", Fraction(value[1]))
    return tuple(part if isinstance(part, str) else from_json(part) for part in value)


def evaluate(pair: list[Any]) -> bool | None:
    """Whether two expressions agree to AGREED_DIGITS wherever both have a value; None where they have none.

    A constant is evaluated once; otherwise the symbols get values that no short expression singles out, both
    positive and negative (where both are real then), or whole ones where there are factorials and the like.
    """
    import mpmath

    from groupwise.verifiers.mathematics.exact import discrete

    a, b = from_json(pair[0]), from_json(pair[1])
    names = sorted((symbols(a) | symbols(b)) - {"pi", "e", "i", "deg", "%"})
    whole = discrete(a) or discrete(b)
    kinds = ["whole"] * 8 if whole else ["positive"] * POINTS + ["negative"] * POINTS
    compared = 0
    with mpmath.workdps(DIGITS):
        for index, kind in enumerate(kinds if names else ["positive"]):
            values = _constants(mpmath) | {name: _point(mpmath, name, index, kind) for name in names}
            try:
                left, right = _value(mpmath, a, values), _value(mpmath, b, values)
            except (ArithmeticError, ValueError, TypeError, KeyError):
                continue
            if not (mpmath.isfinite(left) and mpmath.isfinite(right)):
                continue
            tiny = mpmath.mpf(10) ** -AGREED_DIGITS
            if kind == "negative" and (abs(mpmath.im(left)) > tiny or abs(mpmath.im(right)) > tiny):
                continue
            if abs(left - right) > tiny * max(abs(left), abs(right)) and max(abs(left), abs(right)) > tiny**2:
                return False
            compared += 1
    return True if compared else None


def _constants(mpmath: Any) -> dict[str, Any]:
    return {"pi": +mpmath.pi, "e": +mpmath.e, "i": mpmath.mpc(0, 1), "deg": mpmath.pi / 180, "%": mpmath.mpf(1) / 100}


def _point(mpmath: Any, name: str, index: int, kind: str) -> Any:
    seed = int.from_bytes(hashlib.sha256(f"{name}/{index}".encode()).digest(), "big")
    if kind == "whole":
        return mpmath.mpf(3 + seed % 17)
    value = mpmath.mpf(seed % 10**40) / mpmath.mpf(10) ** 40 * 2 + mpmath.mpf(1) / 4
    return -value if kind == "negative" else value


def _value(mpmath: Any, expression: Expr, values: dict[str, Any]) -> Any:
    kind = expression[0]
    if kind == "n":
        return mpmath.mpf(expression[1].numerator) / expression[1].denominator
    if kind == "s":
        return values[expression[1]]
    parts = [_value(mpmath, part, values) for part in expression[2 if kind == "f" else 1 :]]
    if kind == "+":
        return mpmath.fsum(parts)
    if kind == "*":
        return mpmath.fprod(parts)
    if kind == "^":
        return _power(mpmath, expression, *parts)
    name = expression[1]
    if name in ("fact", "binom") and any(abs(part) > 10**5 for part in parts):
        raise ValueError("too large")
    functions = {
        "fact": mpmath.factorial,
        "binom": mpmath.binomial,
        "abs": abs,
        "asin": mpmath.asin,
        "max": max,
        "min": min,
    }
    return (functions[name] if name in functions else getattr(mpmath, name))(*parts)


def _power(mpmath: Any, expression: Expr, base: Any, exponent: Any) -> Any:
    if abs(exponent) > 10**5:
        raise ValueError("too large")
    fraction = expression[2][1] if expression[2][0] == "n" else Fraction(0)
    if fraction.denominator % 2 and fraction.denominator > 1 and mpmath.im(base) == 0 and mpmath.re(base) < 0:
        root = mpmath.power(-mpmath.re(base), exponent)  # the real root, as in school
        return root if fraction.numerator % 2 == 0 else -root
    return mpmath.power(base, exponent)


def verify(texts: list[str]) -> list[bool]:
    """math-verify's view with its defaults: [answer parsed, reference parsed, equal], without its signal timeouts."""
    import logging

    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    answer, reference = (parse(text, parsing_timeout=None, raise_on_error=False) for text in texts)
    if not answer or not reference:
        return [bool(answer), bool(reference), False]
    return [True, True, bool(verify(reference, answer, timeout_seconds=None, raise_on_error=False))]


def run(request: list[Any]) -> Any:
    """``["evaluate", a, b]`` or ``["verify", answer, reference]``."""
    return evaluate(request[1:]) if request[0] == "evaluate" else verify(request[1:])
