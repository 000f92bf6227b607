"""Which part of a completion is embedded."""

from __future__ import annotations

import re
from typing import Literal

Part = Literal["whole", "reasoning"]

_ANSWER = re.compile(
    r"\\(?:boxed|fbox)\b"
    r"|####(?!#)(?=[ \t*:]*[^\sA-Za-z*:])"  # GSM8K's mark; before a word it is a Markdown heading
    r"|<answer>"
    r"|\b(?:the|final|correct) answer(?: is\b| ?:)"
    r"|^[ \t*#_]*answer[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)


def part_of(text: str, part: Part) -> str:
    """The text itself, or its reasoning."""
    return text if part == "whole" else reasoning_part(text)


def reasoning_part(text: str) -> str:
    r"""What stands before the answer, without outer white space.

    1. With </think>: what is before it, and after <think> if that is there (a prompt can end with it).
    2. With <think> alone: all that follows it; the thought was cut off.
    3. Otherwise what is before the last of \boxed, ####, <answer>, "the answer is", "Answer:" and their like.

    A text without any of these, or with nothing in front of it, is returned whole: nothing says where its
    reasoning ends, and the empty text has no meaning to compare; all such rollouts would count as one.
    """
    thought, closed, _ = text.partition("</think>")
    _, opened, inside = thought.partition("<think>")
    if closed or opened:
        reasoning = inside if opened else thought
    else:
        marks = [mark.start() for mark in _ANSWER.finditer(text)]
        reasoning = text[: marks[-1]] if marks else text
    return reasoning.strip() or text
