"""Short numeric answers: find the number a completion gives as its answer, compare it exactly.

Extraction rules, tried in this order; the first whose marker is present decides:

1. ``boxed``        the last ``\\boxed{...}`` with balanced braces. Its whole content has to be one number,
                    with an optional ``x =`` in front and units around it: ``\\boxed{5 + 6}`` is no number.
2. ``hashes``       the last ``####`` with a number right behind it (so no Markdown heading).
3. ``answer-is``    the last "answer is", "answer:" or "answer =" that states a number in its sentence.
4. ``last-number``  the last number of the text.

What counts as one number: ``72``, ``+72``, ``-3.5``, ``.5``, ``1,234.50``, ``$18``, ``-$18``, ``5%`` (the
sign is a unit: 5), ``1/2``, ``1 1/2``, ``\\frac{1}{2}``, ``½``, ``1.5e3``, ``1.5 x 10^3``. A run of digits
that is none of these (``12:00``, ``1/2/2024``, ``3.14.15``, ``5,6``, ``2^10``) is not a number, and where a
rule arrives at one, the completion has no answer. Values are compared as fractions: 3.0 is 3, 1/2 is 0.5, but
0.33 is not 1/3.

All work is bounded: the last 20 000 characters, numbers of at most 110 characters and below 10^50 in
numerator and denominator, exponents of at most 50.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from groupwise.verifiers.base import Verdict
from groupwise.verifiers.components import correctness, rewards

MAX_CHARACTERS = 20_000
MAX_NUMBER_CHARACTERS = 110  # room for the longest normal form, p/q of 50 digits each
MAX_EXPONENT = 50
MAX_VALUE = 10**50
MAX_DECIMAL_PLACES = 12  # beyond this the normal form is a fraction
SENTENCE_CHARACTERS = 200  # how far after "answer is" a number is looked for
MAX_MARKERS = 64  # how many "answer is" are tried, from the last
MOST_WORDS = 140  # 99 % of the solutions of GSM8K's training split have at most 136

_CHARACTERS = str.maketrans(
    {
        "−": "-",  # minus sign
        "‐": "-",  # hyphen
        "‑": "-",  # non-breaking hyphen
        "–": "-",  # en dash
        "﹣": "-",
        "－": "-",
        "＋": "+",
        "⁄": "/",  # fraction slash
        "∕": "/",
        "，": ",",
        "．": ".",
        "％": "%",
        "＄": "$",
        "\u00a0": " ",
        "\u2009": " ",
        "\u202f": " ",
        **{chr(0xFF10 + digit): str(digit) for digit in range(10)},  # full-width digits
    }
)
_VULGAR = {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "⅕": "1/5", "⅛": "1/8"}

_LATEX_FRACTION = re.compile(
    r"\\[dtc]?frac\s{0,3}\{\s{0,3}([0-9.,]{1,60})\s{0,3}\}\s{0,3}\{\s{0,3}([0-9.,]{1,60})\s{0,3}\}"
)
_VULGAR_FRACTION = re.compile("[" + "".join(_VULGAR) + "]")
_POWER_OF_TEN = re.compile(r"(?<=[0-9])\s{0,3}(?:×|x|\*|\\times|\\cdot)\s{0,3}10\^\{?([-+]?[0-9]{1,4})\}?(?![0-9])")
_LATEX_NOISE = re.compile(r"\\[!,;]|\{,\}(?=[0-9])")
_BRACED_POWER = re.compile(r"\^\{([^{}]{0,20})\}")

# A maximal run of characters that numbers are made of. A sign belongs to it only where it cannot be a
# binary operator, and a run glued to a letter ("cm2", "x1") or a power ("m^2") is no number at all.
_RUN = re.compile(
    r"(?P<sign>(?<![0-9A-Za-z)\]}%^])[-+])?"
    r"(?P<currency>[$€£¥₹]\s?)?"
    r"(?P<inner>(?<=[$€£¥₹])[-+])?"
    r"(?<![A-Za-z_^0-9])(?<!\^[-+])"
    r"(?P<run>(?:(?<![0-9A-Za-z])\.)?[0-9][0-9.,/:^]*(?:[eE][-+]?[0-9]{1,4}(?![0-9A-Za-z]))?)"
)
_DECIMAL = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)?(?:\.[0-9]+)?"
_PLAIN = re.compile(
    rf"(?=[0-9.])(?P<top>{_DECIMAL})(?:/(?=[0-9.])(?P<bottom>{_DECIMAL})|[eE](?P<exponent>[-+]?[0-9]{{1,4}}))?"
)

_BOXED = "\\boxed"
_HASHES = re.compile(r"####[\s*=:]{0,10}")
_ANSWER = re.compile(r"\banswers?\b[^.\n:=]{0,40}?(?P<mark>\bis\b|\bare\b|:|=)[\s:*=]{0,10}", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\n|[.!?;](?=\s|$)")
_OPENING = re.compile(r"[\s*$\"'`(\[{\\]*")
_UNIT_POWER = re.compile(r"(?<=[A-Za-z]) ?\^[0-9]")
_UNIT_TEXT = re.compile(
    r"\\(?:text|mathrm|textbf|mathbf)\s?\{([^{}]{0,60})\}|\^\{?\\circ\}?|\\(?:left|right|quad|degree)\b"
)
_NOT_A_UNIT = re.compile(r"[-+*/=<>^\\!±≈,|~]")
_UNIT_JOIN = re.compile(r"(?<=[A-Za-z])-(?=[A-Za-z])|/(?=[A-Za-z])")  # "half-hours", "km/h"
_OPERATION = re.compile(r"\s{0,3}[-+*/×÷^]\s{0,3}[$(]?[0-9]")


@dataclass(frozen=True, slots=True)
class _Number:
    """A run of digits at ``start:end``; ``value`` is None where the run is not one plain number."""

    start: int
    end: int
    text: str
    value: Fraction | None


def _clean(text: str) -> str:
    """One spelling for each sign, digit and fraction; at most MAX_CHARACTERS from the end."""
    text = text[-MAX_CHARACTERS:].translate(_CHARACTERS)
    text = text.replace("\\$", "$").replace("\\%", "%")
    text = _LATEX_NOISE.sub(lambda found: "," if found[0].startswith("{") else "", text)
    text = _BRACED_POWER.sub(r"^\1", text)

    def spaced(found: re.Match[str], fraction: str) -> str:
        # "2½" is a mixed number: without the space it would read 21/2.
        before = found.string[found.start() - 1 : found.start()]
        return f" {fraction}" if before.isdigit() else fraction

    text = _LATEX_FRACTION.sub(lambda found: spaced(found, f"{found[1]}/{found[2]}"), text)
    text = _VULGAR_FRACTION.sub(lambda found: spaced(found, _VULGAR[found[0]]), text)
    return _POWER_OF_TEN.sub(r"e\1", text)


def _bounded(value: Fraction) -> Fraction | None:
    return value if abs(value.numerator) < MAX_VALUE and value.denominator < MAX_VALUE else None


def _plain_value(run: str) -> Fraction | None:
    """The value of an unsigned run such as ``1,234.5``, ``3/4`` or ``1.5e3``; None if it is no number."""
    if len(run) > MAX_NUMBER_CHARACTERS:  # int() takes quadratic time
        return None
    found = _PLAIN.fullmatch(run)
    if found is None or not found["top"] or found["bottom"] == "":
        return None
    value = Fraction(found["top"].replace(",", ""))
    if found["bottom"]:
        bottom = Fraction(found["bottom"].replace(",", ""))
        if bottom == 0:
            return None
        value /= bottom
    if found["exponent"]:
        exponent = int(found["exponent"])
        if abs(exponent) > MAX_EXPONENT:
            return None
        value *= Fraction(10) ** exponent
    return _bounded(value)


def _numbers(text: str) -> Iterator[_Number]:
    """All runs of digits in cleaned text, from left to right, mixed numbers joined."""
    whole: _Number | None = None  # an integer that a fraction may follow: "1 1/2"
    for found in _RUN.finditer(text):
        run = found["run"].rstrip(".,:/^")
        sign = -1 if (found["sign"] == "-") != (found["inner"] == "-") else 1
        end = found.start("run") + len(run)
        value = _plain_value(run)
        signed = bool(found["sign"] or found["currency"] or found["inner"])
        if whole is not None:
            if value is not None and not signed and "/" in run and value < 1 and text[whole.end : found.start()] == " ":
                assert whole.value is not None
                joined = _bounded(whole.value + (-value if whole.value < 0 else value))
                yield _Number(whole.start, end, text[whole.start : end], joined)
                whole = None
                continue
            yield whole
            whole = None
        number = _Number(found.start(), end, text[found.start() : end], None if value is None else sign * value)
        if value is not None and run.isdigit():
            whole = number
        else:
            yield number
    if whole is not None:
        yield whole


def _only_number(text: str) -> Fraction | None:
    """The value of cleaned text that is one number, perhaps with ``x =`` in front and units around it."""
    text = _UNIT_TEXT.sub(lambda found: f" {found[1] or ''} ", text)
    text = _UNIT_POWER.sub("", text)
    if "=" in text:
        name, _, text = text.rpartition("=")
        if not re.fullmatch(r"\s*[A-Za-z]\w{0,20}\s*", name):
            return None
    text = re.sub(r"([-+])\s{1,3}(?=[0-9$.])", r"\1", text.strip())
    text = re.sub(r"(?<=[0-9])\s{0,3}/\s{0,3}(?=[0-9])", "/", text).rstrip(".,")
    numbers = list(_numbers(text))
    if len(numbers) != 1:
        return None
    number = numbers[0]
    around = _UNIT_JOIN.sub(" ", text[: number.start] + " " + text[number.end :])
    return None if _NOT_A_UNIT.search(around) or re.search(r"[0-9]", around) else number.value


@lru_cache(maxsize=65_536)
def parse_number(text: str) -> Fraction | None:
    """The value of a text that is one number, units allowed; None if it is not. Never raises."""
    if len(text) > 4 * MAX_NUMBER_CHARACTERS:
        return None
    return _only_number(_clean(text))


def normal_form(value: Fraction) -> str:
    """The one spelling of a value: an integer, else a decimal of at most 12 places, else ``p/q``."""
    if value.denominator == 1:
        return str(value.numerator)
    scaled = value * 10**MAX_DECIMAL_PLACES
    if scaled.denominator != 1:
        return f"{value.numerator}/{value.denominator}"
    digits = str(abs(scaled.numerator)).zfill(MAX_DECIMAL_PLACES + 1)
    decimal = f"{digits[:-MAX_DECIMAL_PLACES]}.{digits[-MAX_DECIMAL_PLACES:]}".rstrip("0")
    return f"-{decimal}" if value < 0 else decimal


def _boxed(text: str) -> str | None:
    """The content of the last ``\\boxed{...}``, or None where there is none with balanced braces."""
    start = text.rfind(_BOXED)
    if start < 0:
        return None
    opening = start + len(_BOXED)
    while text[opening : opening + 1] == " ":
        opening += 1
    if text[opening : opening + 1] != "{":
        return None
    depth = 0
    for position in range(opening, len(text)):
        if text[position] == "{":
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if depth == 0:
                return text[opening + 1 : position]
    return None


def _leading(text: str) -> _Number | None:
    """The number a text starts with, brackets and emphasis aside. Its value is None in ``5 + 7``."""
    number = next(_numbers(text), None)
    opening = _OPENING.match(text)
    if number is None or opening is None or number.start > opening.end():
        return None
    return replace(number, value=None) if _OPERATION.match(text, number.end) else number


def _stated(tail: str, mark: str) -> _Number | None:
    """The number that the sentence after "answer is" (or "answer:", or "####") states."""
    end = _SENTENCE_END.search(tail)
    sentence = tail[: end.start()] if end else tail
    if "=" in sentence:
        right = _leading(sentence.rpartition("=")[2])
        if right is not None and right.value is not None:  # "the answer is 5 + 7 = 12"
            return right
    leading = _leading(sentence)
    if leading is not None:
        return leading
    # "Answer: Tom has 3 apples, ..." starts a derivation, it does not state 3.
    numbers = list(_numbers(sentence)) if mark != ":" else []
    return numbers[0] if len(numbers) == 1 else None


def _after_hashes(text: str) -> _Number | None:
    """The number stated by the last ``####`` that states one."""
    for found in reversed(list(_HASHES.finditer(text))[-MAX_MARKERS:]):
        number = _stated(text[found.end() : found.end() + SENTENCE_CHARACTERS], ":")
        if number is not None:
            return number
    return None


