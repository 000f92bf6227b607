"""Finding the answer in a completion.

Rules, in the order tried; the first whose marker is present decides, and its text is read whole:

1. ``boxed``       the last ``\\boxed{...}`` or ``\\fbox{...}``; several joined by "and", "or", a comma are one answer.
2. ``hashes``      the text behind the last ``####`` that is no heading.
3. ``answer-is``   the sentence behind the last "answer is", "Answer:", "Final answer", and the same in other languages.
4. ``whole``       a completion of one short sentence is the answer itself.
5. ``conclusion``  the last sentence, where it states a value ("Therefore x = 5.").
6. ``last-math``   the last formula or number, unless its sentence hedges or negates it.

The first three are marked answers (``components.MARKED``). What stands between ``<think>`` and ``</think>`` does not
count, nor does anything behind a ``<think>`` that is not closed. Of a text that breaks off, only a marked answer
counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from groupwise.verifiers.mathematics import words
from groupwise.verifiers.mathematics.clean import clean
from groupwise.verifiers.mathematics.forms import Relation, Sequence, Words
from groupwise.verifiers.mathematics.limits import MAX_COMPLETION, TooMuch
from groupwise.verifiers.mathematics.read import read

RULES = ("boxed", "hashes", "answer-is", "whole", "conclusion", "last-math")
_FIRST_UNMARKED = "whole"
SHORT_LINE = 300
MAX_MARKERS = 40
MAX_SENTENCE = 3_000

_END_OF_THINK = re.compile(r"</(?:think|thinking|thought|reasoning)>")
_OPEN_THINK = re.compile(r"<(?:think|thinking|thought|reasoning)>")
_SPECIAL = re.compile(r"<\|[^|<>]{1,30}\|>|</s>|<s>|</?answer>|<(?:bos|eos|end_of_turn|pad)>")
_RUN = re.compile(r"\s{4,}")
_BOX = re.compile(r"\\f?box(?:ed)?(?![A-Za-z])\s*")
_BETWEEN_BOXES = re.compile(
    r"[\s$\\()\[\]]{0,9}(?:,|;|and|or|&|\\text\s?\{\s?(?:and|or)\s?\}|\\quad|\s){1,3}[\s$\\()\[\],]{0,9}"
    r"(?:[A-Za-z]\w?\s?=\s?)?"
)
_NEXT_QUESTION = re.compile(
    r"\n[ \t]{0,9}(?:\*\*|#{1,4} )?(?:Q|Question|Problem|Human|User|Instruction|Exercise|Example)(?: \d{1,3})?\s?"
    r"(?::|\*\*:|\.\s)"
)
_HASHES = re.compile(r"####[ \t*:]*([^\n]+)")
_ANSWER = re.compile(
    r"\banswers?\b(?:\s*\([^()\n]{0,30}\))?(?:\s+(?:to|for|of|in|as|expressed|here|that)\b[^.:=\n]{0,80}?)?[\s*_]*"
    r"(?:\b(?:is|are|was|will be|would be|should be|must be|becomes|equals|comes out to be|comes out to)\b\s*:?|:|=)"
    r"|\banswers?\s+[-–—]\s|\bans\b\s?[.:=]+"
    r"|(?:^|\n)[#*_ \t]*(?:final\s+)?answer[#*_ \t]*(?:\n|$)"
    r"|答案\s*(?:是|为|爲|為|：|:|\s)|答え\s*(?:は|：|:)|정답\s*(?:은|:)?|답\s*(?:은|:)"
    r"|\b(?:la\s+)?r[ée]ponse(?:\s+finale)?\s*(?:est|:)|\b(?:la\s+)?respuesta(?:\s+final)?\s*(?:es|:)"
    r"|\b(?:die\s+)?antwort\s*(?:ist|lautet|:)|\b(?:a\s+)?resposta(?:\s+final)?\s*(?:é|:)"
    r"|\b(?:la\s+)?risposta(?:\s+finale)?\s*(?:è|:)"
    r"|\bответ\s*(?::|-|—)?",
    re.IGNORECASE,
)
# Every match has one of these, with at most MAX_LEAD characters of the match in front of it.
_ANSWER_WORDS = (
    "answer", "ans.", "ans:", "ans=", "ans ", "答", "답", "ponse", "puesta", "antwort", "posta", "ответ",
)  # fmt: skip
MAX_LEAD = 60
_SENTENCE_END = re.compile(
    r"\n|(?:[.?。]|(?<=[A-Za-z]{2})!)(?=\s{1,9}[(A-Z\u4e00-\u9fff\"']|\s*$)|\.(?=\s+[a-z]{2})|[.](?=\s*\*\*\s*$)"
)
_PLACE = re.compile(
    r",\s(?:which is\s)?(?:attained|achieved|reached|obtained|taken|assumed|occurring)\s[^,\n]{1,80},(?=\s)",
    re.IGNORECASE,
)
_CORRECTED = re.compile(
    r"^.{0,80}?\b(?:is|are)\snot\s[^.;\n]{1,80}?\sbut\s(?:rather\s|instead\s)?(?=\S{1,80}$)", re.IGNORECASE
)
_REJECTED = re.compile(
    r"[;,.]\s(?:(?:but|while|as|since|and)\s)?(?:the\s)?other\s[^;\n]{1,80}\s"
    r"(?:rejected|discarded|extraneous|inadmissible|excluded|invalid|not (?:valid|allowed|admissible))\s?\.?$",
    re.IGNORECASE,
)
_THERE_ARE = re.compile(
    r"^(?:(?:so|thus|hence|therefore|then|in total|altogether|overall),?\s)?there\s(?:are|is)\s"
    r"(?:(?:exactly|only|precisely|just|in total|a total of)\s)?"
    r"(?P<value>\$[^$\n]{1,80}\$|\d[\d,]*)\s"
    r"(?P<rest>such\s[A-Za-z][^,;\n]{1,100}|[a-z]{3,20}\s(?:below|under|up to)\s\S{1,20})$",
    re.IGNORECASE,
)
_EQUATION = re.compile(
    r"equation|\blines?\b|relation|condition|constraint|curve|formula|identity|solv|plane|circle|given", re.IGNORECASE
)
_IS_EQUATION = re.compile(r"(?:[A-Za-z']{1,20}\s){2,8}(?:is|are|was|were)\s(?P<equation>[^=]{1,80}=[^=]{1,40})$")
_EXCLAIMED = re.compile(r"((?<![$\\])\$\d[\d,]*(?:\.\d+)?|\d\.\d+)!+$")
_HANGING = re.compile(r"\s(?:and|or|the|of|is|then|which|because|that|by)$|[A-Za-z]{2}\s\d+\s?\.\.\.$", re.IGNORECASE)
_SUPPOSED = re.compile(r"^\s*(?:if|suppose|assume|let)\s.{1,80}?(?:\sthen\s|,\s)[^\d$\\=]*$", re.IGNORECASE)
_COMPUTED = re.compile(
    r"(?:\d|\)|%|[a-z])\s?=\s?(?P<value>\$?\d[\d,]*(?:\.\d+)?%?)(?![\d,.]*\d|\s\d)(?!\s?[-+*/^=\u00d7\u00f7]|\s?x\s)"
)
_OPERATOR = re.compile(r"\d\s?[A-Za-z]{0,12}\s?[-+*/x\u00d7\u00f7\u2013\u2212]\s?\$?\d")
_DENIED = re.compile(r"\b(?:cannot|can't|can not|could not|couldn't|may|might|could) be\b", re.IGNORECASE)
_PRICE = re.compile(r"\$\d[\d,]*(?:\.\d+)?(?=[\s.,;!?)]|$)")
_OPEN_END = re.compile(
    r"(?:[=+*/<(,\\&^_]|(?<=\s)-|[A-Za-z]{2}\s?(?:\.\.\.|\u2026)|\b(?:the|of|for|is|and|a|an|to|with|that|by|we|which|then|"
    r"because|so|are|from|if|when|where|as|at|have|has|get|since|thus|hence|therefore|equals?|condition))$",
    re.IGNORECASE,
)
_CONTRAST = re.compile(r",\s(?:not|rather than|instead of)\s[^.]*$", re.IGNORECASE)
_BECAUSE = re.compile(
    r"[,;]?\s+\(?(?:because|since|which|as (?:required|desired|claimed|shown|we|the|it)|after|by (?:the|using)|"
    r"according|obtained|or (?:equivalently|approximately|about|simply|in other words)|i\.e\.|i hope|"
    r"and (?:this|we|that|it)|where we|weil|car|porque|attained|achieved|when(?! divided))\b.*$",
    re.IGNORECASE | re.DOTALL,
)
_MATH = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|(?<![\\$])\$([^$\n]+?)\$(?!\d)", re.DOTALL)
_NUMBER = re.compile(
    r"(?<![A-Za-z_\d.])[-−]?[$€£]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?:\s*/\s*\d+)?%?(?![A-Za-z_\d])"
)
_LATEX_VALUE = re.compile(r"-?\\d?frac\s*\{[^{}]*\}\s*\{[^{}]*\}")
_DISPLAY_LINE = re.compile(r"^\s*(?:\$\$|\\\[|\\\]|\$|```)\s*$")


@dataclass(frozen=True, slots=True)
class Found:
    """The text of an answer, and the rule that found it."""

    rule: str
    text: str


def without_thinking(completion: str) -> tuple[str, bool]:
    """The part of a completion that counts, and whether thinking in it was never closed."""
    text = completion[-MAX_COMPLETION:]
    if "</" in text and _END_OF_THINK.search(text):
        text = _END_OF_THINK.split(text)[-1]
    opened = _OPEN_THINK.search(text)
    if opened is not None:
        return text[: opened.start()], True
    return text, False


def _before_next_question(text: str) -> str:
    """The text up to where a base model goes on with another question, if an answer is marked before it."""
    for found in _NEXT_QUESTION.finditer(text):
        before = text[: found.start()]
        if _ANSWER.search(before) or _HASHES.search(before) or _BOX.search(before):
            return before
    return text


def _braced(text: str, start: int) -> tuple[str, int] | None:
    """The content of the group that opens at ``start`` and the position behind it; None where it does not close."""
    depth = 0
    position = start
    while position < len(text):
        mark = text[position]
        if mark == "\\":
            position += 2
            continue
        if mark == "{":
            depth += 1
        elif mark == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : position], position + 1
        position += 1
    return None


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Start, end and content of the last boxes, in order."""
    found = []
    for mark in list(_BOX.finditer(text))[-MAX_MARKERS:]:
        if text[mark.end() : mark.end() + 1] == "{":
            braced = _braced(text, mark.end())
            if braced is not None:
                found.append((mark.start(), braced[1], braced[0]))
            else:  # a completion that was cut off, or a brace too few
                found.append((mark.start(), len(text), text[mark.end() + 1 :].split("\n")[0].rstrip("$ .")))
        else:
            bare = re.match(r"[^\s$.,;{}]+(?:\.\d+)?", text[mark.end() :])
            if bare is not None:
                found.append((mark.start(), mark.end() + bare.end(), bare[0]))
    return found


