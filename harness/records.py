"""Files that survive a kill: append-only JSON lines, and whole files that appear at once or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from groupwise.harness.jsontext import loads

Mark = tuple[int, int]  # how far a log had come: its size in bytes, and the CRC-32 of them
START: Mark = (0, 0)
BLOCK = 1 << 20  # bytes that are read at a time


def dumps(row: Mapping[str, Any]) -> str:
    """One line of JSON; keys stay in the order given, NaN is refused (None means "no value")."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def document(data: Mapping[str, Any]) -> str:
    """A JSON document as files have it."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON document atomically."""
    write_text(path, document(data))


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: a reader sees the old one or the new one."""
    staged(path, text).replace(path)


def staged(path: Path, text: str) -> Path:
    """Write a text to disk beside ``path``; returns where, for a rename to put it in its place."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return temporary


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


def sealed(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows that belong together as one row, with a checksum: after a kill all of them are there, or none."""
    batch = list(rows)
    return {"sum": _sum(batch), "rollouts": batch}


def unsealed(line: bytes) -> list[dict[str, Any]] | None:
    """The rows of such a line; None for one that is torn or was changed."""
    try:
        found = json.loads(line)
        batch: list[dict[str, Any]] = found["rollouts"]
        return batch if line.endswith(b"\n") and found["sum"] == _sum(batch) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _sum(batch: list[Any]) -> str:
    return f"{crc32(json.dumps(batch, ensure_ascii=False).encode('utf-8', 'surrogatepass')):08x}"


def whole_lines(path: Path) -> int:
    """Size in bytes of a file without a torn last line, read backwards: it may be large."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - BLOCK)
            file.seek(start)
            place = file.read(end - start).rfind(b"\n")
            if place >= 0:
                return start + place + 1
            end = start
    return 0


class Log:
    """An append-only JSON-lines file that can go back to where a checkpoint saw it.

    A mark is what a checkpoint stores; opening with it drops whatever a killed run wrote afterwards, a torn last line
    included. Whether the file still begins with what the mark saw is for ``holds`` to say.
    """

    def __init__(self, path: Path, mark: Mark = START) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        size, self._crc = mark
        self._file.truncate(size)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows, one line each."""
        lines = "".join(dumps(row) + "\n" for row in rows).encode()
        self._crc = crc32(lines, self._crc)
        self._file.write(lines)

    def sync(self) -> Mark:
        """Force everything written to disk; returns how far the log has come."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell(), self._crc

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        self._file.close()


def holds(path: Path, mark: Mark) -> bool:
    """Whether a log still begins with what the mark saw."""
    left, expected = mark
    crc = 0
    if left:
        try:
            with path.open("rb") as file:
                while left and (block := file.read(min(left, BLOCK))):
                    crc = crc32(block, crc)
                    left -= len(block)
        except OSError:
            return False
    return left == 0 and crc == expected