def _after_answer(text: str) -> _Number | None:
    """The number stated by the last "answer is" that states one."""
    for found in reversed(list(_ANSWER.finditer(text))[-MAX_MARKERS:]):
        number = _stated(text[found.end() : found.end() + SENTENCE_CHARACTERS], found["mark"])
        if number is not None:
            return number
    return None


def extract(completion: str) -> tuple[Fraction | None, str, str]:
    """The value a completion answers with, the rule that found it, and what was found there (or ``""``)."""
    text = _clean(completion)
    boxed = _boxed(text)
    if boxed is not None:
        return _only_number(boxed) if len(boxed) <= 4 * MAX_NUMBER_CHARACTERS else None, "boxed", boxed
    number = _after_hashes(text)
    rule = "hashes"
    if number is None:
        number, rule = _after_answer(text), "answer-is"
    if number is None:
        numbers = list(_numbers(text))
        number, rule = numbers[-1] if numbers else None, "last-number"
    return (None, "none", "") if number is None else (number.value, rule, number.text)


def _shown(text: str) -> str:
    """A short printable quotation for a reason."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")


@dataclass(frozen=True, slots=True)
class NumericVerifier:
    """One number against the accepted ones, exactly.

    The answer is the number's normal form (see ``normal_form``). Components: ``format`` is 1 where the
    completion marked its answer (any rule but last-number), ``integer`` where its value is whole (3.0 and $3 are),
    ``length`` where the completion has at most ``MOST_WORDS`` words; ``strict`` is 1 where the answer is right and
    marked, ``loose`` where it is right.
    The score is None where no reference parses as a number, or where one that does not might have matched.
    """

    name = "numeric"
    bounded = True
    version = 2
    rules = ("boxed", "hashes", "answer-is", "last-number")

    def spellings(self, reference: str) -> list[str]:
        """Ways of answering with that number, each of which must score 1."""
        texts = ["{}", "\\boxed{{{}}}", "So it is 1 + 1 = 2 at first.\n#### {}", "The answer is {}.", "Answer: **{}**"]
        return [text.format(reference) for text in texts]

    def __call__(self, completion: str, references: Sequence[str], prompt: str = "") -> Verdict:
        """Never raises for strings; see the class."""
        accepted = [parse_number(reference) for reference in references]
        broken = [text for text, value in zip(references, accepted, strict=True) if value is None]
        if len(broken) == len(accepted):
            reason = f"reference {_shown(broken[0])} is not a number" if broken else "there is no reference"
            return Verdict(None, None, "numeric", reason)
        value, rule, found = extract(completion)
        method = f"numeric/{rule}"
        right = value is not None and value in accepted
        finder = None if value is None else rule
        whole = value is not None and value.denominator == 1
        components = {**rewards(completion, finder, whole, MOST_WORDS), **correctness(finder, right)}
        if value is None:
            reason = f"{rule}: {_shown(found)} is not one plain number" if rule != "none" else "no number found"
            return Verdict(0.0, None, method, reason, components)
        answer = normal_form(value)
        if right:
            return Verdict(1.0, answer, method, f"{answer} is accepted", components)
        if broken:
            reason = f"{answer} matches no parsed reference, and {_shown(broken[0])} is not a number"
            return Verdict(None, answer, method, reason, {})
        expected = ", ".join(normal_form(other) for other in accepted[:3] if other is not None)
        return Verdict(0.0, answer, method, f"{answer} is not {expected}", components)
