"""Texts for cells of CSV files that people open in spreadsheets."""

from __future__ import annotations

from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet runs, where a cell begins with it


def plain_cell(value: Any) -> Any:
    """The value; a text that a spreadsheet would run as a formula with an apostrophe before it. Numbers stay."""
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
