"""Records of a run, read into tables. Nothing here knows a model, an algorithm or a verifier: only files.

Layout: see the README, "What a run does". Everything that is wrong with a file is a `RecordError` naming file
and line; only the last line of a file may be torn, and only while the run is going on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from groupwise.harness.layout import SCHEMA_VERSION

FINAL = -1  # `at` of a final evaluation; a curve evaluation has the rollouts consumed so far
KINDS = ("all_right", "mixed", "all_wrong", "unscored")
# A rollout is right when its score is 1; a score between 0 and 1 counts in the mean score only.
RIGHT = 1.0 - 1e-9

_CELL = re.compile(r"(?P<label>.+)-seed(?P<seed>\d+)")
_CURVE = re.compile(r"curve-(?P<at>\d+)")
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
]


class RecordError(ValueError):
    """A record cannot be read. The message names file, line and what was expected."""


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    labels: in the manifest's order, without `base`. seeds: those the experiment asks for. rollouts: one row
    per evaluated rollout, columns `_ROLLOUT` (text left out). score: NaN where it could not be scored. steps:
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

    @property
    def experiment(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.manifest["experiment"]
        return found

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(_name(task) for task in self.experiment["evaluation"]["tasks"])

    @property
    def model(self) -> str:
        return _name(self.experiment.get("model", "not recorded"))

    @property
    def ks(self) -> tuple[int, ...]:
        return tuple(sorted({int(k) for k in self.experiment["evaluation"].get("k", [1])}))


def _name(entry: Any) -> str:
    """A task or model of the experiment: a table with a name, or the name alone."""
    return str(entry["name"] if isinstance(entry, Mapping) else entry)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file with one object. Raises RecordError when it is absent, broken or something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"{path}: not found") from None
    except ValueError as error:
        raise RecordError(f"{path}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise RecordError(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found


def read_rows(path: Path, *, running: bool) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file. running: a torn last line is dropped; else it is an error like any other."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    torn = lines.pop()  # empty when the file ends in a newline, as every complete one does
    rows: list[dict[str, Any]] = []
    for number, line in enumerate([*lines, torn] if torn else lines, start=1):
        last = number >= len(lines) + (1 if torn else 0)
        try:
            row = json.loads(line)
        except ValueError as error:
            if running and last:
                break
            hint = " (a torn last line is only allowed while the run is going on)" if last else ""
            raise RecordError(f"{path}, line {number}: not JSON: {error}{hint}") from None
        if not isinstance(row, dict):
            raise RecordError(f"{path}, line {number}: expected an object, got {type(row).__name__}")
        rows.append(row)
    return rows


def read_run(folder: Path) -> Run:
    """Read RUN/manifest.json and whatever cells and evaluations are there; absent ones are no error."""
    path = folder / "manifest.json"
    manifest = read_object(path)
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise RecordError(f"{path}: schema_version is {version!r}, this version reads {SCHEMA_VERSION}")
    running = manifest.get("status") == "running"
    experiment = manifest.get("experiment")
    try:
        labels = tuple(experiment["algorithms"])  # type: ignore[index]
        seeds = tuple(int(s) for s in experiment["seeds"])  # type: ignore[index]
        [_name(task) for task in experiment["evaluation"]["tasks"]]  # type: ignore[index]
    except (KeyError, TypeError) as error:
        message = "experiment must have algorithms, seeds and evaluation.tasks"
        raise RecordError(f"{path}: {message}, missing or wrong: {error}") from None
    steps: list[pd.DataFrame] = []
    ledgers: dict[tuple[str, int], Mapping[str, Any]] = {}
    for cell, label, seed in _cells(folder / "cells"):
        if (cell / "steps.jsonl").exists():
            steps.append(_steps(read_rows(cell / "steps.jsonl", running=running), label, seed))
        if (cell / "ledger.json").exists():
            ledgers[label, seed] = read_object(cell / "ledger.json")
    rollouts: list[dict[str, Any]] = []
    for cell, label, seed in _cells(folder / "evaluations"):
        for stage in sorted(cell.iterdir()):
            curve = _CURVE.fullmatch(stage.name)
            if not curve and stage.name != "final":
                continue
            at = int(curve["at"]) if curve else FINAL
            for file in sorted(stage.glob("*.jsonl")):
                rollouts += _rollouts(file, label, seed, at, running=running)
    table = pd.DataFrame(rollouts, columns=_ROLLOUT).astype({"score": "float64", "valid": "float64"})
    # Directories are sorted by name; the report's order is the experiment's, whatever the labels are.
    every = pd.concat([s for s in steps if len(s)], ignore_index=True) if any(map(len, steps)) else pd.DataFrame()
    return Run(folder, manifest, labels, seeds, table, every, ledgers)


def _cells(folder: Path) -> list[tuple[Path, str, int]]:
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _CELL.fullmatch(path.name)
        if match and path.is_dir():
            found.append((path, match["label"], int(match["seed"])))
    return found


def _steps(rows: list[dict[str, Any]], label: str, seed: int) -> pd.DataFrame:
    flat = []
    for row in rows:
        groups = row.get("groups") or {}
        kept = {k: v for k, v in row.items() if v is None or isinstance(v, (int, float))}
        flat.append({"label": label, "seed": seed, **kept, **{kind: groups.get(kind, 0) for kind in KINDS}})
    # One dtype for all: a column that is null throughout (no KL term) must not change the type of the others.
    table = pd.DataFrame(flat)
    return table.astype({c: "float64" for c in table.columns if c not in ("label", "seed")})


def _rollouts(file: Path, label: str, seed: int, at: int, *, running: bool) -> list[dict[str, Any]]:
    rows, seen = [], set()
    for number, row in enumerate(read_rows(file, running=running), start=1):
        try:
            key, score, answer = (row["problem"], row["sample"]), row["score"], row["answer"]
        except KeyError as error:
            raise RecordError(f"{file}, line {number}: missing key {error}") from None
        if score is not None and not (isinstance(score, (int, float)) and 0 <= score <= 1):
            raise RecordError(f"{file}, line {number}: score must be null or lie in [0, 1], got {score!r}")
        if key in seen:
            raise RecordError(f"{file}, line {number}: problem {key[0]!r} sample {key[1]} is there twice")
        seen.add(key)
        said = None if answer is None else str(answer)
        counts = (row.get("tokens"), row.get("finish_reason") == "length", row.get("valid_answers"))
        values = (label, seed, at, file.stem, *key, said, score, *counts)
        rows.append(dict(zip(_ROLLOUT, values, strict=True)))
    return rows
