"""Grading stored completions: each row finds its problem or has its own reference, and is judged in batches."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeVar

from groupwise import tasks, verifiers
from groupwise.harness.errors import InputError
from groupwise.harness.progress import Display
from groupwise.harness.records import dumps
from groupwise.harness.verify.align import Index, NotFound
from groupwise.harness.verify.rows import Row, read
from groupwise.harness.verify.tally import Tally
from groupwise.tasks.base import DataError, Problem, Task
from groupwise.tasks.prompts import question_text
from groupwise.verifiers import Verdict
from groupwise.verifiers.batch import Item, grade_many

BATCH_SECONDS = 2.0  # between two signs of progress, as far as the number of rows can be guessed
LARGEST_BATCH = 8192


@dataclass(frozen=True, slots=True)
class Entry:
    """A row that can be graded: the problem it counts to, its number there, and what the verifier gets."""

    row: Row
    problem: str
    sample: int
    item: Item
    metadata: Mapping[str, Any]


class HasItem(Protocol):
    """Something to be graded, whatever else it knows about itself."""

    @property
    def item(self) -> Item: ...


Gradable = TypeVar("Gradable", bound=HasItem)


@dataclass
class Stored:
    """The completions of ``paths``: answers to a task's problems, or, without one, rows with their own references.

    ``label``: the field with the right score, see ``rows.read``. Rows without an id of their own and with the same
    question are samples of one problem.
    """

    paths: Sequence[Path]
    index: Index | None = None
    label: str | None = None
    known: dict[str, str] = field(default_factory=dict)

    def check(self, by: Sequence[str] = ()) -> int:
        """How many completions there are.

        Raises InputError, naming the first, if any of them cannot be graded; and if none of them has one of the
        metadata fields ``by``.
        """
        count, refused = 0, 0
        first = ""
        fields_seen: dict[str, None] = {}
        for row in self._rows():
            count += 1
            try:
                fields_seen.update(dict.fromkeys(self._problem(row)[2]))
            except NotFound as error:
                refused += 1
                first = first or f"{row.place}: {error}"
        if refused:
            raise InputError(f"{first} ({refused} of {count} completions cannot be graded)")
        if not count:
            raise InputError(f"{', '.join(map(str, self.paths))}: no completions")
        for name in by:
            if name not in fields_seen:
                raise InputError(f"--by {name}: no such field; there are {', '.join(fields_seen) or 'none'}")
        return count

    def entries(self) -> Iterator[Entry]:
        """All completions in file order. Raises InputError where ``check`` would."""
        drawn: Counter[str] = Counter()
        for row in self._rows():
            try:
                name, item, metadata = self._problem(row)
            except NotFound as error:
                raise InputError(f"{row.place}: {error}") from error
            yield Entry(row, name, drawn[name] if row.sample is None else row.sample, item, metadata)
            drawn[name] += 1

    def _rows(self) -> Iterator[Row]:
        for path in self.paths:
            yield from read(path, self.label)

    def _problem(self, row: Row) -> tuple[str, Item, Mapping[str, Any]]:
        """Id, item and metadata. Raises NotFound."""
        if self.index is not None:
            problem = self.index.find(row)
            return problem.id, Item(row.completion, problem.answers, question_text(problem)), problem.metadata
        if row.references is None:
            raise NotFound("no reference to compare with: --task names the task whose problems are answered")
        prompt = row.questions[0] if row.questions else ""
        name = row.ids[0] if row.ids else self.known.get(prompt)
        if name is None:
            name = Path(row.place).name  # without the folders, in which nothing is to depend
            if prompt:
                self.known[prompt] = name
        return name, Item(row.completion, row.references, prompt), row.fields


def make_task(name: str, options: Mapping[str, Any]) -> Task:
    """The task with its options. Raises InputError."""
    try:
        return tasks.make(name, **options)
    except ValueError as error:
        raise InputError(f"--task {name}: {error}") from error


def default_split(task: Task) -> str:
    """The one that stored completions most likely answer."""
    return "test" if "test" in task.splits else task.splits[-1]


def problems_of(task: Task, split: str | None, data_dir: Path | None) -> list[Problem]:
    """The problems of the split, by default ``default_split``. Raises InputError."""
    try:
        return tasks.problems_of(task, split or default_split(task), data_dir)
    except (DataError, ValueError) as error:
        raise InputError(f"--task {task.name}: {error}") from error


def check_verifier(name: str) -> str:
    """The name, if a verifier has it. Raises InputError."""
    try:
        verifiers.get(name)
    except ValueError as error:
        raise InputError(str(error)) from error
    return name


def describe_task(task: Task, split: str) -> dict[str, Any]:
    """The task in a summary: what decides which answers are accepted."""
    options: dict[str, Any] = {one.name: getattr(task, one.name) for one in fields(task)} if is_dataclass(task) else {}
    return {"name": task.name, "version": task.version, "split": split, "options": options}


def describe_verifier(name: str) -> dict[str, Any]:
    """The verifier in a summary: what its verdicts depend on."""
    return {"name": name, "version": verifiers.get(name).version, "environment": verifiers.environment(name)}


def graded(
    names: Sequence[str], entries: Iterable[Gradable], total: int, processes: int | None
) -> Iterator[tuple[Gradable, list[Verdict]]]:
    """Every entry with the verdicts of the named verifiers, in order; progress and speed go to stderr."""
    start, done, size = time.monotonic(), 0, 64
    unit, left = " and ".join(names), iter(entries)
    with Display({unit: total}) as display:
        while batch := list(islice(left, size)):
            began = time.monotonic()
            items = [entry.item for entry in batch]
            columns = [grade_many(name, items, processes) for name in names]
            yield from zip(batch, map(list, zip(*columns, strict=True)), strict=True)
            done += len(batch)
            display.advance(unit, len(batch))
            taken = max(time.monotonic() - began, 1e-6)
            size = max(1, min(LARGEST_BATCH, 2 * size, round(len(batch) / taken * BATCH_SECONDS)))
    seconds = max(time.monotonic() - start, 1e-6)
    print(f"{unit}: {done} completions graded in {seconds:.1f} s ({done / seconds:.0f} a second)", file=sys.stderr)


@contextmanager
def appearing(path: Path | None) -> Iterator[TextIO | None]:
    """A file to write to that is there when all went well, and not at all otherwise. None for None."""
    if path is None:
        yield None
        return
    temporary = path.with_name(path.name + ".tmp")
    try:
        file = temporary.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}") from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def verify(stored: Stored, verifier: str, out: Path | None, by: Sequence[str], processes: int | None) -> dict[str, Any]:
    """Grade everything; the verdicts go to ``out`` in file order, the summary is returned.

    Raises InputError before anything is graded if a row cannot be.
    """
    total = stored.check(by)
    tally = Tally(by)
    with appearing(out) as file:
        for entry, (verdict,) in graded([verifier], stored.entries(), total, processes):
            tally.add(entry.problem, verdict, entry.row.label, entry.metadata)
            if file is not None:
                file.write(dumps(row_of(entry, verdict)) + "\n")
    return tally.summary()


def row_of(entry: Entry, verdict: Verdict) -> dict[str, Any]:
    """A graded completion as a record; a function of the completion alone, so without its time."""
    return {
        "problem": entry.problem,
        "sample": entry.sample,
        "score": verdict.score,
        "answer": verdict.answer,
        "method": verdict.method,
        "reason": verdict.reason,
        "components": dict(verdict.components),
    }
