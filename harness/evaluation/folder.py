"""Folders that appear whole or not at all, and what is in that of an evaluation, which has the form of a run folder."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from groupwise.harness.errors import InputError, unwritable
from groupwise.harness.evaluation.grading import Unit
from groupwise.harness.evaluation.store import Stored
from groupwise.harness.layout import cell_name
from groupwise.harness.records import dumps, write_json
from groupwise.harness.sums import seal_tree
from groupwise.tasks.base import Problem
from groupwise.verifiers.base import Verdict

LOCK = ".lock"


class Fresh:
    """A folder under another name beside ``place`` until ``publish``; gone if that is never reached.

    What a killed process left there is cleared away; the lock that tells it from one at work dies with its owner.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.folder = place.with_name(f".{place.name}.new")

    def __enter__(self) -> Self:
        """Raises InputError where another process is at work on it, or the folder cannot be made."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / LOCK).open("w")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{self.place}: another process is making it") from None
            for leftover in self.folder.iterdir():
                if leftover.name != LOCK:
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        except OSError as error:
            raise InputError(f"{self.place}: cannot make the folder: {error.strerror or error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.folder.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()
        if unwritable(error):
            raise InputError(f"{self.place}: cannot be written: {getattr(error, 'strerror', error)}") from error

    def publish(self) -> None:
        """Take the place. Raises InputError when something appeared there meanwhile."""
        if self.place.exists():
            raise InputError(f"{self.place}: exists already; choose another --out")
        # With the lock in it: without, another process could take the folder for one that nobody is at work on.
        self.folder.rename(self.place)
        with suppress(FileNotFoundError):
            (self.place / LOCK).unlink()


def write_unit(folder: Path, unit: Unit, problems: Sequence[Problem], samples: int, seed: int) -> None:
    """The records of one model on one task, in order of problem and sample."""
    several = 2 * sum(len(problem.answers) > 1 for problem in problems) > len(problems)
    place = folder / "evaluations" / cell_name(unit.label, seed) / "final"
    place.mkdir(parents=True, exist_ok=True)
    rows = (
        record(
            unit.rollouts[problem.id, sample], unit.verdicts[problem.id, sample],
            len(problem.answers) if several else None,
        )
        for problem in problems
        for sample in range(samples)
    )  # fmt: skip
    write_rows(place / f"{unit.task}.jsonl", rows)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(dumps(row) + "\n" for row in rows)


def record(rollout: Stored, verdict: Verdict, valid_answers: int | None) -> dict[str, Any]:
    """A rollout as ``sampler.row_of`` has it in the evaluation of a training run."""
    return {
        "problem": rollout.problem,
        "sample": rollout.sample,
        "stage": "final",
        "valid_answers": valid_answers,
        **graded(verdict),
        "finish_reason": rollout.finish_reason,
        "tokens": rollout.tokens,
        "text": rollout.text,
        "components": dict(verdict.components),
    }


def graded(verdict: Verdict) -> dict[str, Any]:
    """What a record says of the verdict, but for its components."""
    return {"answer": verdict.answer, "score": verdict.score, "reason": verdict.reason, "method": verdict.method}


def manifest_of(name: str, experiment: Mapping[str, Any], provenance: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The manifest of an evaluation: like a training run's, without a budget and without optimizers."""
    from groupwise.harness.layout import SCHEMA_VERSION

    return {"schema_version": SCHEMA_VERSION, "kind": "evaluation", "name": name, "status": "done",
            "experiment": dict(experiment), "provenance": dict(provenance), **more}  # fmt: skip


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """The last of the records: with it all of them get their checksums."""
    write_json(folder / "manifest.json", manifest)
    seal_tree(folder)
