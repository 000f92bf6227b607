"""Logs that go back to where a checkpoint saw them, and files that appear whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from groupwise.harness.records import Log, dumps, read_json, read_lines, write_json


def test_a_log_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "cells" / "steps.jsonl"
    log = Log(path)
    log.append([{"step": 0}, {"step": 1}])
    size = log.sync()
    log.append([{"step": 2}])
    log.close()
    with path.open("ab") as file:
        file.write(b'{"step": 3, "torn')
    again = Log(path, size)
    again.append([{"step": 2, "text": "ü"}])
    again.close()
    assert read_lines(path) == [{"step": 0}, {"step": 1}, {"step": 2, "text": "ü"}]


def test_nan_is_refused_because_it_would_read_as_a_number() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        dumps({"loss": float("nan")})


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_json(path, {"status": "running"})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"status": float("inf")})
    assert read_json(path) == {"status": "running"}
