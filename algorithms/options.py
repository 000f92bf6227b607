"""Hyper-parameters that say what they are, where their value comes from, and what they accept.

An option is a dataclass field whose metadata is made by ``about``. ``check`` compares a value with it, so
that a bad value is refused when an algorithm is built, not hours into a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import Field
from typing import Any, ClassVar, Protocol


class Owner(Protocol):
    """A class with options, some of which it may have no use for."""

    unused: ClassVar[frozenset[str]]


def about(
    doc: str,
    source: str,
    *,
    low: float | None = None,
    above: float | None = None,
    choices: Sequence[str] = (),
    off: bool = False,
) -> dict[str, Any]:
    """Metadata of one option.

    ``doc`` says what it does, ``source`` where its default comes from. ``low`` is the smallest accepted
    number, ``above`` a number it has to exceed; with ``off``, 0 is accepted too and turns it off. ``choices`` are
    the accepted words. An option whose default is a tuple accepts a list of words, or of numbers, alike.
    """
    return {"doc": doc, "source": source, "low": low, "above": above, "choices": tuple(choices), "off": off}


def used_by(owner: type[Owner], option: Field[Any]) -> bool:
    """Whether the class has a use for the option."""
    return option.name not in owner.unused


def accepted(option: Field[Any]) -> str:
    """What the option accepts, in words; its type is that of its default."""
    if option.metadata["choices"]:
        return "one of " + ", ".join(repr(choice) for choice in option.metadata["choices"])
    if isinstance(option.default, bool):
        return "true or false"
    if isinstance(option.default, tuple):
        return "a list of numbers" if option.metadata["low"] is not None else "a list of words"
    words = "a whole number" if isinstance(option.default, int) else "a number"
    if option.metadata["low"] is not None:
        return f"{words} of at least {option.metadata['low']:g}"
    if option.metadata["above"] is not None:
        off = "0 (off), or " if option.metadata["off"] else ""
        return f"{off}{words} above {option.metadata['above']:g}"
    return words


def check(owner: str, option: Field[Any], value: object, used: bool = True) -> None:
    """Raises ValueError, naming the field and what it accepts, when the option does not accept the value, or when
    the owner has no use for it and it is not left alone."""
    if not used and value != option.default:
        raise ValueError(f"{owner}: {option.name} has no place in its formula")
    if not _accepts(option, value):
        raise ValueError(f"{owner}: {option.name} must be {accepted(option)}, not {value!r}")


def _accepts(option: Field[Any], value: object) -> bool:
    rules = option.metadata
    if rules["choices"]:
        return value in rules["choices"]
    if isinstance(option.default, bool):
        return isinstance(value, bool)
    if isinstance(option.default, tuple):
        return isinstance(value, tuple) and all(_accepts_one(rules, one) for one in value)
    # bool is an int to Python, but `group_size = true` in an experiment file is a mistake
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    if isinstance(option.default, int) and not isinstance(value, int):
        return False
    if rules["off"] and value == 0:
        return True
    if rules["low"] is not None and value < rules["low"]:
        return False
    return rules["above"] is None or value > rules["above"]


def _accepts_one(rules: Any, value: object) -> bool:
    """Whether a list accepts the element: numbers where ``low`` is given, words otherwise."""
    if rules["low"] is None:
        return isinstance(value, str) and bool(value)
    return not isinstance(value, bool) and isinstance(value, int | float) and rules["low"] <= value < math.inf
