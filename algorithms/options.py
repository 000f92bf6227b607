"""Hyper-parameters that say what they are, where their value comes from, and what they accept.

An option is a dataclass field whose metadata is made by ``about``. ``check`` compares a value with it, so
that a bad value is refused when an algorithm is built, not hours into a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import Field
from typing import Any


def about(
    doc: str,
    source: str,
    *,
    low: float | None = None,
    above: float | None = None,
    choices: Sequence[str] = (),
) -> dict[str, Any]:
    """Metadata of one option.

    ``doc`` says what it does, ``source`` where its default comes from. ``low`` is the smallest accepted
    number, ``above`` a number it has to exceed; ``choices`` are the accepted words.
    """
    return {"doc": doc, "source": source, "low": low, "above": above, "choices": tuple(choices)}


def accepted(option: Field[Any]) -> str:
    """What the option accepts, in words; its type is that of its default."""
    if option.metadata["choices"]:
        return "one of " + ", ".join(repr(choice) for choice in option.metadata["choices"])
    if isinstance(option.default, bool):
        return "true or false"
    words = "a whole number" if isinstance(option.default, int) else "a number"
    if option.metadata["low"] is not None:
        return f"{words} of at least {option.metadata['low']:g}"
    if option.metadata["above"] is not None:
        return f"{words} above {option.metadata['above']:g}"
    return words


def check(owner: str, option: Field[Any], value: object) -> None:
    """Raises ValueError, naming the field and what it accepts, when the option does not accept the value."""
    if not _accepts(option, value):
        raise ValueError(f"{owner}: {option.name} must be {accepted(option)}, not {value!r}")


def _accepts(option: Field[Any], value: object) -> bool:
    rules = option.metadata
    if rules["choices"]:
        return value in rules["choices"]
    if isinstance(option.default, bool):
        return isinstance(value, bool)
    # bool is an int to Python, but `group_size = true` in an experiment file is a mistake
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    if isinstance(option.default, int) and not isinstance(value, int):
        return False
    if rules["low"] is not None and value < rules["low"]:
        return False
    return rules["above"] is None or value > rules["above"]
