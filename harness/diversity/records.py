"""Texts of a run's final evaluations, read one evaluation at a time, and the measures stored beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from groupwise.harness.errors import InputError
from groupwise.harness.jsontext import check_text
from groupwise.harness.layout import BASE, cell_name
from groupwise.harness.report.checks import (
    check_inside,
    check_sums,
    name_of,
    number,
    read_manifest,
    section_of,
    shown,
    whole,
)
from groupwise.harness.report.read import FINAL
from groupwise.harness.report.rows import read_lines
from groupwise.harness.report.texts import SETTINGS, digest

COLUMNS = ("problem", "sample", "answer", "score", "text")


@dataclass(frozen=True)
class Evaluation:
    """The final evaluation of one label and seed on one task. digest: of the file, to know it again."""

    label: str
    seed: int
    task: str
    path: Path
    digest: str

    @property
    def name(self) -> str:
        return f"{cell_name(self.label, self.seed)}/{self.task}"


@dataclass(frozen=True)
class Texts:
    """A run as far as its texts go. labels: in the experiment's order, `base` first, those with evaluations alone."""

    folder: Path
    manifest: Mapping[str, Any]
    labels: tuple[str, ...]
    tasks: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]

    def rows(self, evaluation: Evaluation) -> pd.DataFrame:
        """Rollouts with columns label, seed, at, task and `COLUMNS`, sorted by problem and sample.

        Raises RecordError for an unreadable line, InputError for one without text.
        """
        read = read_lines(evaluation.path, running=self.manifest.get("status") == "running")
        for line, row in enumerate(read, start=1):
            place = f"{evaluation.path}, line {line}"
            if absent := [name for name in COLUMNS if name not in row]:
                raise InputError(f"{place}: missing key {absent[0]!r}")
            row["text"] = _check(place, row)
            row["problem"] = str(row["problem"])
        table = pd.DataFrame([[row[name] for name in COLUMNS] for row in read], columns=list(COLUMNS))
        table = table.astype({"score": "float64"}).sort_values(["problem", "sample"], ignore_index=True)
        return table.assign(label=evaluation.label, seed=evaluation.seed, at=FINAL, task=evaluation.task)


def _check(place: str, row: Mapping[str, Any]) -> str | None:
    """The text of a row, lone surrogates replaced: they are valid JSON, and no text. Raises InputError."""
    problem, answer, score, text = (row[name] for name in ("problem", "answer", "score", "text"))
    if not isinstance(problem, (str, int)):
        raise InputError(f"{place}: problem must be an id (text or integer), got {shown(problem)}")
    try:
        check_text(problem)
    except ValueError as error:
        raise InputError(f"{place}: problem: {error}") from None
    if not whole(row["sample"], 0, 2**63):
        raise InputError(f"{place}: sample must be a whole number from 0, got {shown(row['sample'])}")
    if isinstance(answer, (list, dict)):
        raise InputError(f"{place}: answer must be null or a text, got {shown(answer)}")
    if score is not None and not (number(score) and 0 <= score <= 1):
        raise InputError(f"{place}: score must be null or lie in [0, 1], got {shown(score)}")
    if text is not None and not isinstance(text, str):
        raise InputError(f"{place}: text must be null or a string, got {type(text).__name__}")
    return None if text is None else text.encode("utf-8", "replace").decode()


def read_texts(folder: Path) -> Texts:
    """What there is to measure. Raises RecordError or InputError when it is no run, or has no final evaluation."""
    check_sums(folder)
    manifest = read_manifest(folder / "manifest.json")
    experiment = manifest["experiment"]
    labels, seeds = (BASE, *experiment[section_of(manifest)]), tuple(dict.fromkeys(experiment["seeds"]))
    tasks = tuple(dict.fromkeys(name_of(task) for task in experiment["evaluation"]["tasks"]))
    evaluations = []
    for label in labels:
        for seed in seeds:
            for task in tasks:
                path = folder / "evaluations" / cell_name(label, seed) / "final" / f"{task}.jsonl"
                if path.exists():
                    evaluations.append(Evaluation(label, seed, task, path, digest(path)))
    if not evaluations:
        raise InputError(f"{folder}: expected a run with final evaluations (evaluations/LABEL-seedN/final/TASK.jsonl)")
    return Texts(folder, manifest, tuple(dict.fromkeys(e.label for e in evaluations)), tasks, tuple(evaluations))


def store(path: Path, cells: pd.DataFrame, settings: Mapping[str, Any]) -> None:
    """Write measures and their settings as a parquet file that appears at once or not at all.

    Raises RecordError where its folder is a link out of the run folder.
    """
    check_inside(path.parent.parent, path)
    path.parent.mkdir(exist_ok=True)
    table = pa.Table.from_pandas(cells, preserve_index=False)
    about = {**(table.schema.metadata or {}), SETTINGS: json.dumps(settings).encode()}
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        parquet.write_table(table.replace_schema_metadata(about), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
