"""Logs that go back to where a checkpoint saw them, and files that appear whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from groupwise.harness.records import (
    START,
    Log,
    dumps,
    holds,
    read_json,
    read_lines,
    sealed,
    unsealed,
    whole_lines,
    write_json,
)


def test_a_log_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "cells" / "steps.jsonl"
    log = Log(path)
    log.append([{"step": 0}, {"step": 1}])
    mark = log.sync()
    log.append([{"step": 2}])
    log.close()
    with path.open("ab") as file:
        file.write(b'{"step": 3, "torn')
    assert holds(path, mark)
    again = Log(path, mark)
    again.append([{"step": 2, "text": "ü"}])
    again.close()
    assert read_lines(path) == [{"step": 0}, {"step": 1}, {"step": 2, "text": "ü"}]


def test_a_mark_knows_the_bytes_before_it(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    log = Log(path)
    log.append([{"step": 0, "loss": 0.5}])
    log.append([{"step": 1}])
    mark = log.sync()
    log.append([{"step": 2}])
    log.close()
    assert holds(path, mark)
    assert holds(path, START)
    again = Log(path, mark)  # goes on with the checksum, too
    again.append([{"step": 2}])
    whole = again.sync()
    again.close()
    assert holds(path, whole)
    content = path.read_bytes()
    for place in range(mark[0]):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert not holds(path, mark)
    path.write_bytes(content[: mark[0] - 1])
    assert not holds(path, mark)
    path.unlink()
    assert not holds(path, mark)
    assert holds(path, START)


def test_a_batch_is_whole_and_unchanged_or_nothing() -> None:
    rows = [{"problem": "a", "score": 0.1, "text": "ü\u2028", "ids": (1, 2)}, {"problem": "b", "score": None}]
    line = (dumps(sealed(rows)) + "\n").encode()
    assert unsealed(line) == [rows[0] | {"ids": [1, 2]}, rows[1]]
    assert all(unsealed(line[:end]) is None for end in range(len(line)))
    sound = 0
    for place in range(len(line) - 1):
        found = unsealed(line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :])
        sound += found is not None
        assert found is None or found == unsealed(line)  # between the fields, where a byte may be any blank
    assert sound < 8


@pytest.mark.parametrize(
    ("content", "whole"), [(b"", 0), (b"torn", 0), (b"a\n", 2), (b"a\ntorn", 2), (b"a\n" + b"x" * 3_000_000, 2)]
)
def test_whole_lines(tmp_path: Path, content: bytes, whole: int) -> None:
    (tmp_path / "log").write_bytes(content)
    assert whole_lines(tmp_path / "log") == whole


def test_nan_is_refused_because_it_would_read_as_a_number() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        dumps({"loss": float("nan")})


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_json(path, {"status": "running"})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"status": float("inf")})
    assert read_json(path) == {"status": "running"}
