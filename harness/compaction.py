"""The finished log of a cell's training rollouts as parquet, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from groupwise.harness.records import dumps, each_row
from groupwise.harness.sums import forget, place

ROWS = 16384  # of a row group, at most: what is in memory at a time, when written and when read
LETTERS = 2**26  # of completions in a row group, or one more: long ones fill memory before they are so many
# The rows of `sampler.row_of` for training. Stated, not inferred: a row group cannot know what the others hold.
SCHEMA = pa.schema(
    [
        ("problem", pa.string()),
        ("sample", pa.int64()),
        ("stage", pa.string()),
        ("step", pa.int64()),
        ("discarded", pa.bool_()),
        ("answer", pa.string()),
        ("score", pa.float64()),
        ("reason", pa.string()),
        ("method", pa.string()),
        ("finish_reason", pa.string()),
        ("tokens", pa.int64()),
        ("text", pa.string()),
        ("components", pa.string()),
    ]
)


def compact(log: Path, target: Path) -> None:
    """Write the rows of ``log`` (JSON lines) to ``target`` and remove the log. Safe to repeat after a kill."""
    temporary = target.with_name(target.name + ".tmp")
    with temporary.open("wb") as file, parquet.ParquetWriter(file, SCHEMA) as writer:
        for batch in _batches(each_row(log)):
            writer.write_table(pa.Table.from_pylist(batch, schema=SCHEMA))
    place(temporary, target)
    forget(log)
    log.unlink()


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch, letters = list[dict[str, Any]](), 0
    for row in rows:
        batch.append({**row, "components": dumps(row["components"])})
        letters += len(row["text"])
        if len(batch) == ROWS or letters >= LETTERS:
            yield batch
            batch, letters = [], 0
    if batch:
        yield batch
