"""Scores as a JSON document: small, exact, the same bytes for the same scores.

    {"kind": "scores", "schema_version": 1,
     "tasks": {TASK: [problem ids]},
     "scores": [{"name", "untrained", "about", "tasks": {TASK: {SEED: {COLUMN: numbers}}}}, ...]}

The numbers of a column stand in the order of the task's problems; `null` in "drawn" where there is no such cell.
One number stands for a column that is the same in all cells that are there. Columns that were not stored are left
out, and "score" where it equals "right" (scores of 0 and 1).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groupwise.harness.errors import InputError
from groupwise.harness.jsontext import check_text, loads
from groupwise.harness.scores.collect import finished
from groupwise.harness.scores.table import COUNTS, Scores

KIND, SCHEMA_VERSION = "scores", 1
WHOLE = ("drawn", "scored", "right", "truncated", "parsed")  # columns that count rollouts
LARGEST = 2**53  # beyond it a count is no whole number as a float any more

Document = dict[str, Any]


def to_document(scores: Sequence[Scores]) -> Document:
    """The document of some models' scores; `Scores.place` is not part of it. Problems are sorted by id."""
    every = pd.concat([one.table[["task", "problem"]] for one in scores]).drop_duplicates()
    problems = {str(task): sorted(rows["problem"]) for task, rows in every.groupby("task")}
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "tasks": problems,
        "scores": [
            {
                "name": one.name,
                "untrained": one.untrained,
                "about": dict(one.about),
                "tasks": {
                    str(task): {str(seed): _columns(cell, problems[str(task)]) for seed, cell in rows.groupby("seed")}
                    for task, rows in one.table.groupby("task")
                },
            }
            for one in scores
        ],
    }


def from_document(document: Mapping[str, Any], place: str) -> list[Scores]:
    """The scores of a document. Raises InputError, naming `place` and the key, for what is not as above."""
    if document.get("kind") != KIND:
        raise InputError(f"{place}: kind: expected {KIND!r}, got {document.get('kind')!r}")
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(f"{place}: schema_version is {version!r}, this version reads {SCHEMA_VERSION}")
    problems, entries = document.get("tasks"), document.get("scores")
    if not isinstance(problems, dict) or not isinstance(entries, list) or not entries:
        raise InputError(f"{place}: expected `tasks` with problem ids and a list of `scores`")
    try:
        check_text(document)
    except ValueError as error:
        raise InputError(f"{place}: {error}") from None
    for task, ids in problems.items():
        _check_ids(ids, f"{place}: tasks.{task}")
    return [_scores(entry, problems, place, f"scores[{number}]") for number, entry in enumerate(entries)]


def _check_ids(ids: Any, where: str) -> None:
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise InputError(f"{where}: expected a list of problem ids (texts)")
    if len(set(ids)) < len(ids):
        again = next(one for number, one in enumerate(ids) if one in ids[:number])
        raise InputError(f"{where}: problem {again!a} is there a second time")


def text(document: Mapping[str, Any]) -> str:
    """The document's bytes: objects on lines of their own, arrays on one line."""
    return "".join(_json(document, 0)) + "\n"


def write_document(path: Path, scores: Sequence[Scores]) -> None:
    """Write scores to a file; the same scores give the same bytes."""
    path.write_text(text(to_document(scores)), encoding="utf-8", newline="\n")


def read_document(path: Path) -> list[Scores]:
    """The scores of a file. Raises InputError naming file and key."""
    try:
        document = loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a JSON document of stored scores: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a JSON object of kind {KIND!r}, got {type(document).__name__}")
    return from_document(document, str(path))


def _columns(cell: pd.DataFrame, problems: Sequence[str]) -> Document:
    """The columns of one task and seed, in the order of `problems`."""
    found: Document = {}
    wide = cell.set_index("problem").reindex(list(problems))
    for column in COUNTS:
        if column == "score" and cell["score"].equals(cell["right"].astype("float64")):
            continue
        if cell[column].isna().all():
            continue
        distinct = cell[column].unique()
        whole = column == "drawn" and len(cell) < len(problems)  # says which cells are there
        found[column] = _number(distinct[0]) if len(distinct) == 1 and not whole else [*map(_number, wide[column])]
    return found


def _number(value: Any) -> int | float | None:
    number = float(value)
    if math.isnan(number):
        return None
    return int(number) if number.is_integer() else number


