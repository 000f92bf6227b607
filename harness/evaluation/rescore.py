"""Grading the stored evaluations of a run again, with the verifiers as they are now: no model, no torch, no data."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from groupwise import tasks
from groupwise.harness.errors import InputError
from groupwise.harness.evaluation.folder import Fresh, graded, write_manifest, write_rows
from groupwise.harness.evaluation.grading import item_of
from groupwise.harness.evaluation.store import REFUSED
from groupwise.harness.experiment import TaskConfig
from groupwise.harness.problems import FOLDER
from groupwise.harness.progress import Display
from groupwise.harness.provenance import graded_by, surroundings
from groupwise.harness.records import dumps
from groupwise.harness.report.checks import RecordError, check_links, check_sums, read_manifest
from groupwise.harness.report.rows import each_line, read_lines
from groupwise.tasks.base import Problem
from groupwise.verifiers.base import Verdict
from groupwise.verifiers.batch import grade_many

KEPT = ("experiment.toml", "timings.jsonl")  # files of a run, and of its cells, that a report may need
OF_CELLS = ("steps.jsonl", "ledger.json")
CHUNK = 1024  # completions between two signs of progress


def rescore(options: argparse.Namespace) -> Path:
    """Write RUN-rescored (or ``--out``) with its report. Raises InputError, with no folder made."""
    run: Path = options.rescore
    real = Path(os.path.realpath(run))
    beside = run if run.name not in ("", "..") else real  # `.` has no name, and beside `..` is not beside the run
    place: Path = options.out or beside.with_name(f"{real.name}-rescored")
    if place.exists():
        raise InputError(f"{place}: exists already; choose another --out")
    try:
        check_links(run)
        check_sums(run)
        manifest = read_manifest(run / "manifest.json")
        verifiers = verifiers_of(run, manifest)
        problems = {task: kept_problems(run / FOLDER / f"{task}.jsonl") for task in verifiers}
        files = [file for file in sorted((run / "evaluations").glob("*/*/*.jsonl")) if file.stem in verifiers]
        if not files:
            raise InputError(f"{run}: expected evaluations/LABEL-seedS/final/TASK.jsonl, there is none")
        with Fresh(place) as fresh:
            _copy(run, fresh.folder)
            _grade_all(run, fresh.folder, files, problems, verifiers, options.threads)
            write_manifest(fresh.folder, _manifest(run, manifest, verifiers))
            from groupwise.harness.report.write import write_report

            write_report(fresh.folder)
            fresh.publish()
    except RecordError as error:
        raise InputError(str(error)) from error
    return place


def verifiers_of(run: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """The verifier of each task, as the task names it now."""
    found = {}
    for number, table in enumerate(manifest["experiment"]["evaluation"]["tasks"]):
        where = f"{run / 'manifest.json'}: experiment.evaluation.tasks.{number}"
        if not isinstance(table, Mapping):
            raise InputError(f"{where}: expected a table with the task's name and options")
        try:
            config = TaskConfig(name=table["name"], split=table.get("split", ""), options=table.get("options") or {})
            found[config.name] = config.make().verifier
        except (ValueError, TypeError) as error:
            words = " ".join(str(error).split())
            raise InputError(f"{where}: {words}; there are {', '.join(tasks.names())}") from error
    return found


def kept_problems(file: Path) -> dict[str, Problem]:
    """The problems as the run kept them."""
    found = {}
    for line, row in enumerate(read_lines(file, running=False), start=1):
        try:
            prompt = tuple({"role": str(m["role"]), "content": str(m["content"])} for m in row["prompt"])
            answers = tuple(str(answer) for answer in row["answers"])
            found[str(row["problem"])] = Problem(str(row["problem"]), str(row["task"]), prompt, answers)  # type: ignore[arg-type]
        except (KeyError, TypeError) as error:
            raise InputError(f"{file}, line {line}: expected problem, task, prompt and answers ({error})") from error
    return found


def _copy(run: Path, folder: Path) -> None:
    """What a report may need beside the evaluations."""
    cells = [f"cells/*/{name}" for name in OF_CELLS]
    for pattern in (*KEPT, f"{FOLDER}/*.jsonl", *cells):
        for file in sorted(run.glob(pattern)):
            if file.is_file():
                copy = folder / file.relative_to(run)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


def _grade_all(
    run: Path, folder: Path, files: list[Path], problems: dict[str, dict[str, Problem]], verifiers: dict[str, str],
    processes: int,
) -> None:  # fmt: skip
    names = {file: file.relative_to(run / "evaluations") for file in files}
    with Display({str(names[file]): sum(1 for _ in _rows(file)) for file in files}) as display:
        for file, name in names.items():
            (folder / "evaluations" / name).parent.mkdir(parents=True, exist_ok=True)
            again = _graded_again(file, problems[file.stem], verifiers[file.stem], processes,
                                  partial(display.advance, str(name)))  # fmt: skip
            write_rows(folder / "evaluations" / name, again)


def _graded_again(
    file: Path, problems: Mapping[str, Problem], verifier: str, processes: int, graded: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    """The rows of a file with their verdicts of today, ``CHUNK`` of them in memory at a time."""
    rows, done = _rows(file), 0
    while some := list(islice(rows, CHUNK)):
        items = [
            item_of(*answered(file, done + at, row, problems))
            for at, row in enumerate(some, 1)
            if row.get("finish_reason") != REFUSED
        ]
        verdicts = iter(grade_many(verifier, items, processes))
        yield from (row if row.get("finish_reason") == REFUSED else _with(next(verdicts), row) for row in some)
        done += len(some)
        graded(len(some))


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    """Rows that can be written again. Raises RecordError naming the line for NaN, and for what is no text."""
    for line, row in enumerate(each_line(file, running=False), start=1):
        try:
            dumps(row).encode()
        except ValueError as error:
            raise RecordError(f"{file}, line {line}: {error}") from None
        yield row


def _with(verdict: Verdict, row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **graded(verdict), "components": dict(verdict.components)}


def answered(file: Path, line: int, row: Mapping[str, Any], problems: Mapping[str, Problem]) -> tuple[Problem, str]:
    problem, text = problems.get(str(row.get("problem"))), row.get("text")
    if problem is None:
        raise InputError(f"{file}, line {line}: problem {row.get('problem')!a} is not among those of the run")
    if not isinstance(text, str):
        raise InputError(f"{file}, line {line}: no text of the completion, so it cannot be graded again")
    return problem, text


def _manifest(run: Path, manifest: Mapping[str, Any], verifiers: Mapping[str, str]) -> dict[str, Any]:
    """The run's manifest with what graded it now, and what had graded it before."""
    before = dict(manifest.get("provenance", {}))
    described = {key: dict(told) for key, told in before.get("tasks", {}).items() if isinstance(told, Mapping)}
    old = {}
    for key, told in described.items():
        if key.startswith("evaluation.") and told.get("name") in list(verifiers):
            now = graded_by(verifiers[told["name"]])
            old[told["name"]] = {name: told.get(name) for name in now}
            told |= now
    provenance = {**before, **surroundings(), "tasks": described}
    return {
        **manifest,
        "provenance": provenance,
        "rescored": {"from": Path(os.path.realpath(run)).name, "graded_before_by": old},
    }
