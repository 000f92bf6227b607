"""Records larger than memory: logs are compacted and read a group of rows at a time, and graded again in chunks."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyarrow import parquet

from groupwise.harness import compaction
from groupwise.harness.compaction import SCHEMA, compact
from groupwise.harness.evaluate import _counts, _whole_batches
from groupwise.harness.records import Log, each_row, read_lines, sealed
from groupwise.harness.report import rows
from groupwise.harness.sums import NAME as SUMS

FEW, MANY = 2_000, 12_000


def rollouts(count: int, start: int = 0) -> Iterator[dict[str, Any]]:
    """Records of training rollouts, as `sampler.row_of` makes them."""
    for number in range(start, start + count):
        answer = None if number % 7 == 0 else str(number)
        yield {
            "problem": f"task/train/{number % 50:04d}", "sample": number // 50, "stage": "final", "step": number // 8,
            "discarded": number % 5 == 0, "answer": answer, "score": None if number % 11 == 0 else float(number % 2),
            "reason": f"because of {number}", "method": "numeric", "finish_reason": "stop", "tokens": number % 60,
            "text": f"completion {number} " + "word " * 40, "components": {"format": 1.0, "length": None},
        }  # fmt: skip


def written(path: Path, count: int) -> Path:
    log = Log(path)
    log.append(rollouts(count))
    log.close()
    return path


def batches(log: Path, size: int = 100) -> Path:
    """The rows of a log as an unfinished evaluation holds them."""
    path = log.with_suffix(".batches")
    each, held = each_row(log), Log(path)
    while batch := list(islice(each, size)):
        held.append([sealed(batch)])
    held.close()
    return path


def ignored(*_: object, **__: object) -> None:
    """Progress that nobody sees."""


def peak(act: Callable[[], object]) -> int:
    """Bytes that Python had at most while it acted, over those before."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_log_becomes_parquet_row_for_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "ROWS", 700)
    log = written(tmp_path / "rollouts.jsonl", FEW)
    compact(log, tmp_path / "rollouts.parquet")
    assert not log.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"rollouts.parquet", SUMS}
    table = parquet.ParquetFile(tmp_path / "rollouts.parquet")
    assert table.metadata.num_row_groups == 3
    assert table.schema_arrow == SCHEMA
    found = pd.read_parquet(tmp_path / "rollouts.parquet").astype(object)
    found = found.where(found.notna(), None).to_dict("records")
    assert [{**row, "components": json.loads(row["components"])} for row in found] == list(rollouts(FEW))


def test_long_completions_are_written_in_smaller_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = written(tmp_path / "rollouts.jsonl", 100)
    longest = max(len(row["text"]) for row in rollouts(100))
    monkeypatch.setattr(compaction, "LETTERS", 10 * longest)
    compact(log, tmp_path / "rollouts.parquet")
    table = parquet.ParquetFile(tmp_path / "rollouts.parquet")
    sizes = [table.metadata.row_group(number).num_rows for number in range(table.metadata.num_row_groups)]
    assert sum(sizes) == 100
    assert {10, 11} >= set(sizes[:-1])
    assert [row["text"] for row in table.read().to_pylist()] == [row["text"] for row in rollouts(100)]


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        compact(written(tmp_path / f"{name}.jsonl", FEW), tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("kind", ["no answers", "nothing"])
def test_columns_do_not_depend_on_what_is_in_them(tmp_path: Path, kind: str) -> None:
    """A cell in which nothing was scored has the columns of any other."""
    log = Log(tmp_path / "log.jsonl")
    if kind == "no answers":
        log.append({**row, "answer": None, "score": None} for row in rollouts(5))
    log.close()
    compact(tmp_path / "log.jsonl", tmp_path / "log.parquet")
    assert parquet.read_schema(tmp_path / "log.parquet") == SCHEMA


def test_a_kill_while_it_is_compacted_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, target = written(tmp_path / "rollouts.jsonl", FEW), tmp_path / "rollouts.parquet"
    before = log.read_bytes()
    monkeypatch.setattr(compaction, "ROWS", 700)

    class Killed(BaseException):
        pass

    def killed(batches: Iterator[Any]) -> Iterator[Any]:
        yield next(batches)
        raise Killed

    whole = compaction._batches
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "_batches", lambda each: killed(whole(each)))
        with pytest.raises(Killed):
            compact(log, target)
    assert log.read_bytes() == before
    assert not target.exists()
    compact(log, target)
    assert parquet.ParquetFile(target).metadata.num_rows == FEW


def test_memory_does_not_grow_with_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "ROWS", 500)

    def measured(act: Callable[[Path], object]) -> list[int]:
        return [peak(partial(act, path)) for path in files]

    files = [written(tmp_path / f"{count}.jsonl", count) for count in (FEW, MANY)]
    for act in (
        lambda path: [None for _ in each_row(path)],
        lambda path: [None for _ in rows.each_line(path, running=False)],
        _counts,
        lambda path: _whole_batches(batches(path), ignored),
        lambda path: compact(Path(shutil.copy(path, tmp_path / "copy.jsonl")), tmp_path / "copy.parquet"),
    ):
        few, many = measured(act)
        assert many < 2 * few + 500_000
    few, many = measured(read_lines)
    assert many > 4 * few, "what holds all rows is seen to"


def test_batches_that_a_kill_left_whole(tmp_path: Path) -> None:
    told: list[str] = []
    path = batches(written(tmp_path / "log", 12), size=4)
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)

    def found() -> tuple[int, int]:
        (size, _), rows = _whole_batches(path, lambda *_, words: told.append(words))
        return size, rows

    assert found() == (len(content), 12)
    path.write_bytes(content[:-5])
    assert found() == (len(lines[0] + lines[1]), 8)
    assert not told, "a torn line is what any kill leaves"
    path.write_bytes(lines[0] + lines[1].replace(b"because", b"becuase", 1) + lines[2])
    assert found() == (len(lines[0]), 4)
    assert f"{path}, line 2: " in told.pop()
    path.write_bytes(b"")
    assert found() == (0, 0)
    path.unlink()
    assert found() == (0, 0)
