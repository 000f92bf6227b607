"""Which part of a completion is embedded."""

from __future__ import annotations

import re
from typing import Literal

Part = Literal["whole", "reasoning"]

_THOUGHT = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_MARKER = re.compile(r"\\boxed\b|####|\bthe (?:final )?answer is\b", re.IGNORECASE)


def part_of(text: str, part: Part) -> str:
    """The text itself, or its reasoning."""
    return text if part == "whole" else reasoning_part(text)


def reasoning_part(text: str) -> str:
    """What stands before the answer: inside <think>, or else before the last mark of an answer.

    A text that has neither, or nothing in front of it, is returned whole: an empty text has no meaning to compare.
    """
    thought = _THOUGHT.search(text)
    if thought and thought[1].strip():
        return thought[1].strip()
    marks = list(_MARKER.finditer(text))
    return (text[: marks[-1].start()].strip() if marks else "") or text
