"""JSON that others wrote, where whatever is wrong with it is a ValueError; and what JSON has no number for."""

from __future__ import annotations

import json
import math
from typing import Any

DEEPEST = 50  # levels; our own data has less than ten, and what walks them recursively has room for so many


def loads(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError also where it is nested too deeply."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    check_depth(value)
    return value


def check_depth(value: Any, left: int = DEEPEST) -> None:
    """Raises ValueError where lists and tables are nested more than ``left`` levels deep."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for inner in inside:
        if isinstance(inner, (dict, list)):
            if not left:
                raise ValueError("nested too deeply")
            check_depth(inner, left - 1)


def check_text(value: Any) -> None:
    """Raises ValueError where a text in JSON data holds a lone surrogate: valid JSON, but no text in any encoding."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{error.object[error.start]!a} is no character (a lone surrogate)") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def finite(data: Any) -> Any:
    """The data with None for NaN and infinities."""
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