def _boxed(text: str) -> str | None:
    boxes = [box for box in _boxes(text) if box[2].strip()]
    if not boxes:
        return None
    contents = [boxes[-1][2]]
    start = boxes[-1][0]
    for box_start, end, content in reversed(boxes[:-1]):
        if end > start:  # a box inside of the box
            continue
        between = text[end:start]
        if len(between) > 40 or "\n" in between.strip(" $") or not _BETWEEN_BOXES.fullmatch(between):
            break
        if not re.search(r",|;|and|or|&", between):
            break
        contents.insert(0, content)
        start = box_start
    nested = _BOX.search(contents[-1])
    if len(contents) == 1 and nested is not None:
        inner = _boxed(contents[0])
        return inner if inner is not None else contents[0]
    return ", ".join(dict.fromkeys(contents)) if len(contents) > 1 else contents[0]


def _hashes(text: str) -> str | None:
    for found in reversed(list(_HASHES.finditer(text))[-MAX_MARKERS:]):
        content = found[1].strip()
        if not content or _ANSWER.match(content):
            continue
        if not _wordy(content) or (len(content.split()) <= 3 and not text[found.end() :].strip()):
            return content
    return None


def _wordy(text: str) -> bool:
    """Whether the text reads as nothing but words."""
    try:
        return all(isinstance(form, Words) for form in read(text))
    except TooMuch:
        return False


