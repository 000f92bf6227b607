"""The store of rollouts: append-only files, one folder for each model and way of sampling.

A folder is named by a hash of what is in its ``about.json``: the model's identity, the engine, and how completions are
drawn. A line of its ``rollouts.jsonl`` holds what became whole at the same moment, one rollout or a batch of them, and
a checksum of them: a kill leaves at most a torn last line, which the next writer cuts off, and a line that was
changed on disk is named and passed over. One process writes at a time; its lock dies with it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from zlib import crc32

from groupwise.harness.errors import InputError
from groupwise.harness.jsontext import loads
from groupwise.harness.records import dumps, whole_lines, write_json
from groupwise.tasks.base import Problem
from groupwise.tasks.prompts import plain_text

STORE_VERSION = 1
REFUSED = "refused"  # the finish reason of a rollout that an endpoint will not give
ABOUT, ROLLOUTS, LOCK = "about.json", "rollouts.jsonl", ".lock"
SYNC_SECONDS = 1.0  # a kill loses nothing that was written; a power cut no more than this

_KINDS: dict[str, tuple[type, ...]] = {
    "prompt": (str,), "problem": (str,), "seed": (int,), "sample": (int,), "text": (str,), "finish_reason": (str,),
    "tokens": (int, type(None)), "ids": (list, type(None)),
}  # fmt: skip
_LINE = re.compile(rb'\{"sum":"([0-9a-f]{8})","rollouts":(\[.*\])\}', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Key:
    """Whose rollout it is: the prompt (its hash), the problem, the sampling seed, and its number."""

    prompt: str
    problem: str
    seed: int
    sample: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A rollout as it is kept. ``tokens``: how many, None where the engine does not count; ``ids``: which, or None.
    ``refused``: why an endpoint will not give it; such a rollout is recorded, and not kept."""

    prompt: str
    problem: str
    seed: int
    sample: int
    text: str
    finish_reason: str
    tokens: int | None
    ids: tuple[int, ...] | None
    refused: str = ""

    @property
    def key(self) -> Key:
        return Key(self.prompt, self.problem, self.seed, self.sample)

    def row(self) -> dict[str, object]:
        """As it stands in the file."""
        return {
            "prompt": self.prompt, "problem": self.problem, "seed": self.seed, "sample": self.sample,
            "text": self.text, "finish_reason": self.finish_reason, "tokens": self.tokens, "ids": self.ids,
        }  # fmt: skip


def prompt_hash(problem: Problem, style: str) -> str:
    """A name for what is asked: the messages, the text for base models, and which of the two is used."""
    asked = [style, [dict(message) for message in problem.prompt], plain_text(problem)]
    return sha256(json.dumps(asked).encode()).hexdigest()[:32]


class Store:
    """The rollouts of one model, drawn in one way. A context: inside it this process alone may add.

    ``waiting`` is called once if another process has to be waited for.
    """

    def __init__(self, root: Path, about: Mapping[str, Any], waiting: Callable[[str], None]) -> None:
        self.about = {"store_version": STORE_VERSION, **about}
        self.folder = root / sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()[:24]
        self.path = self.folder / ROLLOUTS
        self._waiting = waiting

    def __enter__(self) -> Self:
        """Raises InputError where the folder cannot be made or written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / LOCK).open("w")
            self._take_lock()
            write_json(self.folder / ABOUT, self.about)
            self._file = self.path.open("ab")
            whole = whole_lines(self.path)
            if whole < self._file.tell():
                self._file.truncate(whole)
        except OSError as error:
            raise self._unwritten(error) from error
        self._synced = time.monotonic()
        return self

    def _unwritten(self, error: OSError) -> InputError:
        return InputError(f"{self.folder}: the store cannot be written: {error.strerror or error}")

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._waiting(f"{self.folder}: another process generates rollouts of this model; waiting for it")
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._lock, self._file:
                self._sync()
        except OSError as failure:
            if kind is None:
                raise self._unwritten(failure) from failure

    def add(self, rollouts: Sequence[Stored]) -> None:
        """Store rollouts that belong together: all of them are there after a kill, or none. Raises InputError where
        they cannot be written, on a full disk."""
        payload = ("[" + ",".join(dumps(one.row()) for one in rollouts) + "]").encode()
        try:
            self._file.write(b'{"sum":"%08x","rollouts":%b}\n' % (crc32(payload), payload))
            self._file.flush()
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self._sync()
        except OSError as error:
            raise self._unwritten(error) from error

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def read(self, wanted: Collection[Key], damaged: Callable[[str], None]) -> dict[Key, Stored]:
        """Those of the wanted that are there, without their tokens. ``damaged`` is told of each line that is not what
        was written."""
        return read_rollouts(self.path, wanted, damaged)


def read_rollouts(path: Path, wanted: Collection[Key] | None, damaged: Callable[[str], None]) -> dict[Key, Stored]:
    """The rollouts of a store's file; the first of a key counts, and a torn last line is passed over.

    ``wanted`` None: all of them, with their tokens (``ids``), which are left out otherwise to save memory.
    """
    found: dict[Key, Stored] = {}
    if not path.exists():
        return found
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            rows = _rows(line[:-1])
            if rows is None:
                damaged(f"{path}, line {number}: damaged, its checksum does not fit or it holds no rollouts; "
                        "what is on it is not used")  # fmt: skip
            for row in rows or ():
                key = Key(row["prompt"], row["problem"], row["seed"], row["sample"])
                if key not in found and (wanted is None or key in wanted):
                    ids = row.pop("ids")
                    found[key] = Stored(**row, ids=None if ids is None or wanted is not None else tuple(ids))
    return found


def _rows(line: bytes) -> list[dict[str, Any]] | None:
    match = _LINE.fullmatch(line)
    if match is None or int(match[1], 16) != crc32(match[2]):
        return None
    try:
        rows: list[dict[str, Any]] = loads(match[2])
    except ValueError:
        return None
    return rows if all(map(_is_rollout, rows)) else None


def _is_rollout(row: Any) -> bool:
    """Whether it is what `Stored.row` makes: a checksum says nothing of what somebody else wrote."""
    if not isinstance(row, dict) or row.keys() != _KINDS.keys():
        return False
    ids = row["ids"] or ()
    return all(type(row[key]) in kinds for key, kinds in _KINDS.items()) and all(type(one) is int for one in ids)
