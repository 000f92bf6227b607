"""Tables made ready for a page: each cell with the number to sort it by, beside the text to show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.harness.layout import BASE
from groupwise.harness.report.tables import Cell, Table, name_of

Summary = dict[str, Any]

_NUMBER = re.compile(
    r"(?P<bound>[<>≤≥]?)\s*(?P<value>[+−-]?\d[\d\u202f]*(?:\.\d+)?)\s?%?(?P<bracket>\s*\[[^\]]*\])?(?:\s+of\s+\d+)?"
)


@dataclass(frozen=True)
class Value:
    """key: the number to sort by, None for text and for a dash. main, bracket: the text in two parts."""

    main: str
    bracket: str
    key: float | None
    bold: bool


@dataclass(frozen=True)
class Row:
    """tag: what the row's label is besides one optimizer among others, or nothing."""

    cells: tuple[Value, ...]
    tag: str


@dataclass(frozen=True)
class Sheet:
    """numeric: for each column, whether it is sorted by number. place: its id in the page."""

    name: str
    place: str
    title: str
    caption: str
    head: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[Row, ...]


def sort_key(text: str) -> float | None:
    """The number that a cell's text starts with; None when the text is no number. `<0.001` sorts before 0.001."""
    found = _NUMBER.fullmatch(text.strip())
    if not found:
        return None
    value = float(found["value"].replace("−", "-").replace("\u202f", ""))
    beside = {"<": -1.0, ">": 1.0}.get(found["bound"], 0.0)
    return value + beside * 1e-9 * max(abs(value), 1e-3)


def place(name: str) -> str:
    """A name as part of an id, to which a paper can link."""
    return re.sub(r"[^\w-]+", "-", name)


def sheet(summary: Summary, table: Table) -> Sheet:
    """The table with its numbers; text columns stay text, whatever they look like."""
    tags = {name_of(summary, summary["comparator"]): "comparator", BASE: "before training"}
    tags = tags if len(table.rows) > 1 else {}
    rows = tuple(
        Row(
            tuple(_value(cell, number=column >= table.text_columns) for column, cell in enumerate(cells)),
            tags.get(cells[0].text, ""),
        )
        for cells in table.rows
    )
    numeric = tuple(
        column >= table.text_columns and _numeric([row.cells[column] for row in rows])
        for column in range(len(table.head))
    )
    return Sheet(table.name, place(table.name), table.title, table.caption, tuple(table.head), numeric, rows)


def _value(cell: Cell, *, number: bool) -> Value:
    key = sort_key(cell.text) if number else None
    main, bracket = cell.text, ""
    if key is not None and " [" in cell.text:
        main, bracket = cell.text.split(" [", 1)
        bracket = "[" + bracket
    return Value(main, bracket, key, cell.bold)


def _numeric(column: Sequence[Value]) -> bool:
    return all(value.key is not None or value.main in ("–", "") for value in column)
