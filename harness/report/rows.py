"""Files of evaluated rollouts, read into columns: quickly where they are as they should be, else line by line.

A million rollouts are some gigabytes of text. So completions are kept for a share of the problems only: measures of
wording are estimated on these, and say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
from pyarrow import compute
from pyarrow import json as arrow_json

from groupwise.harness.jsontext import loads
from groupwise.harness.report.checks import LARGEST, RecordError, check_regular, count, number, shown, whole

__all__ = ["TEXT_PROBLEMS", "RecordError", "alike", "each_line", "read_lines", "read_rollouts", "some_problems"]

TEXT_PROBLEMS = 64  # of a task whose completions are kept
BLOCK = 32 << 20  # bytes; no line may be longer for the quick way

_READ = pa.schema(
    [
        ("problem", pa.string()),
        ("sample", pa.int64()),
        ("answer", pa.string()),
        ("score", pa.float64()),
        ("tokens", pa.float64()),
        ("finish_reason", pa.string()),
        ("valid_answers", pa.float64()),
        ("text", pa.string()),
    ]
)
_REQUIRED = ("problem", "sample", "answer", "score")


def read_lines(path: Path, *, running: bool) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file. running: a torn last line is dropped; else it is an error like any other."""
    return list(each_line(path, running=running))


def each_line(path: Path, *, running: bool) -> Iterator[dict[str, Any]]:
    """The same one by one: a file may be larger than memory."""
    check_regular(path)
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            line, at = file.readline(), 1
            while line:
                following = file.readline()
                row = _row(line, f"{path}, line {at}", last=not following, running=running)
                if row is None:
                    return
                yield row
                line, at = following, at + 1
    except FileNotFoundError:
        raise RecordError(f"{path}: not found") from None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from None


def _row(line: str, place: str, *, last: bool, running: bool) -> dict[str, Any] | None:
    """One line's row; None for a torn last one that may be there."""
    try:
        row = loads(line.removesuffix("\n"))
    except ValueError as error:
        if running and last:
            return None
        hint = " (a torn last line is only allowed while the run is going on)" if last else ""
        raise RecordError(f"{place}: not JSON: {error}{hint}") from None
    if not isinstance(row, dict):
        raise RecordError(f"{place}: expected an object, got {type(row).__name__}")
    return row


def read_rollouts(path: Path, *, running: bool, texts: bool) -> pa.Table:
    """One evaluation file as a table: problem, sample, answer, score, tokens, truncated, valid, text.

    text: null for problems that are not among the `TEXT_PROBLEMS` which `some_problems` chooses of this file, and
    everywhere without `texts`; `alike` then leaves the same ones in every file of a task. Raises RecordError naming
    the line for what is wrong.
    """
    table = _quick(path)
    if table is None:
        table = _slow(path, running=running)
    return _kept(table, texts=texts)


def _quick(path: Path) -> pa.Table | None:
    """The file through pyarrow; None when anything is unusual, for the slow way to name it or to cope with it."""
    check_regular(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from None
    if not data.endswith(b"\n"):
        return None
    try:
        table = arrow_json.read_json(
            pa.BufferReader(data),
            read_options=arrow_json.ReadOptions(block_size=min(max(len(data), 1), BLOCK)),
            parse_options=arrow_json.ParseOptions(explicit_schema=_READ, unexpected_field_behavior="ignore"),
        ).select(_READ.names)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError):
        return None
    # An absent key reads as null. Inside a string the quote before the colon is escaped: no text can fake a key.
    if table.num_rows != data.count(b"\n") or any(data.count(f'"{k}":'.encode()) < table.num_rows for k in _REQUIRED):
        return None
    limits = {"score": 1.0, "tokens": float(LARGEST), "valid_answers": float(LARGEST)}
    if not all(_within(table[column], most) for column, most in limits.items()):
        return None
    if table["problem"].null_count or table["sample"].null_count:
        return None
    problem = table["problem"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    sample = table["sample"].to_numpy()
    keys = problem * (int(sample.max(initial=0)) + 1) + sample
    return table if len(np.unique(keys)) == len(keys) and sample.min(initial=0) >= 0 else None


def _within(values: pa.ChunkedArray, most: float) -> bool:
    """Whether all numbers that are there lie in [0, most]."""
    ends = compute.min_max(values).as_py()
    # The extremes pass over NaN.
    return ends["min"] is None or (ends["min"] >= 0 and ends["max"] <= most and not _any(compute.is_nan(values)))


def _any(values: pa.ChunkedArray) -> bool:
    return bool(compute.any(values).as_py())


def _slow(path: Path, *, running: bool) -> pa.Table:
    rows, seen = [], set()
    for line, row in enumerate(read_lines(path, running=running), start=1):
        place = f"{path}, line {line}"
        _check(place, row)
        key = (str(row["problem"]), row["sample"])
        if key in seen:
            raise RecordError(f"{place}: problem {key[0]!a} sample {key[1]} is there twice")
        seen.add(key)
        kept: dict[str, Any] = {name: row.get(name) for name in _READ.names}
        kept |= {"problem": key[0], "answer": None if row["answer"] is None else str(row["answer"])}
        try:
            # Lone surrogates are valid JSON, and no text.
            kept["text"] = None if kept["text"] is None else str(kept["text"]).encode("utf-8", "replace").decode()
            rows.append(pa.RecordBatch.from_pylist([kept], schema=_READ).to_pylist()[0])
        except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError) as error:
            raise RecordError(f"{place}: {error}") from None
    return pa.Table.from_pylist(rows, schema=_READ)