def _prose(text: str) -> bool:
    """Whether a text that reads as several values is a sentence with formulas in it."""
    plain = re.sub(r"\\[A-Za-z]+|\([^()]*\)", " ", _MATH.sub(" ", text))
    if len(re.findall(r"[A-Za-z]{3,}", plain)) < 4:
        return False
    try:
        return any(isinstance(form, (Sequence, Relation)) for form in read(text))
    except TooMuch:
        return False


def _sentence(tail: str) -> str:
    """The first sentence of a text that is not inside a formula; a display formula as a whole."""
    tail = tail[:MAX_SENTENCE].lstrip(" \t:*_")
    if not tail.strip():
        return ""
    if tail[:1] == "\n" or _DISPLAY_LINE.match(tail.split("\n")[0]):
        tail = tail.strip()
    display = re.match(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\$\s*\n(.+?)\n\s*\$", tail, re.DOTALL)
    if display:
        rest = tail[display.end() :]
        if not re.match(r"\s*(?:or|and|,)\s", rest):
            return next(group for group in display.groups() if group is not None).strip()
    formulas = [found.span() for found in _MATH.finditer(tail)]
    for end in _SENTENCE_END.finditer(tail):
        if not any(start < end.start() < stop - 1 for start, stop in formulas):
            return tail[: end.start()].strip()
    return tail.strip()


def _stated(sentence: str) -> str:
    """What a sentence gives as the answer, reasons and asides left out."""
    if sentence.endswith("!") and (sentence.count("$") % 2 or "." in sentence[-8:]):
        sentence = _EXCLAIMED.sub(r"\1", sentence)
    there = _THERE_ARE.match(sentence.rstrip(".! "))
    if there is not None and not re.search(r"\b(?:and|or|plus|minus|times|more|less)\b", there["rest"]):
        return there["value"]
    sentence = _CORRECTED.sub("", _REJECTED.sub("", _PLACE.sub("", sentence)))
    sentence = _BECAUSE.sub("", _CONTRAST.sub("", sentence)).strip().strip("*_").strip()
    if not _wordy(sentence) and not _prose(sentence):
        said = _IS_EQUATION.match(sentence)
        return sentence if said is None or _EQUATION.search(said[0]) else _evaluated(said["equation"])
    for tail in words.after_copula(clean(sentence)):
        if not _wordy(tail):
            return tail if _EQUATION.search(sentence) else _evaluated(tail)
    if not _wordy(sentence):
        return sentence
    formulas = list(_MATH.finditer(sentence))
    if len(formulas) == 1 and not words.HEDGE.search(sentence):
        inside = next(group for group in formulas[0].groups() if group is not None)
        if not _wordy(inside):
            return inside
    return sentence


def _evaluated(text: str) -> str:
    """The value at the end of ``x + 2 = 12``, in a sentence that says what something is."""
    before, equals, value = text.rpartition("=")
    if not equals or not re.fullmatch(r"\s*-?\d+(?:\.\d+)?\s?%?\.?\s*", value) or re.search(r"[<>,]|and|or", before):
        return text
    return value.strip() if re.fullmatch(r"\s*[A-Za-z]\w?\s?[-+*/].{1,60}", before) else text


def _answer_is(text: str) -> str | None:
    lower = text.lower()
    first = min((place for word in _ANSWER_WORDS if (place := lower.find(word)) >= 0), default=None)
    if first is None:  # which is much quicker to see than that the pattern is nowhere
        return None
    # A few letters are longer in lower case, and places do not agree then.
    start = max(text.rfind("\n", 0, first), first - MAX_LEAD, 0) if len(lower) == len(text) else 0
    for found in reversed(list(_ANSWER.finditer(text, start))[-MAX_MARKERS:]):
        sentence = _sentence(text[found.end() :])
        if sentence:
            return _stated(sentence)
    return None


def _whole(text: str) -> str | None:
    lines = [line for line in text.strip().split("\n") if line.strip() and not _DISPLAY_LINE.match(line)]
    if len(lines) > 1 and "\\begin" in text and len(text) <= SHORT_LINE:
        return text.strip()
    if len(lines) != 1 or len(lines[0]) > SHORT_LINE:
        return None
    if _has_two_sentences(lines[0]) or _SUPPOSED.match(lines[0]):
        return None
    stated = _stated(lines[0].strip())
    if _wordy(stated) and len(stated.split()) > 6:
        return None
    return stated


def _has_two_sentences(line: str) -> bool:
    """Whether two sentences of words stand in a line: then the last one has the answer."""
    first = _sentence(line)
    rest = line[line.find(first) + len(first) :].strip(" .!?")
    return all(len(re.findall(r"[A-Za-z]{2,}", _MATH.sub(" ", part))) >= 3 for part in (first, rest))


def _cut_off(text: str) -> bool:
    """Whether a text stops within a sentence or formula, so that what it says last is not its answer."""
    text = text.rstrip()
    if any(text.count(opening) > text.count(closing) for opening, closing in (("\\(", "\\)"), ("\\begin", "\\end"))):
        return True
    if _HANGING.search(text[-80:]) or (text.endswith("?") and re.search(r"[A-Za-z]{2}", text)):
        return True
    if len(re.findall(r"[A-Za-z]{3,}", text)) < 3:
        return False
    tail = text.rpartition("$")[2]
    marks = text.replace("\\$", "")
    opened = all(marked.count("$") % 2 for marked in (marks, _PRICE.sub("", marks))) and not re.match(r"\d", tail)
    return (opened and re.search(r"\w", tail) is not None) or _OPEN_END.search(text[-80:]) is not None


def _sentences(text: str) -> list[str]:
    """The last sentences of a text, last first."""
    lines = [line.strip() for line in text.strip().split("\n") if line.strip() and not _DISPLAY_LINE.match(line)]
    found: list[str] = []
    for line in lines[-2:]:
        rest = line[-4 * SHORT_LINE :]
        while rest:
            sentence = _sentence(rest)
            if not sentence:
                break
            found.append(sentence)
            rest = rest[rest.find(sentence) + len(sentence) :].lstrip(" .!?。")
    return found[::-1][:3]


def _computed(sentence: str) -> str | None:
    """The result of the one calculation that closes a sentence: 12 in "it takes 360/30 = 12 days to finish"."""
    found = list(_COMPUTED.finditer(sentence))
    if not found or "=" in sentence[found[-1].end() :] or len(re.findall(r"[A-Za-z]{2,}", sentence)) < 3:
        return None
    before = sentence[: found[-1].start("value")]
    if not _OPERATOR.search(before[-60:]) or words.HEDGE.search(re.sub(r"\b[Ii]f\b", " ", sentence)):
        return None
    return None if re.search(r"\\|\bor\b", sentence) else found[-1]["value"]


def _conclusion(text: str) -> str | None:
    for sentence in _sentences(text)[:1]:
        if len(sentence) <= SHORT_LINE and not _SUPPOSED.match(sentence):
            if _DENIED.search(sentence):
                return None
            computed = _computed(sentence)
            if computed is not None:
                return computed
            stated = _stated(sentence)
            if not _wordy(stated):
                return stated
    return None


def _last_math(text: str) -> str | None:
    """The last formula or number; None where its sentence does not assert it."""
    tail = text[-4000:]
    candidates = [
        (found.end(), found.start(), next(g for g in found.groups() if g is not None)) for found in _MATH.finditer(tail)
    ]
    candidates += [(found.end(), found.start(), found[0]) for found in _LATEX_VALUE.finditer(tail)]
    candidates += [
        (found.end(), found.start(), found[0]) for found in _NUMBER.finditer(tail) if re.search(r"\d", found[0])
    ]
    for end, start, content in sorted(candidates, key=lambda entry: (-entry[0], entry[1]))[:12]:
        if any(s <= start and end <= e and (s, e) != (start, end) for e, s, _ in candidates):
            continue
        before = re.split(r"\n|[.!?](?=\s)", tail[:start])[-1]
        after = re.split(r"\n|[.!?](?=\s|$)", tail[end:])[0]
        if (
            words.HEDGE.search(before)
            or re.search(r"\b(?:for (?:every|each)|per)\s[$]?$", before[-12:])
            or words.HEDGE.search(after)
            or re.search(r"\b(?:or|versus)\b", before[-12:] + " " + after[:6])
        ):
            return None
        if not _wordy(content):
            return content
    return None


_FINDERS = (
    ("boxed", _boxed),
    ("hashes", _hashes),
    ("answer-is", _answer_is),
    ("whole", _whole),
    ("conclusion", _conclusion),
    ("last-math", _last_math),
)


def extract(completion: str) -> Found | None:
    """The answer of a completion, or None where no rule finds one."""
    text, _ = without_thinking(completion)
    if "<" in text:
        text = _SPECIAL.sub(" ", text)
    text = _RUN.sub(lambda run: "\n\n" if "\n" in run[0] else "  ", text)
    text = _before_next_question(text)
    if not text.strip():
        return None
    for rule, finder in _FINDERS:
        if rule == _FIRST_UNMARKED and _cut_off(text):
            return None
        content = finder(text)
        if content is not None and content.strip():
            return Found(rule, content.strip())
    return None
