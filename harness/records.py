"""Files that survive a kill: append-only JSON lines, and whole files that appear at once or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from groupwise.harness.jsontext import loads


def dumps(row: Mapping[str, Any]) -> str:
    """One line of JSON; keys stay in the order given, NaN is refused (None means "no value")."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON document atomically."""
    write_text(path, json.dumps(data, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: a reader sees the old one or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    data: dict[str, Any] = loads(path.read_text(encoding="utf-8"))
    return data


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All rows of a JSON-lines file that is complete."""
    return list(each_row(path))


def each_row(path: Path) -> Iterator[dict[str, Any]]:
    """The same one by one: a log may be larger than memory."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


class Log:
    """An append-only JSON-lines file that can go back to where a checkpoint saw it.

    ``size`` in bytes is what a checkpoint stores; opening with it drops whatever a killed run wrote
    afterwards, a torn last line included.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._file.truncate(size)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows, one line each."""
        self._file.write("".join(dumps(row) + "\n" for row in rows).encode())

    def sync(self) -> int:
        """Force everything written to disk; returns the size in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        self._file.close()