def _check(place: str, row: dict[str, Any]) -> None:
    for name in _REQUIRED:
        if name not in row:
            raise RecordError(f"{place}: missing key {name!r}")
    if not isinstance(row["problem"], (str, int)):
        raise RecordError(f"{place}: problem must be an id (text or integer), got {shown(row['problem'])}")
    if not whole(row["sample"], 0, 2**63):
        raise RecordError(f"{place}: sample must be a whole number from 0, got {shown(row['sample'])}")
    score = row["score"]
    if score is not None and not (number(score) and 0 <= score <= 1):
        raise RecordError(f"{place}: score must be null or lie in [0, 1], got {shown(score)}")
    for name in ("tokens", "valid_answers"):
        if row.get(name) is not None and not count(row[name]):
            raise RecordError(f"{place}: {name} must be null or a number from 0, got {shown(row[name])}")


def some_problems(problems: Iterable[str], count: int) -> set[str]:
    """`count` of the problem ids, chosen by a hash of the id: the same ones for every label, seed and run."""
    return set(sorted(set(problems), key=lambda name: (crc32(name.encode()), name))[:count])


def alike(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Tables of `read_rollouts` of one task with texts of the same problems, chosen from those of all files together.

    What is smallest by hash among all ids of a task is so within each file that has it: no text is missing.
    """
    own = [set(table["problem"].combine_chunks().dictionary.to_pylist()) for table in tables]
    chosen = some_problems(set().union(*own), TEXT_PROBLEMS)
    return [_texts_of(table, chosen) if some_problems(ids, TEXT_PROBLEMS) - chosen else table
            for table, ids in zip(tables, own, strict=True)]  # fmt: skip


def _texts_of(table: pa.Table, problems: Iterable[str]) -> pa.Table:
    """The table with texts of the named problems alone."""
    kept = compute.is_in(table["problem"].cast(pa.string()), pa.array(sorted(problems), pa.string()))
    text = compute.if_else(kept, table["text"], pa.scalar(None, pa.string()))
    return table.set_column(table.schema.get_field_index("text"), "text", text)


def _kept(table: pa.Table, *, texts: bool) -> pa.Table:
    """Columns as they are used from here on; ids and answers as dictionaries, texts for some problems."""
    problem = table["problem"].combine_chunks().dictionary_encode()
    cut = compute.fill_null(compute.equal(table["finish_reason"], "length"), False)
    answer = table["answer"].combine_chunks().dictionary_encode()
    text = table["text"] if texts else pa.nulls(table.num_rows, pa.string())
    columns = [problem, table["sample"], answer, table["score"], table["tokens"], cut, table["valid_answers"], text]
    found = pa.table(columns, ["problem", "sample", "answer", "score", "tokens", "truncated", "valid", "text"])
    return _texts_of(found, some_problems(problem.dictionary.to_pylist(), TEXT_PROBLEMS)) if texts else found
