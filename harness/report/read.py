"""Records of a run, read into tables. Nothing here knows a model, an algorithm or a verifier: only files.

Layout: see the README, "What a run does". Everything that is wrong with a file is a `RecordError` naming file
and line; only the last line of a file may be torn, and only while the run is going on.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from groupwise.harness.layout import BASE, EVALUATION
from groupwise.harness.report.checks import (
    SEEDS,
    RecordError,
    check_ledger,
    check_metadata,
    check_steps,
    check_sums,
    name_of,
    read_manifest,
    read_object,
    section_of,
)
from groupwise.harness.report.rows import alike, read_lines, read_rollouts

__all__ = ["FINAL", "KINDS", "RecordError", "Run", "read_object", "read_run"]

FINAL = -1  # `at` of a final evaluation; a curve evaluation has the rollouts consumed so far
KINDS = ("all_right", "mixed", "all_wrong", "unscored")

_CELL = re.compile(r"(?P<label>.+)-seed(?P<seed>[0-9]+)")
_CURVE = re.compile(r"curve-(?P<at>[0-9]+)")
_ROLLOUT = [
    "label",
    "seed",
    "at",
    "task",
    "problem",
    "sample",
    "answer",
    "score",
    "tokens",
    "truncated",
    "valid",
    "text",
]


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    labels: in the manifest's order, without `base`. seeds: those the experiment asks for; of the sampling alone where
    models were evaluated as they are (`untrained`). rollouts: one row
    per evaluated rollout, columns `_ROLLOUT`; label, task, problem and answer are categories. score: NaN where it
    could not be scored. text: of some problems' final evaluations only (see `rows`). steps:
    one row per optimizer step with label and seed, the group counts as columns named by `KINDS`. ledgers: per
    (label, seed), as written.
    """

    folder: Path
    manifest: Mapping[str, Any]
    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    rollouts: pd.DataFrame
    steps: pd.DataFrame
    ledgers: Mapping[tuple[str, int], Mapping[str, Any]]
    metadata: Mapping[str, Mapping[str, Mapping[str, Any]]]

    @property
    def experiment(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.manifest["experiment"]
        return found

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(name_of(task) for task in self.experiment["evaluation"]["tasks"])

    @property
    def kind(self) -> str:
        return EVALUATION if self.manifest.get("kind") == EVALUATION else "training"

    @property
    def untrained(self) -> bool:
        """Whether every label is a model evaluated as it is: no training runs, and no base model beside them."""
        return self.kind == EVALUATION

    @property
    def order(self) -> tuple[str, ...]:
        """Every label that may have evaluations, in the order of the report."""
        return self.labels if self.untrained else (BASE, *self.labels)

    @property
    def model(self) -> str:
        if self.untrained:
            return ", ".join(self.model_of(label) for label in self.labels)
        return name_of(self.experiment.get("model", "not recorded"))

    def model_of(self, label: str) -> str:
        """The model that a label is, or began as."""
        return name_of(self.experiment["models"][label].get("name", label)) if self.untrained else self.model

    @property
    def ks(self) -> tuple[int, ...]:
        return tuple(sorted({int(k) for k in self.experiment["evaluation"].get("k", [1])}))


def read_run(folder: Path, *, curves: bool = True) -> Run:
    """Read RUN/manifest.json and whatever cells and evaluations are there; absent ones are no error.

    curves: with the evaluations during training, and the completions of some problems.
    """
    check_sums(folder)
    manifest = read_manifest(folder / "manifest.json")
    running, experiment = manifest.get("status") == "running", manifest["experiment"]
    labels, seeds = tuple(experiment[section_of(manifest)]), tuple(dict.fromkeys(experiment["seeds"]))
    steps: list[pd.DataFrame] = []
    ledgers: dict[tuple[str, int], Mapping[str, Any]] = {}
    for cell, label, seed in _cells(folder / "cells"):
        if (cell / "steps.jsonl").exists():
            rows = read_lines(cell / "steps.jsonl", running=running)
            check_steps(cell / "steps.jsonl", rows, KINDS)
            steps.append(_steps(rows, label, seed))
        if (cell / "ledger.json").exists():
            ledgers[label, seed] = read_object(cell / "ledger.json")
            check_ledger(cell / "ledger.json", ledgers[label, seed])
    known = {(label, seed) for label in (BASE, *labels) for seed in seeds}
    table = _together(_evaluations(folder / "evaluations", known, running=running, curves=curves))
    # Directories are sorted by name; the report's order is the experiment's, whatever the labels are.
    every = pd.concat([s for s in steps if len(s)], ignore_index=True) if any(map(len, steps)) else pd.DataFrame()
    return Run(folder, manifest, labels, seeds, table, every, ledgers, dict(_metadata(folder / "problems")))


def _cells(folder: Path) -> list[tuple[Path, str, int]]:
    found = []
    for path in _inside(folder):
        match = _CELL.fullmatch(path.name)
        if match and path.is_dir():
            found.append((path, match["label"], _number(path, match["seed"])))
    return found


def _inside(folder: Path) -> list[Path]:
    """What is in a folder, sorted; nothing where there is none."""
    try:
        return sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise RecordError(f"{folder}: cannot be read: {error.strerror}") from None


def _number(path: Path, digits: str) -> int:
    """The number in a folder's name."""
    if len(digits) > len(str(SEEDS)) or int(digits) >= SEEDS:
        raise RecordError(f"{path}: the number in its name is too large")
    return int(digits)


def _metadata(folder: Path) -> Iterator[tuple[str, dict[str, Mapping[str, Any]]]]:
    for file in sorted(folder.glob("*.jsonl")):
        rows = enumerate(read_lines(file, running=False), start=1)
        yield file.stem, {str(row.get("problem")): check_metadata(file, line, row) for line, row in rows}


def _steps(rows: list[dict[str, Any]], label: str, seed: int) -> pd.DataFrame:
    flat = []
    for row in rows:
        groups = row.get("groups") or {}
        kept = {k: v for k, v in row.items() if v is None or isinstance(v, (int, float))}
        flat.append({"label": label, "seed": seed, **kept, **{kind: groups.get(kind, 0) for kind in KINDS}})
    # One dtype for all: a column that is null throughout (no KL term) must not change the type of the others.
    table = pd.DataFrame(flat)
    return table.astype({c: "float64" for c in table.columns if c not in ("label", "seed")})


def _evaluations(folder: Path, known: Collection[tuple[str, int]], *, running: bool, curves: bool) -> list[pa.Table]:
    """One table for each file of evaluated rollouts. known: labels and seeds of the experiment; others keep no text."""
    found, finals = list[pa.Table](), dict[str, list[int]]()
    for cell, label, seed in _cells(folder):
        for stage in _inside(cell):
            curve = _CURVE.fullmatch(stage.name)
            if (not curve or not curves) and stage.name != "final":
                continue
            at = _number(stage, curve["at"]) if curve else FINAL
            for file in sorted(stage.glob("*.jsonl")):
                texts = curves and at == FINAL and (label, seed) in known
                table = read_rollouts(file, running=running, texts=texts)
                if texts:
                    finals.setdefault(file.stem, []).append(len(found))
                found.append(_keyed(table, {"label": label, "seed": seed, "at": at, "task": file.stem}))
    for places in finals.values():
        for place, table in zip(places, alike([found[place] for place in places]), strict=True):
            found[place] = table
    return found


def _keyed(table: pa.Table, keys: Mapping[str, Any]) -> pa.Table:
    """The table with a column for each key in front, the same in every row."""
    for place, (name, value) in enumerate(keys.items()):
        column = pa.repeat(pa.scalar(value), table.num_rows)
        table = table.add_column(place, name, column.dictionary_encode() if isinstance(value, str) else column)
    return table


def _together(tables: list[pa.Table]) -> pd.DataFrame:
    if not tables:
        return pd.DataFrame(columns=_ROLLOUT).astype({"score": "float64", "valid": "float64"})
    whole = pa.concat_tables(tables).unify_dictionaries()
    tables.clear()
    text = pd.Series(pd.arrays.ArrowExtensionArray(whole["text"]))
    frame: pd.DataFrame = whole.drop_columns(["text"]).to_pandas(self_destruct=True)
    return frame.assign(text=text)