def _scores(entry: Any, problems: Mapping[str, Sequence[str]], place: str, key: str) -> Scores:
    where = f"{place}: {key}"
    tasks, about = (_object(_object(entry, where).get(name), f"{where}.{name}") for name in ("tasks", "about"))
    name, untrained = entry.get("name"), entry.get("untrained")
    if not isinstance(name, str) or not isinstance(untrained, bool):
        raise InputError(f"{where}: expected `name`, a text, and `untrained`, true or false")
    try:
        json.dumps(about, allow_nan=False)
    except ValueError:
        raise InputError(f"{where}.about: expected finite numbers") from None
    for task, told in _object(about.get("tasks", {}), f"{where}.about.tasks").items():
        _object(told, f"{where}.about.tasks.{task}")
    parts = []
    for task, seeds in tasks.items():
        if task not in problems:
            raise InputError(f"{where}.tasks.{task}: no problem ids of this task in `tasks`")
        for seed, columns in _object(seeds, f"{where}.tasks.{task}").items():
            here = f"{where}.tasks.{task}.{seed}"
            cell = _cell(_object(columns, here), problems[task], here)
            parts.append(cell.assign(task=task, seed=_seed(seed, here)))
    if not any(map(len, parts)):
        raise InputError(f"{where}.tasks: expected at least one task with scores")
    return Scores(name, place, finished(pd.concat(parts, ignore_index=True)), untrained, about)


def _object(value: Any, where: str) -> Document:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, {'nothing there' if value is None else f'got {value!a:.60}'}")
    return value


def _seed(seed: str, where: str) -> int:
    """A seed as it is written: 00 would be another seed 0."""
    if not re.fullmatch(r"0|-?[1-9][0-9]{0,18}", seed) or not -(2**63) <= int(seed) < 2**63:
        raise InputError(f"{where}: expected an integer of 64 bits as the seed, got {seed!a:.60}")
    return int(seed)


def _cell(columns: Mapping[str, Any], problems: Sequence[str], where: str) -> pd.DataFrame:
    """Columns of one task and seed, a row for each problem that is there."""
    table = pd.DataFrame({"problem": list(problems)})
    if unknown := [name for name in columns if name not in COUNTS]:
        raise InputError(f"{where}.{unknown[0]}: no such column: expected {', '.join(COUNTS)}")
    for column in COUNTS:
        stored = "right" if column == "score" and "score" not in columns else column
        if columns.get(stored) is None and column in ("drawn", "scored", "right"):
            raise InputError(f"{where}: expected a column {column!r}")
        table[column] = _numbers(columns.get(stored), len(problems), column, f"{where}.{stored}")
    table = table[table["drawn"].notna()]
    counts, top = table[["right", "score", "scored", "drawn"]], 1e-9
    if (
        counts.isna().any(axis=None)
        or not (
            (counts["right"] <= counts["score"] + top)
            & (counts["score"] <= counts["scored"] + top)
            & (counts["scored"] <= counts["drawn"])
            & (counts["drawn"] >= 1)
        ).all()
    ):
        raise InputError(f"{where}: expected 0 <= right <= score <= scored <= drawn, and drawn >= 1, for every problem")
    for column in ("truncated", "parsed"):
        if (table[column] > table["drawn"]).any():
            raise InputError(f"{where}.{column}: expected at most as many as were drawn")
    return table


def _numbers(values: Any, size: int, column: str, where: str) -> NDArray[np.float64]:
    """The numbers of a column, NaN where null: one for each problem, or one that stands for all."""
    every = values if isinstance(values, list) else [values]
    if isinstance(values, list) and len(values) != size:
        raise InputError(f"{where}: {len(values)} numbers for {size} problems")
    for number, value in enumerate(every):
        right = value is None or (type(value) in (int, float) and 0 <= value <= LARGEST)
        if not right or (column in WHOLE and value is not None and value != int(value)):
            expected = "a whole number from 0" if column in WHOLE else "a number from 0"
            at = f"[{number}]" if isinstance(values, list) else ""
            raise InputError(f"{where}{at}: expected {expected} or null, got {value!a:.60}")
    found: NDArray[np.float64] = np.array(every, dtype=np.float64)
    return found if isinstance(values, list) else found.repeat(size)


def _json(value: Any, depth: int) -> Iterator[str]:
    if not isinstance(value, Mapping) or not value:
        if isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
            yield "["
            for number, inner in enumerate(value):
                yield (",\n" if number else "\n") + " " * (depth + 1)
                yield from _json(inner, depth + 1)
            yield "\n" + " " * depth + "]"
            return
        yield json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        return
    yield "{"
    for number, key in enumerate(sorted(value)):
        yield (",\n" if number else "\n") + " " * (depth + 1) + json.dumps(key, ensure_ascii=False) + ": "
        yield from _json(value[key], depth + 1)
    yield "\n" + " " * depth + "}"
